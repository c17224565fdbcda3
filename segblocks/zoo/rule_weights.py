"""Weights by rule: untrained, yet the same on every machine, for demos and tests."""

from __future__ import annotations

import math
import zlib

import torch
from torch import Tensor, nn


def fill_by_rule(module: nn.Module, *, seed: int = 0) -> None:
    """Fill every parameter and running statistic of a module from its name alone.

    A tensor depends on ``seed``, its own name and its shape, so that neither the order of the
    modules nor torch's global generator matters. Matrices and kernels are normal with variance
    1 / fan-in, norm weights lie around 1, other vectors around 0, running variances in 0.5..1.5.
    The masks of such a model mean nothing; they are only reproducible.

    Args:
        module: changed in place.
        seed: another number gives other weights.

    Example:
        >>> first, second = nn.Linear(4, 2), nn.Linear(4, 2)
        >>> fill_by_rule(first)
        >>> fill_by_rule(second)
        >>> bool((first.weight == second.weight).all())
        True
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(_draw(name, parameter, seed))
        for name, buffer in module.named_buffers():
            if name.rpartition(".")[2] in ("running_mean", "running_var"):
                buffer.copy_(_draw(name, buffer, seed))


def _draw(name: str, like: Tensor, seed: int) -> Tensor:
    # torch.randn on the CPU is the same on every machine for a seed; hash() is not, crc32 is.
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}:{name}".encode()))
    leaf = name.rpartition(".")[2]
    if leaf == "running_var":
        return torch.rand(like.shape, generator=generator) + 0.5
    normal = torch.randn(like.shape, generator=generator)
    if like.ndim >= 2:
        return normal / math.sqrt(max(1, like[0].numel()))
    return normal * 0.05 + (1.0 if leaf == "weight" else 0.0)
