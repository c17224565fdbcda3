"""Label maps survive their PNGs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segblocks.label_files import id_to_rgb, read_label_map, rgb_to_id, write_label_map
from segblocks.ops.palette import davis_palette


@pytest.mark.parametrize(
    ("highest", "mode"), [(255, "P"), (256, "I;16"), (65535, "I;16"), (65536, "RGB")]
)
def test_round_trip_by_highest_id(tmp_path: Path, highest: int, mode: str) -> None:
    labels = np.array([[0, 1, highest], [3, highest - 1, 0]], np.int32)
    write_label_map(tmp_path / "a.png", labels)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), labels)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == mode
        if mode == "P":
            np.testing.assert_array_equal(np.reshape(image.getpalette(), (-1, 3)), davis_palette())


def test_one_kind_for_a_whole_video(tmp_path: Path) -> None:
    write_label_map(tmp_path / "a.png", np.array([[0, 1]]), max_id=300)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "I;16"


@pytest.mark.parametrize("bad", [-1, 1 << 24])
def test_ids_that_no_png_holds(tmp_path: Path, bad: int) -> None:
    with pytest.raises(ValueError, match="ids must lie"):
        write_label_map(tmp_path / "a.png", np.array([[bad]]))
    assert not (tmp_path / "a.png").exists()


@given(st.lists(st.integers(0, (1 << 24) - 1), min_size=1))
def test_colours_hold_ids(ids: list[int]) -> None:
    assert rgb_to_id(id_to_rgb(np.array(ids))).tolist() == ids


def test_a_picture_of_too_many_pixels_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_label_map(tmp_path / "a.png", np.zeros((40, 50), np.int64))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"a\.png: 2,000 pixels are too large"):
        read_label_map(tmp_path / "a.png")
