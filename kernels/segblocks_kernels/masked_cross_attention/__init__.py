"""Queries attend to the keys inside their masks."""

from __future__ import annotations

from .api import masked_cross_attention
from .mask import MaskFromFeatures

__all__ = ["MaskFromFeatures", "masked_cross_attention"]
