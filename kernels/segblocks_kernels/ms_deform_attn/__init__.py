"""Multi-scale deformable attention."""

from __future__ import annotations

from .api import ms_deform_attn

__all__ = ["ms_deform_attn"]
