"""Counting in packed words against counting pixels."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from segblocks.metrics.overlaps import areas, box_iou, intersections, iou
from tests.metrics.videos import blobs


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(1, 17),
    st.integers(1, 17),
)
def test_equals_pixel_counts(seed: int, num_a: int, num_b: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.random((n, height, width)) < 0.5 for n in (num_a, num_b))
    common = np.array([[(x & y).sum() for y in b] for x in a], dtype=int).reshape(num_a, num_b)
    union = np.array([[(x | y).sum() for y in b] for x in a], dtype=int).reshape(num_a, num_b)
    np.testing.assert_array_equal(intersections(a, b), common)
    np.testing.assert_array_equal(areas(a), [x.sum() for x in a])
    np.testing.assert_array_equal(iou(a, b), common / np.maximum(union, 1))


def test_boxes_are_compared_as_pycocotools_does() -> None:
    rng = np.random.default_rng(0)
    a, b = (
        np.stack([m[0] for m in blobs(rng, range(6), (1, 20, 30)).values() if m.any()])
        for _ in range(2)
    )
    boxes = [
        np.array([coco_mask.toBbox(coco_mask.encode(np.asfortranarray(m, np.uint8))) for m in part])
        for part in (a, b)
    ]
    expected = coco_mask.iou(*boxes, [0] * len(b))
    np.testing.assert_allclose(box_iou(a, b), expected, rtol=1e-12)
    assert box_iou(a[:0], b).shape == (0, len(b))
    assert (expected > 0).any()
