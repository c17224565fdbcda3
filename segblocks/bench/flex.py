"""FlexAttention, compiled, and where it is a contender."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from segblocks.bench.suite import Setting


@cache
def flex_attention() -> Callable[..., Any]:
    """Return PyTorch's FlexAttention, compiled for each shape anew.

    Uncompiled it is a specification and no contender.

    Example:
        >>> callable(flex_attention())
        True
    """
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)


def flex_unavailable(setting: Setting) -> str | None:
    """Why FlexAttention is left out, or None on a GPU.

    Example:
        >>> flex_unavailable(Setting(torch.device("cuda"), "fp32", "fwd")) is None
        True
    """
    if setting.device.type == "cuda":
        return None
    return "compiled for GPUs alone: a CPU takes minutes for each shape, and has no backward"
