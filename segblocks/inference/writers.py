"""What ``VideoSegmentation.save`` writes: masks, submission files, an overlay video, a report."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segblocks._files import check_writable, expand, whole_folder
from segblocks.inference.encode import VideoWriter
from segblocks.inference.formats import (
    burst_sequence,
    kitti_step_picture,
    segments_info,
    youtube_vis_records,
)
from segblocks.inference.result_file import (
    RESULT_FILE,
    SEMANTIC_FOLDER,
    encode_result,
    read_result_file,
    task_of_result,
)
from segblocks.inference.submission_names import SubmissionNames, submission_names
from segblocks.inference.video import VideoReader
from segblocks.label_files import id_to_rgb, write_label_map
from segblocks.results import VideoSegmentation
from segblocks.viz import draw_result, track_label_map, write_report

#: Playing speed of overlays of sources that state none: that of DAVIS.
DEFAULT_FPS = 24.0

_MASKS, _OVERLAY, _REPORT = "masks", "overlay.mp4", "report.html"
_VIS, _BURST = "results.json", "burst.json"
_PANOPTIC, _PREDICTION, _KITTI = "panoptic", "pred.json", "kitti_step"
_OWNED = (
    *(RESULT_FILE, SEMANTIC_FOLDER, _MASKS, _OVERLAY, _REPORT),
    *(_VIS, _BURST, _PANOPTIC, _PREDICTION, _KITTI),
)


def save_result(
    result: VideoSegmentation,
    path: str | os.PathLike[str],
    *,
    overlay: bool = False,
    report: bool = False,
    overwrite: bool = False,
    video_id: int | str | None = None,
    dataset: str | None = None,
    split: str | None = None,
    frame_names: Sequence[str] | None = None,
) -> Path:
    """Write a result to a folder, which appears whole or not at all.

    Always ``result.json`` (see `read_result`) and ``masks/*.png``: label maps of track ids, in
    DAVIS colours up to id 255 (see `write_label_map`), tracks of higher score on top. Besides, by
    task:

    - VIS: ``results.json`` of YouTube-VIS and OVIS.
    - VPS: ``panoptic/*.png`` and ``pred.json`` as in VIPSeg and Cityscapes-VPS; with the vocabulary
      ``kitti_step``, ``kitti_step/*.png`` instead.
    - VPS and VSS: ``semantic/*.png``, the class index + 1.
    - PET: ``burst.json``. For VOS, ``masks`` is what DAVIS wants.

    Pictures bear the names of their frames, or are counted from ``00000.png``.

    Args:
        result: of any task.
        path: the folder; ``~`` is the home folder.
        overlay: also write ``overlay.mp4``, for which the source is read again.
        report: also write ``report.html``, a page for browsers (`write_report`), for which the
            source is read again.
        overwrite: replace an earlier result of the same task in ``path``; other files in it stay.
            Without, the folder must be empty or new.
        video_id: of the video in its dataset: VIS, a number (default 1); VPS, a number or name
            (default: the name of the source; ``kitti_step`` has no place for it); PET, the number
            (default 0) or the name of the sequence (default: that of the source).
        dataset: PET: that the sequence is from (default ``segblocks``).
        split: PET: of the dataset (default none).
        frame_names: one name a frame, with or without the suffix of an image. Default: those of
            the source, which a folder of images has.

    Returns:
        ``path``.

    Raises:
        FileExistsError: ``path`` is not empty and may not be overwritten.
        NotADirectoryError: ``path`` is a file.
        OSError: the place cannot be written to, or the disk is full; names it.
        ValueError: something that no file of the task holds, unfit frame names, or an overlay or
            a report of a source that can be read only once.
        ImportError: an overlay without PyAV.
    """
    path = expand(path)
    submission = submission_names(
        result, video_id=video_id, dataset=dataset, split=split, frame_names=frame_names
    )
    check_output(path, result.task_name, overwrite=overwrite)
    overlay_reader = _reopen(result) if overlay else None
    report_reader = _reopen(result) if report else None
    with whole_folder(path, owned=_OWNED) as folder:
        _write_json(folder / RESULT_FILE, encode_result(result, submission.frame_names))
        _write_pictures(folder / _MASKS, submission, _write_ids(result))
        _write_submission(folder, result, submission)
        if result.has_semantic:
            _write_pictures(folder / SEMANTIC_FOLDER, submission, _write_semantic(result))
        if overlay_reader is not None:
            with overlay_reader:
                _write_overlay(folder / _OVERLAY, result, overlay_reader)
        if report_reader is not None:
            with report_reader:
                _write_report(folder / _REPORT, result, report_reader)
    return path


def read_result(path: str | os.PathLike[str]) -> VideoSegmentation:
    """Read back what ``save`` wrote.

    Args:
        path: the folder, or the ``result.json`` in it.

    Returns:
        The result; it can be saved again.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not written by segblocks, or by a later version of it.
    """
    return read_result_file(Path(path), save_result)


def check_output(path: str | os.PathLike[str], task_name: str, *, overwrite: bool = False) -> None:
    """Raise what `save_result` would raise about a folder, before there is a result.

    Args:
        path: the folder, which need not exist.
        task_name: of the result to be, such as "vis".
        overwrite: whether an earlier result of this task may be replaced.

    Raises:
        FileExistsError: ``path`` is not empty and may not be overwritten.
        NotADirectoryError: ``path`` is a file.
        OSError: the place cannot be written to.
    """
    path = expand(path)
    check_writable(path)
    if not path.exists() or not any(path.iterdir()):
        return
    earlier = task_of_result(path)
    if earlier is None:
        reason = "this folder is not empty and holds no earlier result; choose another"
    elif earlier != task_name:
        reason = f"holds a result of {earlier}, this is of {task_name}; choose another folder"
    elif not overwrite:
        reason = (
            f"holds an earlier result of {earlier}; choose another folder, or replace it "
            "(overwrite=True, --overwrite)"
        )
    else:
        return
    raise FileExistsError(errno.EEXIST, reason, str(path))


def _write_ids(result: VideoSegmentation) -> Callable[[Path, int], None]:
    """Return the function that writes the label map of a frame as PNG."""
    highest = max((track.id for track in result.tracks), default=0)

    def write(path: Path, t: int) -> None:
        write_label_map(path, track_label_map(result, t), max_id=highest)

    return write


def _write_semantic(result: VideoSegmentation) -> Callable[[Path, int], None]:
    highest = len(result.vocabulary) if result.vocabulary else 0

    def write(path: Path, t: int) -> None:
        classes = np.maximum(result.semantic(t), -1) + 1
        write_label_map(path, classes, max_id=highest)

    return write


def _write_submission(folder: Path, result: VideoSegmentation, submission: SubmissionNames) -> None:
    if result.task_name == "vis":
        number = submission.number
        _write_json(folder / _VIS, youtube_vis_records(result, 1 if number is None else number))
    elif result.task_name == "pet":
        _write_burst(folder / _BURST, result, submission)
    elif result.task_name == "vps" and result.vocabulary is not None:
        if result.vocabulary.name == "kitti_step":
            _write_kitti_step(folder / _KITTI, result, submission)
        else:
            _write_panoptic(folder, result, submission)


def _write_burst(path: Path, result: VideoSegmentation, submission: SubmissionNames) -> None:
    named = isinstance(submission.video_id, str)
    sequence = burst_sequence(
        result,
        str(submission.video_id) if named else submission.video_name,
        fps=_fps(result),
        dataset=submission.dataset,
        number=0 if named else submission.number or 0,
        image_names=submission.image_names,
    )
    # BURST's tool compares the split with that of the annotations, where there is one.
    split = {"split": submission.split} if submission.split else {}
    _write_json(path, {**split, "sequences": [sequence]})


def _write_panoptic(folder: Path, result: VideoSegmentation, submission: SubmissionNames) -> None:
    vocabulary = result.vocabulary
    assert vocabulary is not None
    frames: list[dict[str, Any]] = []

    def write(path: Path, t: int) -> None:
        panoptic = result.panoptic(t)
        Image.fromarray(id_to_rgb(panoptic.ids)).save(path)
        info = segments_info(panoptic, vocabulary)
        image_id = path.name.removesuffix(path.suffix)
        frames.append({"file_name": path.name, "image_id": image_id, "segments_info": info})

    _write_pictures(folder / _PANOPTIC, submission, write)
    categories = [
        {"id": vocabulary.category_id(i), "name": name, "isthing": int(vocabulary.is_thing(i))}
        for i, name in enumerate(vocabulary.classes)
    ]
    video_id = submission.video_name if submission.video_id is None else submission.video_id
    video = {"video_id": video_id, "annotations": frames}
    _write_json(folder / _PREDICTION, {"annotations": [video], "categories": categories})


def _write_kitti_step(folder: Path, result: VideoSegmentation, submission: SubmissionNames) -> None:
    vocabulary = result.vocabulary
    assert vocabulary is not None

    def write(path: Path, t: int) -> None:
        Image.fromarray(kitti_step_picture(result.panoptic(t), vocabulary)).save(path)

    _write_pictures(folder, submission, write)


def _write_overlay(path: Path, result: VideoSegmentation, reader: VideoReader) -> None:
    with VideoWriter(path, reader.fps or DEFAULT_FPS, result.size) as writer:
        t = -1
        for t, frame in zip(range(result.num_frames), reader, strict=False):
            writer.write(draw_result(result, t, frame))
        if t + 1 < result.num_frames:
            raise ValueError(
                f"{reader.name}: had {result.num_frames} frames when it was segmented, "
                f"{t + 1} when it was read again"
            )


def _write_report(path: Path, result: VideoSegmentation, reader: VideoReader) -> None:
    title = reader.name if reader.path is None else reader.path.name
    write_report(path, result, reader, title=title, fps=reader.fps)


def _write_pictures(
    folder: Path, submission: SubmissionNames, write: Callable[[Path, int], None]
) -> None:
    folder.mkdir()
    for t, name in enumerate(submission.picture_names):
        write(folder / name, t)


def _write_json(path: Path, content: Any) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(content, file, allow_nan=False, ensure_ascii=False)


def _reopen(result: VideoSegmentation) -> VideoReader:
    if not isinstance(result.source, VideoReader):
        raise ValueError("save: this result does not know its video, so it cannot be drawn on")
    return result.source.reopen()


def _fps(result: VideoSegmentation) -> float | None:
    return result.source.fps if isinstance(result.source, VideoReader) else None
