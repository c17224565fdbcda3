from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from docs.draw_positions import (
    FRAMES,
    HEIGHT,
    PIXELS,
    SCALE,
    WIDTH,
    likeness_of_frames,
    likeness_of_pixels,
    main,
)


@pytest.mark.parametrize("pixel", PIXELS)
def test_a_pixel_is_most_like_itself(pixel: tuple[int, int]) -> None:
    values = likeness_of_pixels(*pixel)
    assert divmod(int(values.argmax()), WIDTH) == pixel


def test_a_frame_is_most_like_itself() -> None:
    values = likeness_of_frames()
    assert torch.equal(values.argmax(dim=0), torch.arange(FRAMES))
    torch.testing.assert_close(values, values.T)


def test_the_picture_has_all_panels(tmp_path: Path) -> None:
    main(tmp_path / "positions.png")
    with Image.open(tmp_path / "positions.png") as picture:
        assert picture.height >= HEIGHT * SCALE
        assert picture.width > len(PIXELS) * WIDTH * SCALE
