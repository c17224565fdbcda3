"""Queries attend to the keys inside their masks."""

from __future__ import annotations

from .api import masked_cross_attention

__all__ = ["masked_cross_attention"]
