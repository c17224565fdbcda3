"""Time of the shape-position descriptors of the objects of a clip: 100 masks at 160x90."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from segblocks.nn import ShapePositionDescriptor, descriptor_change

NUM_MASKS, HEIGHT, WIDTH = 100, 90, 160


def make_masks(device: str) -> Tensor:
    """Ellipses of all sizes with waves on their rim, some of them cut by the frame."""
    generator = torch.Generator().manual_seed(0)
    unit = torch.rand(NUM_MASKS, 6, 1, 1, generator=generator)
    y, x = torch.arange(HEIGHT)[:, None] + 0.5, torch.arange(WIDTH) + 0.5
    dx, dy = x - WIDTH * unit[:, 0], y - HEIGHT * unit[:, 1]
    radius = 6 + 30 * unit[:, 2]
    waves = 1 + 0.3 * torch.sin((2 + 6 * unit[:, 3]).round() * torch.atan2(dy, dx) + 6 * unit[:, 4])
    return (torch.hypot(dx, dy * (0.6 + unit[:, 5])) <= radius * waves).to(device)


@pytest.mark.parametrize("reading", ["recommended", "literal"])
def test_marked(reading: str, device: str, bench: Callable[[Callable[[], object]], None]) -> None:
    masks = make_masks(device)
    descriptor = ShapePositionDescriptor(reading=reading).to(device)  # type: ignore[arg-type]
    bench(lambda: descriptor(masks))


def test_traced(device: str, bench: Callable[[Callable[[], object]], None]) -> None:
    pytest.importorskip("skimage")
    masks = make_masks(device)
    descriptor = ShapePositionDescriptor(contour="traced").to(device)
    marked = ShapePositionDescriptor().to(device)(masks)
    change = descriptor_change(descriptor(masks).histogram, marked.histogram)
    assert float(change[marked.valid].max()) < 0.25
    bench(lambda: descriptor(masks))
