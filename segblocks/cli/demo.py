"""``segblocks demo``: the four tasks of TarViS on a video that no training has seen."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segblocks.cli.arguments import count, path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from segblocks.data import VideoSample
    from segblocks.results import VideoSegmentation

_MODEL = "tarvis_nano"
_TASKS = ("vis", "vps", "vos", "pet")
_VIDEO, _FIRST_MASKS, _SHEET = "video.mp4", "first_frame_masks.png", "contact_sheet.png"
_SHEET_FRAMES = 4
# Short clips, so that a dozen frames are enough to join two of them.
_CLIPS = {"clip_length": 8, "overlap": 4, "short_side": 0}


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "demo",
        parents=[shared],
        help="run the small model that comes along on a made-up video, with all four tasks",
    )
    parser.add_argument(
        "--out", type=path, default=Path("segblocks-demo"), help="folder (default: segblocks-demo)"
    )
    parser.add_argument(
        "--device", help="such as cpu or cuda:1 (default: a GPU where there is one)"
    )
    parser.add_argument(
        "--frames", type=count, default=12, help="length of the video (default: 12)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Make the video, segment it four times, and lay the overlays out on a sheet."""
    from segblocks._files import whole_folder
    from segblocks.cli.demo_video import make_demo_video
    from segblocks.cli.device import choose_device
    from segblocks.zoo import create_model

    video = make_demo_video(args.frames)
    _check_folder(args.out)
    model: Any = create_model(_MODEL).to(choose_device(args.device))
    with whole_folder(args.out) as folder:
        _write_inputs(folder, video)
        rows: dict[str, list[NDArray[np.uint8]]] = {"input": video.frames}
        for name in _TASKS:
            start = time.perf_counter()
            result = _segment(model, video, name, folder, args.out)
            seconds = time.perf_counter() - start
            result.save(folder / name, overlay=True)
            rows[name] = _drawn(result, video)
            print(
                f"{name}: {len(result.tracks)} tracks, {_score(video, result)}"
                f"{result.num_frames / seconds:.2f} frames/s, {args.out / name / 'overlay.mp4'}"
            )
        _write_sheet(folder / _SHEET, rows)
    print(f"all four side by side: {args.out / _SHEET}")


def _segment(
    model: Any, video: VideoSample, name: str, folder: Path, out: Path
) -> VideoSegmentation:
    """Do a task; hints come from the truth of the frames in which objects start."""
    from segblocks.inference import segment, task_of
    from segblocks.inference.video import open_video

    reader = open_video(folder / _VIDEO)
    # The folder has another name until it is whole.
    reader.path = out / _VIDEO
    reader.name = str(reader.path)
    task = task_of(video, name)
    assert task is not None
    return segment(model, reader, task, **_CLIPS)


def _score(video: VideoSample, result: VideoSegmentation) -> str:
    """How well objects with hints are followed."""
    from segblocks.metrics import JAndF
    from segblocks.tasks import HintTask

    if not isinstance(result.task, HintTask) or video.num_frames == 1:
        return ""
    metric = JAndF("after")
    metric.update(video, result)
    return f"J&F {100 * metric.compute()['J&F']:.1f}, "


def _check_folder(out: Path) -> None:
    from segblocks._files import check_writable

    check_writable(out)
    if out.exists() and any(out.iterdir()) and not (out / _SHEET).exists():
        raise ValueError(f"{out}: is not empty and holds no earlier demo; choose another --out")


def _write_inputs(folder: Path, video: VideoSample) -> None:
    from segblocks.inference.encode import VideoWriter
    from segblocks.label_files import write_label_map
    from segblocks.ops.label_map import label_map_from_masks

    assert video.fps is not None
    with VideoWriter(folder / _VIDEO, video.fps, video.size) as writer:
        for frame in video.frames:
            writer.write(frame)
    truth = video.read_truth(0)
    write_label_map(folder / _FIRST_MASKS, label_map_from_masks(truth.masks, truth.ids))


def _drawn(result: VideoSegmentation, video: VideoSample) -> list[NDArray[np.uint8]]:
    from segblocks.viz import draw_result

    return [draw_result(result, t, frame) for t, frame in enumerate(video.frames)]


def _write_sheet(path: Path, rows: dict[str, list[NDArray[np.uint8]]]) -> None:
    import numpy as np
    from PIL import Image

    from segblocks.viz import contact_sheet

    count = len(rows["input"])
    shown = np.linspace(0, count - 1, min(count, _SHEET_FRAMES)).round().astype(int)
    sheet = contact_sheet({name: [frames[t] for t in shown] for name, frames in rows.items()})
    Image.fromarray(sheet).save(path)
