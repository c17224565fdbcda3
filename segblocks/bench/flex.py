"""FlexAttention, compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch


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
