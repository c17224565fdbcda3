"""The public functions on tensors: kernels, masks and their run-length form."""

from __future__ import annotations

from segblocks_kernels import backend_report, ms_deform_attn

__all__ = ["backend_report", "ms_deform_attn"]
