"""Models of a few layers, and what goes into them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from segblocks import EVS, PET, VOS, create_model
from segblocks.nn.mask_pixels import even_numbers
from segblocks.zoo import TarViS, TarViSConfig, UniVS

SIZE = (64, 64)


def small_tarvis() -> TarViS:
    """TarViS with one layer of each kind, and random weights."""
    torch.manual_seed(0)
    config = TarViSConfig(
        backbone="resnet18",
        vocabularies=("synthetic",),
        embed_dim=32,
        num_heads=2,
        neck_layers=1,
        neck_hidden_dim=32,
        decoder_layers=1,
        decoder_hidden_dim=32,
        encoder_layers=1,
        encoder_hidden_dim=32,
        num_instance_queries=4,
    )
    return TarViS(config).eval()


def clip(seed: int, num_frames: int = 1) -> Tensor:
    """Random frames (1, T, 3, H, W) on the scale 0..255."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((1, num_frames, 3, *SIZE), generator=generator) * 255


def rectangles(*corners: tuple[int, int], size: tuple[int, int] = (20, 30)) -> Tensor:
    """Masks (O, H, W) of a rectangle each, with its upper left corner at (y, x)."""
    masks = torch.zeros((len(corners), *SIZE), dtype=torch.bool)
    for mask, (y, x) in zip(masks, corners, strict=True):
        mask[y : y + size[0], x : x + size[1]] = True
    return masks


def prompted_model(name: str, **changes: Any) -> Any:
    """A model that, prompted, draws pixels as an exported program does, which has no chance."""
    model: Any = create_model(name, **changes).eval()
    if isinstance(model, UniVS):
        tokens = model.video_policy(PET([(0, 0)])).tokens_per_prompt
        model.permutation = lambda count: even_numbers(torch.tensor([count]), tokens)[0]
    return model


# Hints to export with, and others of the same number.
OTHER_HINTS = [
    (VOS(rectangles((5, 7), (10, 2), size=(44, 51))), rectangles((0, 0), (20, 13), size=(44, 51))),
    (PET([(10, 20), (30, 5)]), torch.tensor([[50.0, 20.0], [3.0, 60.0]])),
    (
        EVS(boxes=[(4, 4, 30, 40), (20, 10, 60, 33)]),
        torch.tensor([[0.0, 0.0, 20.0, 20.0], [30.0, 30.0, 63.5, 64.0]]),
    ),
]
