"""Multi-scale deformable attention from reference points, offsets and logits."""

from __future__ import annotations

from .api import ms_deform_attn_fused

__all__ = ["ms_deform_attn_fused"]
