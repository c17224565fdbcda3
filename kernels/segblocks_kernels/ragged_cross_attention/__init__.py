"""Each row attends to its own list of keys."""

from __future__ import annotations

from .api import ragged_cross_attention

__all__ = ["ragged_cross_attention"]
