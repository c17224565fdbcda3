"""Submission formats of the benchmarks, as plain records ready for JSON, and their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segblocks.ops.rle import decode, encode, to_coco
from segblocks.panoptic import Panoptic
from segblocks.results import VideoSegmentation
from segblocks.text.vocabulary import Vocabulary

_VOID = 255


def youtube_vis_records(
    result: VideoSegmentation, video_id: int = 1, *, top_k: int | None = None
) -> list[dict[str, Any]]:
    """Write the tracks of a VIS result as YouTube-VIS and OVIS want them submitted.

    Every pair of a track and a class is a candidate; the ``top_k`` best scores are kept, so that
    one track may appear with several classes. Where masks of one class overlap in a frame, the
    higher score keeps the pixels. Candidates that keep no pixel in any frame are left out.

    Args:
        result: of a task with a vocabulary.
        video_id: number of the video in the dataset.
        top_k: how many records; None takes 20 for the vocabulary ``ovis`` and 10 for others, as
            TarViS does.

    Returns:
        Records with ``video_id``, ``score``, ``category_id`` (the dataset's own) and
        ``segmentations``: compressed COCO RLE or None for each frame, by descending score.

    Raises:
        ValueError: the result has no vocabulary.
    """
    vocabulary = _vocabulary(result)
    if top_k is None:
        top_k = 20 if vocabulary.name == "ovis" else 10
    candidates = sorted(_candidates(result, vocabulary), key=lambda c: -c[0])[:top_k]
    segmentations: list[list[dict[str, Any] | None]] = [[] for _ in candidates]
    for t in range(result.num_frames):
        masks = {i: decode(result.tracks[i].rles[t]) for i in _shown(result, candidates, t)}
        taken: dict[int, NDArray[np.bool_]] = {}
        for records, (_, index, class_index) in zip(segmentations, candidates, strict=True):
            mask = masks.get(index)
            if mask is not None and class_index in taken:
                mask = mask & ~taken[class_index]
            if mask is None or not mask.any():
                records.append(None)
                continue
            taken[class_index] = taken[class_index] | mask if class_index in taken else mask
            records.append(to_coco(encode(mask)))
    return [
        {
            "video_id": video_id,
            "score": score,
            "category_id": vocabulary.category_id(class_index),
            "segmentations": records,
        }
        for records, (score, _, class_index) in zip(segmentations, candidates, strict=True)
        if any(record is not None for record in records)
    ]


def segments_info(panoptic: Panoptic, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Describe the segments of a panoptic picture as COCO's panoptic format does.

    Args:
        panoptic: of one frame.
        vocabulary: of the task.

    Returns:
        Records with ``id`` (the value in the picture, the same in every frame), ``category_id``
        (the dataset's own), ``area`` in pixels, ``bbox`` [x, y, width, height], ``iscrowd`` 0.
    """
    records = []
    for segment in panoptic.segments:
        mask = panoptic.ids == segment.id
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        left, top = int(columns[0]), int(rows[0])
        records.append(
            {
                "id": segment.id,
                "category_id": vocabulary.category_id(vocabulary.index(segment.label)),
                "area": int(mask.sum()),
                "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
                "iscrowd": 0,
            }
        )
    return records


def kitti_step_picture(panoptic: Panoptic, vocabulary: Vocabulary) -> NDArray[np.uint8]:
    """Paint a panoptic map as KITTI-STEP wants it submitted.

    Args:
        panoptic: of one frame.
        vocabulary: of the task.

    Returns:
        RGB (H, W, 3): R the category id (255 where there is none), G and B the track's id divided
        by 256 and the rest of that; 0 for stuff.

    Raises:
        ValueError: a track id above 65535.
    """
    category = np.full(panoptic.ids.shape, _VOID, np.int64)
    instance = np.zeros(panoptic.ids.shape, np.int64)
    for segment in panoptic.segments:
        mask = panoptic.ids == segment.id
        category[mask] = vocabulary.category_id(vocabulary.index(segment.label))
        instance[mask] = segment.track_id or 0
    if instance.max(initial=0) > 65535:
        raise ValueError(f"KITTI-STEP holds track ids up to 65535, got {instance.max()}")
    return np.stack([category, instance // 256, instance % 256], axis=-1).astype(np.uint8)


def burst_sequence(
    result: VideoSegmentation,
    name: str,
    *,
    fps: float | None = None,
    dataset: str = "segblocks",
    number: int = 0,
    image_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Write the tracks of a PET result as one sequence of a BURST file.

    Args:
        result: of a task with hints.
        name: of the sequence.
        fps: frames per second, None where unknown.
        dataset: which part of BURST the sequence is from.
        number: of the sequence.
        image_names: file name of each frame; None counts them, ``00000.jpg``.

    Returns:
        The sequence; ``segmentations`` holds, for each frame, track id -> compressed RLE of the
        tracks that the frame shows.
    """
    height, width = result.size
    frames: list[dict[str, Any]] = [{} for _ in range(result.num_frames)]
    for track in result.tracks:
        for t, rle in track.rles.items():
            frames[t][str(track.id)] = {"rle": to_coco(rle)["counts"], "is_gt": False}
    counted = (f"{t:05d}.jpg" for t in range(result.num_frames))
    return {
        "id": number,
        "dataset": dataset,
        "seq_name": name,
        "width": width,
        "height": height,
        "fps": fps,
        "annotated_image_paths": list(image_names or counted),
        # BURST's point-guided task knows no classes: every object is of category 1.
        "track_category_ids": {str(track.id): 1 for track in result.tracks},
        "segmentations": frames,
    }


def _vocabulary(result: VideoSegmentation) -> Vocabulary:
    if result.vocabulary is None:
        raise ValueError(f"a result of the task {result.task_name!r} has no classes to write")
    return result.vocabulary


def _candidates(result: VideoSegmentation, vocabulary: Vocabulary) -> list[tuple[float, int, int]]:
    """(score, index of the track, index of the class) of every pair that has a score."""
    candidates = []
    for index, track in enumerate(result.tracks):
        if track.class_scores is not None:
            candidates += [(float(s), index, k) for k, s in enumerate(track.class_scores)]
        elif track.label is not None:
            score = 1.0 if track.score is None else float(track.score)
            candidates.append((score, index, vocabulary.index(track.label)))
    return candidates


def _shown(result: VideoSegmentation, candidates: list[tuple[float, int, int]], t: int) -> set[int]:
    return {index for _, index, _ in candidates if t in result.tracks[index].rles}
