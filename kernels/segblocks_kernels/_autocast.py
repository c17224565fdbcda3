"""Casting under autocast to whatever type the caller asked for."""

from __future__ import annotations

import torch
from torch import Tensor


def autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Cast as an autocast-aware matrix product would; float64 stays, as everywhere in torch.

    ``torch.library`` can register only one fixed type per operator, so the public functions cast
    before they dispatch.
    """
    device = tensors[0].device.type
    # Meta tensors have no autocast, and torch raises when asked about them.
    if device == "meta" or not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(
        t.to(dtype) if t.is_floating_point() and t.dtype != torch.float64 else t for t in tensors
    )
