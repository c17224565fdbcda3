from __future__ import annotations

import numpy as np
import pytest
import torch

from segblocks.inference.frame_size import fit_size, resize_frame


@pytest.mark.parametrize(
    ("size", "short", "long", "expected"),
    [
        ((480, 854), None, 1333, (480, 854)),
        ((480, 854), 448, 1333, (448, 797)),
        ((854, 480), 448, 1333, (797, 448)),
        ((720, 1280), 512, 1333, (512, 910)),
        ((375, 1242), 576, 1333, (402, 1333)),
        ((375, 1242), 576, None, (576, 1908)),
        ((1024, 2048), None, None, (1024, 2048)),
        ((60, 80), 512, 1333, (512, 683)),
        ((1, 5000), 448, 1333, (1, 1333)),
    ],
)
def test_fit_size(
    size: tuple[int, int], short: int | None, long: int | None, expected: tuple[int, int]
) -> None:
    assert fit_size(size, short, long) == expected


def test_resize_frame_is_bilinear_on_bytes() -> None:
    frame = torch.randint(0, 256, (3, 7, 10), generator=torch.Generator().manual_seed(0))
    size = (5, 16)
    expected = np.zeros((3, *size))
    for i in range(size[0]):
        for j in range(size[1]):
            y = np.clip((i + 0.5) * 7 / 5 - 0.5, 0, 6)
            x = np.clip((j + 0.5) * 10 / 16 - 0.5, 0, 9)
            y0, x0 = min(int(y), 5), min(int(x), 8)
            block = frame[:, y0 : y0 + 2, x0 : x0 + 2].double().numpy()
            rows = (1 - (y - y0)) * block[:, 0] + (y - y0) * block[:, 1]
            expected[:, i, j] = (1 - (x - x0)) * rows[:, 0] + (x - x0) * rows[:, 1]
    resized = resize_frame(frame.to(torch.uint8), size)
    assert resized.dtype == torch.uint8
    assert np.abs(resized.numpy() - expected).max() <= 0.5 + 1e-4


@pytest.mark.parametrize(
    ("size", "short", "long", "expected"),
    [
        ((480, 854), 360, 1333, (360, 641)),
        ((854, 480), 360, 1333, (641, 360)),
        ((720, 1280), 480, 1333, (480, 853)),
        ((375, 1242), 480, 1333, (402, 1333)),
        ((480, 854), None, 1333, (480, 854)),
    ],
)
def test_detectron2_rounds_halves_up(
    size: tuple[int, int], short: int | None, long: int, expected: tuple[int, int]
) -> None:
    assert fit_size(size, short, long, "pillow") == expected


@pytest.mark.parametrize("size", [(10, 16), (23, 31), (60, 40), (90, 130)])
def test_resize_frame_can_be_that_of_pillow(size: tuple[int, int]) -> None:
    image = pytest.importorskip("PIL.Image")
    frame = torch.randint(0, 256, (3, 47, 61), generator=torch.Generator().manual_seed(0))
    frame = frame.to(torch.uint8)
    picture = image.fromarray(frame.permute(1, 2, 0).numpy())
    expected = np.asarray(picture.resize(size[::-1], image.Resampling.BILINEAR), dtype=int)
    resized = resize_frame(frame, size, "pillow").permute(1, 2, 0).numpy().astype(int)
    assert np.abs(resized - expected).max() <= 1
    if size[0] < 24:
        sharp = resize_frame(frame, size).permute(1, 2, 0).numpy().astype(int)
        assert np.abs(sharp - expected).max() > 20
