"""Results as the labels of a video that FiftyOne imports; FiftyOne itself is not needed."""

from __future__ import annotations

import base64
import io
import json
import os
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segblocks._files import expand, whole_folder
from segblocks.interop._boxes import bounding_box
from segblocks.ops.rle import decode
from segblocks.results import Track, VideoSegmentation

#: The label of objects whose task has no classes.
UNNAMED = "object"

_LABELS, _MANIFEST = "labels", "manifest.json"


def save_video_labels(
    results: Mapping[str | os.PathLike[str], VideoSegmentation], folder: str | os.PathLike[str]
) -> None:
    """Write the tracks of videos as a folder that FiftyOne opens.

    ``fiftyone.Dataset.from_dir(folder, dataset_type=fiftyone.types.FiftyOneVideoLabelsDataset)``
    shows the objects as detections with instance masks, whose ``index`` is the id of the track.
    Semantic maps are left out. Videos stay where they are.

    Args:
        results: file of a video -> what was found in it.
        folder: gets ``manifest.json``, which names the videos, and ``labels``, a file each, see
            :func:`to_video_labels`; both appear whole or not at all. What the folder has of that
            name is replaced.

    Raises:
        ValueError: there are no results.
        FileNotFoundError: there is no such video.
        OSError: the folder cannot be written.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from segblocks import VOS
        >>> found = VideoSegmentation((), 2, (4, 8), VOS(np.ones((1, 4, 8), bool)))
        >>> with tempfile.TemporaryDirectory() as home:
        ...     video = Path(home) / "my.mp4"
        ...     video.touch()
        ...     save_video_labels({video: found}, Path(home) / "labelled")
        ...     sorted(path.name for path in Path(home).rglob("*.json"))
        ['00000_my.json', 'manifest.json']
    """
    if not results:
        raise ValueError("save_video_labels: results must have at least one video, got none")
    for video in results:
        if not expand(video).is_file():
            raise FileNotFoundError(
                f"save_video_labels: results must name files of videos, there is no {video}"
            )
    videos = [expand(video).resolve() for video in results]
    names = [f"{_LABELS}/{n:05d}_{video.stem}.json" for n, video in enumerate(videos)]
    with whole_folder(folder, owned=(_LABELS, _MANIFEST)) as staging:
        (staging / _LABELS).mkdir()
        for name, result in zip(names, results.values(), strict=True):
            (staging / name).write_text(json.dumps(to_video_labels(result)))
        index = [
            {"data": str(video), _LABELS: name} for video, name in zip(videos, names, strict=True)
        ]
        manifest = {"type": "eta.core.datasets.LabeledVideoDataset", "index": index}
        (staging / _MANIFEST).write_text(json.dumps(manifest))


def to_video_labels(result: VideoSegmentation) -> dict[str, Any]:
    """Turn the tracks of a video into ETA ``VideoLabels``, FiftyOne's format of frame labels.

    :func:`save_video_labels` makes a dataset of them. Semantic maps are left out.

    Args:
        result: of any task.

    Returns:
        Plain values, ready for JSON. Frames are counted from 1, as there; boxes are shares of the
        width and the height; masks are those inside of the box.

    Example:
        >>> from segblocks import VOS
        >>> from segblocks.ops.rle import encode
        >>> mask = np.zeros((4, 8), bool)
        >>> mask[1:3, 2:4] = True
        >>> result = VideoSegmentation(
        ...     (Track(3, None, 0.9, {1: encode(mask)}, (4, 8), 2),), 2, (4, 8), VOS(mask[None])
        ... )
        >>> found = to_video_labels(result)["frames"]["2"]["objects"]["objects"][0]
        >>> found["label"], found["index"], found["bounding_box"]["top_left"]
        ('object', 3, {'x': 0.25, 'y': 0.25})
    """
    frames: dict[str, Any] = {}
    for t in range(result.num_frames):
        objects = [_detection(track, t) for track in result.tracks if t in track.rles]
        frames[str(t + 1)] = {"frame_number": t + 1, "objects": {"objects": objects}}
    return {"frames": frames}


def _detection(track: Track, t: int) -> dict[str, Any]:
    height, width = track.size
    left, top, box_width, box_height = bounding_box(track.rles[t])
    right, bottom = left + box_width, top + box_height
    detection = {
        "label": track.label or UNNAMED,
        "bounding_box": {
            "top_left": {"x": left / width, "y": top / height},
            "bottom_right": {"x": right / width, "y": bottom / height},
        },
        "mask": _packed(decode(track.rles[t])[top:bottom, left:right]),
        "index": track.id,
        "frame_number": t + 1,
    }
    if track.score is not None:
        detection["confidence"] = float(track.score)
    return detection


def _packed(mask: NDArray[np.bool_]) -> str:
    with io.BytesIO() as buffer:
        np.save(buffer, mask, allow_pickle=False)
        return base64.b64encode(zlib.compress(buffer.getvalue())).decode("ascii")
