"""Self-attention inside grid cells over all frames and several scales."""

from __future__ import annotations

from .api import space_time_attention

__all__ = ["space_time_attention"]
