from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segblocks.ops.packed_map import PackedMap


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.int32,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9),
        elements=st.sampled_from([-1, 0, 1, 127, 128, 255, 256, 70_000]),
    )
)
def test_round_trip(label_map):
    unpacked = PackedMap.pack(label_map).unpack()
    assert unpacked.dtype == np.int32
    np.testing.assert_array_equal(unpacked, label_map)


@pytest.mark.parametrize(
    ("low", "high", "dtype"), [(0, 255, "|u1"), (-1, 100, "|i1"), (-1, 200, "<i2"), (0, 300, "<u2")]
)
def test_the_smallest_type_is_chosen(low, high, dtype):
    assert PackedMap.pack(np.array([[low, high]])).dtype == dtype


def test_any_memory_layout():
    label_map = np.arange(24).reshape(4, 6)[::-1, ::2]
    np.testing.assert_array_equal(PackedMap.pack(label_map).unpack(), label_map)


def test_a_map_of_regions_is_small():
    y, x = np.mgrid[:480, :854]
    packed = PackedMap.pack((y // 120) * 7 + (x + y) // 200)
    assert len(packed.data) < 20_000


def test_wrong_maps_raise():
    with pytest.raises(ValueError, match=r"\(H, W\)"):
        PackedMap.pack(np.zeros((1, 2, 3), dtype=np.int32))
    with pytest.raises(ValueError, match="int32"):
        PackedMap.pack(np.array([[1 << 40]]))
    with pytest.raises(TypeError, match="integers"):
        PackedMap.pack(np.zeros((2, 3)))
