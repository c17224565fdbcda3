import math

import pytest
import torch

from segblocks.nn import sine_code, sine_position_2d, sine_position_3d, sine_position_at


def code_by_hand(p: float, n: int) -> list[float]:
    values = []
    for i in range(n):
        angle = p / 10000 ** (2 * (i // 2) / n)
        values.append(math.sin(angle) if i % 2 == 0 else math.cos(angle))
    return values


def test_code_is_the_published_formula() -> None:
    positions = [0.0, 0.3, 2.5, 17.0]
    got = sine_code(torch.tensor(positions, dtype=torch.float64), 12)
    want = torch.tensor([code_by_hand(p, 12) for p in positions], dtype=torch.float64)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("normalize", [True, False])
def test_planes_hold_y_then_x(normalize: bool) -> None:
    height, width = 3, 5
    got = sine_position_2d(height, width, 16, normalize=normalize, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            y, x = row + 1.0, column + 1.0
            if normalize:
                y = y / (height + 1e-6) * 2 * math.pi
                x = x / (width + 1e-6) * 2 * math.pi
            want = torch.tensor(code_by_hand(y, 8) + code_by_hand(x, 8), dtype=torch.float64)
            torch.testing.assert_close(got[row, column], want)


@pytest.mark.parametrize("frame_indices", [None, [4, 9, 300]])
def test_frames_add_their_code(frame_indices: list[int] | None) -> None:
    plane = sine_position_2d(2, 3, 8, dtype=torch.float64)
    got = sine_position_3d(3, 2, 3, 8, frame_indices=frame_indices, dtype=torch.float64)
    for t in range(3):
        turn = (t + 1) / (3 + 1e-6) if frame_indices is None else frame_indices[t] / 128
        code = torch.tensor(code_by_hand(turn * 2 * math.pi, 8), dtype=torch.float64)
        torch.testing.assert_close(got[t], plane + code)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="num_features must be even, got 3"):
        sine_code(torch.zeros(1), 3)
    with pytest.raises(ValueError, match="frame_indices must name 3 frames, got 2"):
        sine_position_3d(3, 2, 2, 8, frame_indices=[0, 1])


def test_places_at_pixel_centres_have_the_code_of_the_pixel() -> None:
    y, x = torch.meshgrid((torch.arange(4) + 0.5) / 4, (torch.arange(6) + 0.5) / 6, indexing="ij")
    found = sine_position_at(torch.stack((x, y), dim=-1).double(), (4, 6), 32)
    torch.testing.assert_close(
        found, sine_position_2d(4, 6, 32, dtype=torch.float64), atol=1e-6, rtol=0
    )
