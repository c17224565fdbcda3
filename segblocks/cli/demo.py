"""``segblocks demo``: the four tasks of TarViS on a video made by rule."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segblocks.cli.arguments import count, path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from segblocks.cli.demo_video import DemoVideo
    from segblocks.results import VideoSegmentation
    from segblocks.tasks import Task

_MODEL = "tarvis_resnet50"
_FPS = 8.0
_VIDEO, _FIRST_MASKS, _SHEET = "video.mp4", "first_frame_masks.png", "contact_sheet.png"
_SHEET_FRAMES = 4
# Short clips, so that a dozen frames are enough to join two of them.
_CLIPS = {"clip_length": 8, "overlap": 4, "short_side": 0}
_NOTICE = (
    "The weights of this demo are filled by a rule, not trained: the pipeline is real, the masks\n"
    "mean nothing. Small trained weights are to ship with a later release."
)


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "demo", parents=[shared], help="run all four tasks on a video made by rule"
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
    from segblocks import zoo
    from segblocks._files import whole_folder
    from segblocks.cli.demo_video import make_demo_video
    from segblocks.cli.device import choose_device
    from segblocks.inference.engine import segment
    from segblocks.inference.video import open_video
    from segblocks.zoo.rule_weights import fill_by_rule

    video = make_demo_video(args.frames)
    _check_folder(args.out)
    device = choose_device(args.device)
    print(_NOTICE)
    with whole_folder(args.out) as folder:
        _write_inputs(folder, video)
        model: Any = zoo.create_model(_MODEL)
        fill_by_rule(model)
        model.to(device).eval()
        rows: dict[str, list[NDArray[np.uint8]]] = {"input": list(video.frames)}
        for name, task in _tasks(video).items():
            start = time.perf_counter()
            reader = open_video(folder / _VIDEO)
            # The folder has another name until it is whole.
            reader.path = args.out / _VIDEO
            reader.name = str(reader.path)
            result = segment(model, reader, task, **_CLIPS)
            seconds = time.perf_counter() - start
            result.save(folder / name, overlay=True)
            rows[name] = _drawn(result, video)
            print(
                f"{name}: {len(result.tracks)} tracks, {result.num_frames / seconds:.2f} frames/s, "
                f"{args.out / name / 'overlay.mp4'}"
            )
        _write_sheet(folder / _SHEET, rows)
    print(f"all four side by side: {args.out / _SHEET}")


def _tasks(video: DemoVideo) -> dict[str, Task]:
    """The four tasks; hints come from the truth of the first frame."""
    import numpy as np

    from segblocks.tasks import PET, VIS, VOS, VPS

    first = video.masks[:, 0]
    points = [np.argwhere(mask).mean(axis=0)[::-1] for mask in first]
    return {
        "vis": VIS("youtube_vis_2021"),
        "vps": VPS("cityscapes_vps"),
        "vos": VOS(first),
        "pet": PET(np.stack(points)),
    }


def _check_folder(out: Path) -> None:
    from segblocks._files import check_writable

    check_writable(out)
    if out.exists() and any(out.iterdir()) and not (out / _SHEET).exists():
        raise ValueError(f"{out}: is not empty and holds no earlier demo; choose another --out")


def _write_inputs(folder: Path, video: DemoVideo) -> None:
    from segblocks.inference.encode import VideoWriter
    from segblocks.label_files import write_label_map
    from segblocks.ops.label_map import label_map_from_masks

    with VideoWriter(folder / _VIDEO, _FPS, video.frames.shape[1:3]) as writer:
        for frame in video.frames:
            writer.write(frame)
    write_label_map(folder / _FIRST_MASKS, label_map_from_masks(video.masks[:, 0]))


def _drawn(result: VideoSegmentation, video: DemoVideo) -> list[NDArray[np.uint8]]:
    from segblocks.inference.writers import draw_result

    return [draw_result(result, t, frame) for t, frame in enumerate(video.frames)]


def _write_sheet(path: Path, rows: dict[str, list[NDArray[np.uint8]]]) -> None:
    import numpy as np
    from PIL import Image

    from segblocks.viz import contact_sheet

    count = len(rows["input"])
    shown = np.linspace(0, count - 1, min(count, _SHEET_FRAMES)).round().astype(int)
    sheet = contact_sheet({name: [frames[t] for t in shown] for name, frames in rows.items()})
    Image.fromarray(sheet).save(path)
