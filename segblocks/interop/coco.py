"""Results as COCO's format extended to videos, in which YouTube-VIS and OVIS come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segblocks.interop._boxes import bounding_box
from segblocks.ops.rle import area, to_coco
from segblocks.results import Track, VideoSegmentation


def to_coco_video(results: Mapping[str, VideoSegmentation]) -> dict[str, Any]:
    """Turn the tracks of videos into one record of annotations, as a dataset would have them.

    It is what annotation tools take, and readers of YouTube-VIS such as our own
    (:class:`segblocks.data.youtube_vis.YouTubeVISDataset`). A submission to a benchmark is another
    file: ``result.save`` writes that. Each track is there once, with its score in ``score``; one
    without a pixel is left out.

    Args:
        results: name of the video -> its result, all of tasks with the same vocabulary. Files of
            frames are named ``name/00000.jpg`` and so on.

    Returns:
        Plain values, ready for JSON: ``videos``, ``categories`` and ``annotations``, with a
        compressed COCO RLE, a box [x, y, width, height] and an area for each frame, or None.

    Raises:
        ValueError: no result, one without a vocabulary, or with another than that of the first.

    Example:
        >>> import numpy as np
        >>> from segblocks import VIS
        >>> from segblocks.ops.rle import encode
        >>> cat = Track(3, "cat", 0.9, {0: encode(np.ones((2, 3), bool))}, (2, 3), 2)
        >>> task = VIS(["dog", "cat"])
        >>> result = VideoSegmentation((cat,), 2, (2, 3), task, task.resolve())
        >>> record = to_coco_video({"home": result})
        >>> record["annotations"][0]["bboxes"], record["annotations"][0]["category_id"]
        ([[0, 0, 3, 2], None], 2)
    """
    vocabularies = {name: result.vocabulary for name, result in results.items()}
    shared = next(iter(vocabularies.values()), None)
    named = {name: v and v.name for name, v in vocabularies.items()}
    if shared is None or any(vocabulary != shared for vocabulary in vocabularies.values()):
        raise ValueError(
            f"to_coco_video: results must be of tasks with one vocabulary, got {named}"
        )
    annotations: list[dict[str, Any]] = []
    for number, result in enumerate(results.values(), start=1):
        for track in result.tracks:
            if track.rles and track.label is not None:
                category = shared.category_id(shared.index(track.label))
                annotations.append(_annotation(track, len(annotations) + 1, number, category))
    return {
        "info": {},
        "licenses": [],
        "videos": [_video(*item, number) for number, item in enumerate(results.items(), start=1)],
        "categories": [
            {
                "id": shared.category_id(k),
                "name": name,
                "isthing": int(shared.is_thing(k)),
                "supercategory": "object",
            }
            for k, name in enumerate(shared.classes)
        ],
        "annotations": annotations,
    }


def _video(name: str, result: VideoSegmentation, number: int) -> dict[str, Any]:
    height, width = result.size
    return {
        "id": number,
        "height": height,
        "width": width,
        "length": result.num_frames,
        "file_names": [f"{name}/{t:05d}.jpg" for t in range(result.num_frames)],
    }


def _annotation(track: Track, number: int, video: int, category: int) -> dict[str, Any]:
    height, width = track.size
    rles = [track.rles.get(t) for t in range(track.num_frames)]
    return {
        "id": number,
        "video_id": video,
        "category_id": category,
        "iscrowd": 0,
        "height": height,
        "width": width,
        "length": track.num_frames,
        "score": None if track.score is None else float(track.score),
        "segmentations": [rle and to_coco(rle) for rle in rles],
        "bboxes": [rle and list(bounding_box(rle)) for rle in rles],
        "areas": [rle and area(rle) for rle in rles],
    }
