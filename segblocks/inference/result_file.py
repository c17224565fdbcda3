"""``result.json``: everything a result holds, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from segblocks import tasks
from segblocks.images import plain_name
from segblocks.inference.video import VideoReader, open_video
from segblocks.label_files import read_label_map
from segblocks.ops.packed_map import PackedMap
from segblocks.ops.rle import decode, encode, from_coco, to_coco
from segblocks.results import ResultWriter, Track, VideoSegmentation
from segblocks.text.vocabulary import Vocabulary

RESULT_FILE = "result.json"
SEMANTIC_FOLDER = "semantic"
_FORMAT = "segblocks.result"
_VERSION = 1
# All that `encode_result` puts before the hints, which may be long.
_START = rf'\{{"format": "{re.escape(_FORMAT)}", "version": \d+, "task": \{{"name": "(\w+)"'
_FIELDS = {"mask": "masks", "point": "points", "box": "boxes"}


def encode_result(
    result: VideoSegmentation, frame_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Write a result as plain values; its semantic maps, if any, are files of their own.

    Args:
        result: of any task.
        frame_names: file name of each frame, None where frames have none.

    Returns:
        What `read_result` reads. ``tracks[i].segmentations[t]`` is a compressed COCO RLE, or None
        where frame t does not show the track.
    """
    height, width = result.size
    reader = result.source if isinstance(result.source, VideoReader) else None
    video = {
        "name": reader.name if reader else None,
        "path": str(reader.path) if reader and reader.path else None,
        "height": height,
        "width": width,
        "fps": reader.fps if reader else None,
        "num_frames": result.num_frames,
        "frame_names": None if frame_names is None else list(frame_names),
    }
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "task": _encode_task(result.task),
        "video": video,
        "vocabulary": _encode_vocabulary(result.vocabulary),
        "has_semantic": result.has_semantic,
        "tracks": [_encode_track(track) for track in result.tracks],
    }


def task_of_result(folder: Path) -> str | None:
    """Return the name of the task whose result a folder holds, None where it holds none of ours."""
    path = folder / RESULT_FILE
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", errors="replace") as file:
        start = re.match(_START, file.read(200))
    return None if start is None else start[1]


def read_result_file(path: Path, writer: ResultWriter | None = None) -> VideoSegmentation:
    """Read a saved result back.

    Args:
        path: the folder, or the ``result.json`` in it.
        writer: what ``save`` of the result calls.

    Returns:
        A result equal to the saved one. Where the video was a file or folder, its source opens the
        same path again.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not written by segblocks, or by a later version of it.
    """
    path = path / RESULT_FILE if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such result")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"{path}: this is no result of segblocks")
    if content["version"] != _VERSION:
        raise ValueError(
            f"{path}: is of version {content['version']}, this segblocks reads {_VERSION}"
        )
    try:
        return _decode_result(content, path.parent, writer)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: incomplete ({type(error).__name__}: {error})") from error


def _decode_result(
    content: dict[str, Any], folder: Path, writer: ResultWriter | None
) -> VideoSegmentation:
    video = content["video"]
    size, num_frames = (video["height"], video["width"]), video["num_frames"]
    vocabulary = None if content["vocabulary"] is None else Vocabulary(**content["vocabulary"])
    maps = {}
    if content["has_semantic"]:
        for t, name in enumerate(video["frame_names"] or map("{:05d}".format, range(num_frames))):
            shifted = read_label_map(folder / SEMANTIC_FOLDER / f"{plain_name(name)}.png")
            maps[t] = PackedMap.pack(shifted - 1)
    return VideoSegmentation(
        tuple(_decode_track(track, size, num_frames) for track in content["tracks"]),
        num_frames,
        size,
        _decode_task(content["task"], vocabulary),
        vocabulary,
        maps,
        _placeholder(video),
        writer,
    )


def _placeholder(video: dict[str, Any]) -> VideoReader | None:
    """A reader that is used up, but knows how to open the video again where that is possible."""
    if video["name"] is None:
        return None
    reopen: Callable[[], VideoReader] | str = "only its result was kept"
    path = None if video["path"] is None else Path(video["path"])
    if path is not None:
        reopen = partial(open_video, path)
    return VideoReader(
        iter(()),
        name=video["name"],
        fps=video["fps"],
        num_frames=video["num_frames"],
        reopen=reopen,
        max_frames=video["num_frames"],
        path=path,
        frame_names=video["frame_names"],
    )


def _encode_track(track: Track) -> dict[str, Any]:
    rles = (track.rles.get(t) for t in range(track.num_frames))
    scores = track.class_scores
    return {
        "id": track.id,
        "label": track.label,
        "score": None if track.score is None else float(track.score),
        "class_scores": None if scores is None else [float(score) for score in scores],
        "segmentations": [None if rle is None else to_coco(rle) for rle in rles],
    }


def _decode_track(record: dict[str, Any], size: tuple[int, int], num_frames: int) -> Track:
    scores = record["class_scores"]
    rles = record["segmentations"]
    return Track(
        record["id"],
        record["label"],
        record["score"],
        {t: from_coco(rle) for t, rle in enumerate(rles) if rle is not None},
        size,
        num_frames,
        None if scores is None else np.array(scores),
    )


def _encode_vocabulary(vocabulary: Vocabulary | None) -> dict[str, Any] | None:
    if vocabulary is None:
        return None
    return {
        "name": vocabulary.name,
        "classes": list(vocabulary.classes),
        "things": list(vocabulary.thing_ids),
        "category_ids": list(vocabulary.category_ids or ()),
    }


def _encode_task(task: tasks.Task) -> dict[str, Any]:
    record: dict[str, Any] = {"name": task.name}
    if isinstance(task, tasks.RefVOS):
        record["expressions"] = list(task.expressions)
    if isinstance(task, tasks.HintTask):
        record["hints"] = [_encode_hints(t, hints) for t, hints in task.hints.items()]
    return record


def _encode_hints(frame: int, hints: tasks.Hints) -> dict[str, Any]:
    if hints.kind == "mask":
        values = [to_coco(encode(mask)) for mask in hints.values]
    else:
        values = hints.values.tolist()
    return {"frame": frame, "kind": hints.kind, "ids": list(hints.ids), "values": values}


def _decode_task(record: dict[str, Any], vocabulary: Vocabulary | None) -> tasks.Task:
    kinds = (tasks.VIS, tasks.VPS, tasks.VSS, tasks.VOS, tasks.PVOS, tasks.PET, tasks.EVS)
    make = cast(Any, {kind.name: kind for kind in (*kinds, tasks.RefVOS)}.get(record["name"]))
    if make is None:
        raise ValueError(f"unknown task {record['name']!r} in a saved result")
    if "expressions" in record:
        return make(record["expressions"])
    if "hints" not in record:
        return make(vocabulary)
    field = _FIELDS[record["hints"][0]["kind"]]
    values = {hints["frame"]: _decode_values(hints) for hints in record["hints"]}
    ids = {hints["frame"]: hints["ids"] for hints in record["hints"]}
    return make(**{field: values, "ids": ids})


def _decode_values(hints: dict[str, Any]) -> np.ndarray:
    if hints["kind"] == "mask":
        return np.stack([decode(from_coco(rle)) for rle in hints["values"]])
    return np.array(hints["values"], np.float64)
