from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from segblocks.nn import HintQueries

DIM = 8


def made(training: bool = False) -> HintQueries:
    torch.manual_seed(0)
    return HintQueries(DIM, 16, num_points=16, stride=4).train(training)


def ramp() -> torch.Tensor:
    """Features whose first two channels are x and y of the pixel, in the frame's pixels."""
    y, x = torch.meshgrid(torch.arange(12) * 4.0 + 2, torch.arange(20) * 4.0 + 2, indexing="ij")
    rest = torch.randn(DIM - 2, 12, 20)
    return torch.cat((torch.stack((x, y)), rest))[None].repeat(2, 1, 1, 1)


def test_a_point_is_read_bilinearly_in_the_pixels_of_the_frame() -> None:
    features = ramp()
    points = torch.tensor([[9.5, 21.5], [40.0, 17.0]])
    read = made().read(features, points[:, None] + 0.5, torch.tensor([0, 1]))
    torch.testing.assert_close(read[:, :2], points + 0.5)
    # The centre of a feature pixel reads that pixel.
    torch.testing.assert_close(read[0], features[0, :, 5, 2])


def test_a_point_a_pixel_and_a_small_box_are_the_same() -> None:
    hints, features = made(), ramp()
    point = torch.tensor([[20.0, 30.0]])
    frames = torch.tensor([1])
    want = hints.read(features, point[:, None] + 0.5, frames)
    torch.testing.assert_close(hints.read_points(features, point, frames), want)
    mask = torch.zeros(1, 48, 80, dtype=torch.bool)
    mask[0, 30, 20] = True
    torch.testing.assert_close(hints.read_masks(features, mask, frames), want)
    box = torch.tensor([[20.5, 30.5, 20.5, 30.5]]) + torch.tensor([-1e-3, -1e-3, 1e-3, 1e-3])
    torch.testing.assert_close(hints.read_boxes(features, box, frames), want, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("training", [False, True])
def test_constant_features_are_read_as_they_are_up_to_the_border(training: bool) -> None:
    hints = made(training)
    features = torch.randn(DIM)[None, :, None, None].expand(1, DIM, 12, 20)
    frames = torch.zeros(3, dtype=torch.long)
    masks = torch.zeros(3, 48, 80, dtype=torch.bool)
    masks[0] = True
    masks[1, 0] = True
    masks[2, 40:, 70:] = True
    boxes = torch.tensor([[0.0, 0, 80, 48], [0, 0, 2, 2], [78, 46, 80, 48]])
    points = torch.tensor([[-0.5, -0.5], [79.0, 47.0], [3, 3]])
    want = features[:, :, 0, 0].expand(3, -1)
    for found in (
        hints.read_masks(features, masks, frames),
        hints.read_boxes(features, boxes, frames),
        hints.read_points(features, points, frames),
    ):
        torch.testing.assert_close(found, want)


def test_evaluation_spreads_its_readings() -> None:
    hints, features = made(), ramp()
    frames = torch.tensor([0])
    box = torch.tensor([[10.0, 8.0, 50.0, 28.0]])
    found = hints.read_boxes(features, box, frames)
    torch.testing.assert_close(found[0, :2], torch.tensor([30.0, 18.0]))
    mask = torch.zeros(1, 48, 80, dtype=torch.bool)
    mask[0, 8:28, 10:50] = True
    found = hints.read_masks(features, mask, frames)
    torch.testing.assert_close(found[0, :2], torch.tensor([30.0, 18.0]), atol=2.0, rtol=0)


def test_training_draws_inside() -> None:
    hints, features = made(training=True), ramp()
    frames = torch.tensor([0])
    mask = torch.zeros(1, 48, 80, dtype=torch.bool)
    mask[0, 8:12, 40:44] = True
    draws = [
        hints.read_masks(features, mask, frames, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    # The features are those places themselves.
    for draw in draws:
        assert (draw[0, :2] >= torch.tensor([40.0, 8.0])).all()
        assert (draw[0, :2] <= torch.tensor([44.0, 12.0])).all()


def test_features_get_gradients() -> None:
    hints = made()
    features = ramp().requires_grad_()
    found = hints.read_points(features, torch.tensor([[20.0, 30.0]]), torch.tensor([1]))
    hints(found)[:, 0].sum().backward()
    assert features.grad is not None
    assert features.grad[1].any()
    assert not features.grad[0].any()


def test_nothing_hinted_and_wrong_arguments() -> None:
    hints, features = made(), ramp()
    none = torch.zeros(0, dtype=torch.long)
    assert hints.read_points(features, torch.zeros(0, 2), none).shape == (0, DIM)
    assert hints.read_masks(features, torch.zeros(0, 48, 80).bool(), none).shape == (0, DIM)
    with pytest.raises(ValueError, match="must have a pixel each"):
        hints.read_masks(features, torch.zeros(1, 48, 80).bool(), torch.tensor([0]))
    with pytest.raises(ValueError, match="square number"):
        HintQueries(8, num_points=60)


def test_grid_sample_is_the_oracle() -> None:
    hints, features = made(), torch.randn(1, DIM, 12, 20)
    places = torch.rand(5, 7, 2) * torch.tensor([72.0, 40.0]) + 4
    grid = (places / torch.tensor([80.0, 48.0])) * 2 - 1
    want = F.grid_sample(features, grid[None], align_corners=False)[0].mean(-1).T
    read = hints.read(features, places, torch.zeros(5, dtype=torch.long))
    torch.testing.assert_close(read, want)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("training", [False, True])
def test_a_gpu_reads_the_same(training: bool) -> None:
    hints, features = made(training), ramp()
    masks = torch.zeros(2, 48, 80, dtype=torch.bool)
    masks[0, 8:12, 40:44] = masks[1, 20:30, 3] = True
    frames = torch.tensor([1, 0])
    found, expected = (
        hints.to(device).read_masks(
            features.to(device),
            masks.to(device),
            frames.to(device),
            generator=torch.Generator().manual_seed(0),
        )
        for device in ("cuda", "cpu")
    )
    torch.testing.assert_close(found.cpu(), expected)
