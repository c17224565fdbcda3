"""Masks of a JSON file, in all forms."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segblocks.data.rle_sequence import RLEMasks, pack_counts
from segblocks.ops.rle import encode, to_coco

MASKS = arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9))


@given(mask=MASKS, plain=st.booleans(), number=st.integers(1, 70000))
def test_any_mask(mask: np.ndarray, plain: bool, number: int) -> None:
    rle = encode(mask)
    segment = {"size": list(rle.size), "counts": rle.counts.tolist()} if plain else to_coco(rle)
    segment = json.loads(json.dumps(segment), object_hook=pack_counts)
    assert isinstance(segment["counts"], np.ndarray if plain else str)
    read = pickle.loads(pickle.dumps(RLEMasks({3: {number: segment}}, mask.shape, "file")))
    truth = read(3)
    if mask.any():
        assert truth.ids == (number,)
        np.testing.assert_array_equal(truth.masks, mask[None])
    else:
        assert (truth.ids, truth.masks.shape) == ((), (0, *mask.shape))


def test_ids_ascend() -> None:
    segment = to_coco(encode(np.eye(2, dtype=np.bool_)))
    assert RLEMasks({0: {9: segment, 2: segment}}, (2, 2), "file")(0).ids == (2, 9)


@pytest.mark.parametrize("counts", [[1, -1], [1.5], ["a"], [1 << 32], [True]])
def test_what_are_no_run_lengths_stays(counts: list[object]) -> None:
    assert pack_counts({"counts": counts}) == {"counts": counts}


def test_polygons_of_no_points_are_empty() -> None:
    pytest.importorskip("pycocotools")
    assert RLEMasks({0: {1: []}}, (2, 2), "file")(0).ids == ()
