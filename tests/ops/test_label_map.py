from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segblocks.ops.label_map import label_map_from_masks, masks_from_label_map


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.int32, np.int64]),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9),
        elements=st.integers(0, 5),
    )
)
def test_splitting_and_painting_are_inverse(label_map):
    masks, ids = masks_from_label_map(label_map)
    assert masks.dtype == np.bool_
    assert ids == tuple(sorted(set(label_map.ravel().tolist()) - {0}))
    np.testing.assert_array_equal(label_map_from_masks(masks, ids), label_map)


def test_background_and_ignored_values_are_left_out():
    label_map = np.array([[0, 3, 255], [7, 7, 0]], dtype=np.uint8)
    assert masks_from_label_map(label_map, ignore=(255,))[1] == (3, 7)
    assert masks_from_label_map(label_map, background=7)[1] == (0, 3, 255)


def test_later_masks_are_painted_over_earlier_ones():
    masks = np.array([[[True, True, False]], [[False, True, False]]])
    np.testing.assert_array_equal(label_map_from_masks(masks, background=-1), [[1, 2, -1]])


def test_wrong_inputs_raise():
    with pytest.raises(ValueError, match=r"\(H, W\)"):
        masks_from_label_map(np.zeros((2, 2, 3), dtype=np.uint8))
    with pytest.raises(TypeError, match="integers"):
        masks_from_label_map(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="boolean"):
        label_map_from_masks(np.zeros((1, 2, 2)))
    with pytest.raises(ValueError, match="1 masks, got 2"):
        label_map_from_masks(np.zeros((1, 2, 2), dtype=bool), [1, 2])
