"""Tiny random panoptic videos, and their maps as sets of pixels for slow transcriptions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segblocks.data.sample import ObjectInfo, VideoSample
from segblocks.results import VideoSegmentation
from tests.metrics.videos import STREET, annotated_video, blobs, predicted_video


@dataclass(frozen=True)
class PanopticVideo:
    """Args: truth_class, found_class: (T, H, W), -1 for none; *_id: (T, H, W), 0 for no object."""

    truth: VideoSample
    prediction: VideoSegmentation
    truth_class: NDArray[np.int64]
    truth_id: NDArray[np.int64]
    found_class: NDArray[np.int64]
    found_id: NDArray[np.int64]


def random_video(seed: int, shape: tuple[int, int, int] = (5, 8, 9)) -> PanopticVideo:
    """Objects, crowds, void, thing pixels without an object or a track, and predicted void."""
    rng = np.random.default_rng(seed)
    semantic = np.kron(rng.integers(0, 2, (shape[0], 2, 3)), np.ones((1, 4, 3), dtype=int))
    semantic[rng.random(shape) < 0.05] = 3
    masks = blobs(rng, (1, 2, 3, 4), shape)
    labels = {i: int(rng.integers(2, 4)) for i in masks}
    objects = [ObjectInfo(i, labels[i], is_crowd=i == 4) for i in masks]
    truth_class, truth_id = semantic.copy(), np.zeros(shape, dtype=np.int64)
    taken = np.zeros(shape, dtype=bool)
    for i, mask in masks.items():
        mask &= ~taken
        taken |= mask
        truth_class[mask] = labels[i]
        truth_id[mask] = 0 if i == 4 else i
    ignore = rng.random(shape) < 0.05
    void = rng.random(shape) < 0.08
    annotated = np.where(void & ~taken, -1, truth_class)
    truth_class = np.where(ignore, -1, annotated)
    truth_id[truth_class < 0] = 0

    found = {i + 6: np.roll(m, rng.integers(0, 2), axis=2) for i, m in masks.items() if i != 3}
    found[20] = blobs(rng, (1,), shape)[1]
    found_labels = {i: labels.get(i - 6, 2) for i in found}
    noisy = np.where(rng.random(shape) < 0.1, rng.integers(-1, 4, shape), semantic)
    noisy[noisy >= 2] = 2
    found_class, found_id = noisy.copy(), np.zeros(shape, dtype=np.int64)
    scores = {i: float(s) for i, s in zip(found, rng.permutation(len(found)) / 10, strict=True)}
    for i in sorted(found, key=lambda i: scores[i]):
        found_class[found[i]] = found_labels[i]
        found_id[found[i]] = i
    video = annotated_video(
        masks, name=f"{seed}", objects=objects, semantic=annotated, ignore=ignore
    )
    prediction = predicted_video(found, labels=found_labels, scores=scores, semantic=noisy)
    return PanopticVideo(video, prediction, truth_class, truth_id, found_class, found_id)


def segments(
    classes: NDArray[np.int64], ids: NDArray[np.int64]
) -> dict[tuple[int, int], NDArray[np.bool_]]:
    """(class, id) -> its pixels."""
    pairs = {(int(c), int(i)) for c, i in zip(classes.ravel(), ids.ravel(), strict=True) if c >= 0}
    return {(c, i): (classes == c) & (ids == i) for c, i in sorted(pairs)}


def is_thing(label: int) -> bool:
    return STREET.is_thing(label)
