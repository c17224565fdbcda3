from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segblocks.ops.rle import RLE, area, decode, encode, from_coco, to_coco

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=24))


def runs_by_loop(mask: np.ndarray) -> list[int]:
    counts, current, length = [], False, 0
    for pixel in mask.ravel(order="F").tolist():
        if pixel != current:
            counts.append(length)
            current, length = pixel, 0
        length += 1
    return [*counts, length]


def blob() -> np.ndarray:
    y, x = np.mgrid[:60, :80]
    wave = np.sin(x / 5.0) * 8
    return (y - 30 + wave) ** 2 + (x - 40) ** 2 / 3 < 420


# What pycocotools 2.0 writes for the same masks.
KNOWN = [
    (np.eye(3, dtype=bool), "013000"),
    (np.ones((2, 3), dtype=bool), "06"),
    (np.zeros((2, 3), dtype=bool), "6"),
    (np.zeros((0, 3), dtype=bool), "0"),
    (
        np.arange(120).reshape(10, 12) % 7 < 3,
        "0120010O010O010O010O010O010O010O010O010O010O010O010O010O010O010O010O01",
    ),
    (
        blob(),
        "P:7b15L3N2N3M2O2N2O1O1O1O1O1O1O1O0O2N1O001O0O001N100O00100O001000000001000001000"
        "001O10O0100O010O0O100O00000O001N100O1O1O1O1O1O1O2N2O2N2M3O2M3M5Kk6",
    ),
]


@settings(max_examples=200, deadline=None)
@given(masks)
def test_encoding_matches_a_loop_and_decodes_back(mask):
    rle = encode(mask)
    assert rle.counts.tolist() == runs_by_loop(mask)
    decoded = decode(rle)
    assert decoded.dtype == np.bool_
    np.testing.assert_array_equal(decoded, mask)
    assert area(rle) == mask.sum()


@settings(max_examples=100, deadline=None)
@given(masks)
def test_coco_text_round_trip(mask):
    rle = encode(mask)
    coco = to_coco(rle)
    assert coco["size"] == list(mask.shape)
    assert from_coco(coco) == rle
    assert from_coco({**coco, "counts": coco["counts"].encode()}) == rle
    assert from_coco({**coco, "counts": rle.counts.tolist()}) == rle


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5_000_000), min_size=1, max_size=30))
def test_coco_text_holds_long_runs(counts):
    rle = RLE((1, sum(counts)), np.array(counts))
    assert from_coco(to_coco(rle)) == rle


@pytest.mark.parametrize(("mask", "text"), KNOWN)
def test_text_is_that_of_pycocotools(mask, text):
    assert to_coco(encode(mask)) == {"size": list(mask.shape), "counts": text}
    np.testing.assert_array_equal(decode(from_coco({"size": mask.shape, "counts": text})), mask)


@pytest.mark.parametrize("view", [np.asfortranarray, lambda m: m[::-1, ::-1], lambda m: m.T])
def test_any_memory_layout(view):
    mask = view(blob())
    np.testing.assert_array_equal(decode(encode(mask)), mask)


def test_rles_compare_by_content_and_cannot_be_changed():
    rle = encode(blob())
    assert rle == encode(blob())
    assert hash(rle) == hash(encode(blob()))
    assert rle != encode(~blob())
    with pytest.raises(ValueError, match="read-only"):
        rle.counts[0] = 3
    assert repr(encode(np.eye(3, dtype=bool))) == "RLE(size=(3, 3), 6 runs, area=3)"


def test_wrong_masks_raise():
    with pytest.raises(ValueError, match=r"\(H, W\), got \(1, 2, 2\)"):
        encode(np.zeros((1, 2, 2), dtype=bool))
    with pytest.raises(TypeError, match="uint8"):
        encode(np.zeros((2, 2), dtype=np.uint8))


@pytest.mark.parametrize("counts", [[3], [5, -1], [[4]], []])
def test_lengths_that_do_not_fit_raise(counts):
    with pytest.raises(ValueError, match="add up to 2x2"):
        RLE((2, 2), np.array(counts))


@pytest.mark.parametrize("counts", ["!!", "0~", "o", "ooooooooooooooo0", "\u00e9"])
def test_text_that_is_no_run_lengths_raises(counts):
    with pytest.raises(ValueError, match="counts"):
        from_coco({"size": [2, 2], "counts": counts})


@pytest.mark.parametrize(
    "size", [None, 4, [4], [2, 2, 1], [-2, -2], [2.0, 2], "22", [None, 2], [1 << 16, 1 << 16]]
)
def test_sizes_that_are_none_raise(size):
    with pytest.raises(ValueError, match="RLE: size must be"):
        from_coco({"size": size, "counts": [4]})


@pytest.mark.parametrize("counts", [["4"], [4.0], [None], {"a": 4}, None, [[1], [1, 2]], [True]])
def test_counts_that_are_no_whole_numbers_raise(counts):
    with pytest.raises(ValueError, match="RLE: counts must be whole numbers"):
        from_coco({"size": [2, 2], "counts": counts})


def test_lengths_that_overflow_raise():
    counts = [4, 0, 1 << 62, 1 << 62, 1 << 62, 1 << 62]
    assert np.array(counts).sum() == 4
    with pytest.raises(ValueError, match="add up to 2x2"):
        RLE((2, 2), np.array(counts))


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=5,
)
digits = st.text([chr(code) for code in range(48, 112)], max_size=8)


def read_or_error(size, counts):
    try:
        return from_coco({"size": size, "counts": counts})
    except ValueError as error:
        return error


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(-1, 6), min_size=2, max_size=2) | junk,
    st.lists(st.integers(-1, 20), max_size=6) | digits | st.binary(max_size=8) | junk,
)
def test_whatever_a_file_holds_is_a_mask_or_an_error_of_its_own(size, counts):
    found = read_or_error(size, counts)
    if isinstance(found, ValueError):
        assert str(found).startswith(("RLE:", "from_coco:"))
    else:
        assert area(found) <= found.counts.sum() == np.prod(found.size)


def test_a_missing_key_is_named():
    with pytest.raises(ValueError, match="it lacks"):
        from_coco({"counts": "4"})
