"""Kernels of segblocks: functions on tensors, each a PyTorch reference with faster versions."""

from __future__ import annotations

import torch

from ._backend import Backends
from ._tuning import tune
from .masked_cross_attention import MaskFromFeatures, masked_cross_attention
from .masked_cross_attention.op import BACKENDS as _MASKED_CROSS_ATTENTION
from .ms_deform_attn import ms_deform_attn
from .ms_deform_attn.op import BACKENDS as _MS_DEFORM_ATTN
from .ms_deform_attn_fused import ms_deform_attn_fused
from .ms_deform_attn_fused.op import BACKENDS as _MS_DEFORM_ATTN_FUSED
from .ragged_cross_attention import ragged_cross_attention
from .ragged_cross_attention.op import BACKENDS as _RAGGED_CROSS_ATTENTION
from .space_time_attention import space_time_attention
from .space_time_attention.op import BACKENDS as _SPACE_TIME_ATTENTION

_BACKENDS: tuple[Backends, ...] = (
    _MS_DEFORM_ATTN,
    _MS_DEFORM_ATTN_FUSED,
    _SPACE_TIME_ATTENTION,
    _MASKED_CROSS_ATTENTION,
    _RAGGED_CROSS_ATTENTION,
)


def backend_report(device: torch.device | str) -> dict[str, tuple[str, str]]:
    """Say for each operation what a call takes on a device that names no backend, and why.

    That is what SEGBLOCKS_BACKEND names, where the operation has it, else the fastest that runs.
    Nothing is compiled to find out.

    Args:
        device: where the tensors would live; nothing is allocated there.

    Returns:
        Operation name to (backend, reason).

    Raises:
        ValueError: SEGBLOCKS_BACKEND names a backend that no operation has.

    Example:
        >>> from segblocks_kernels import backend_report
        >>> all(len(entry) == 2 for entry in backend_report("cpu").values())
        True
    """
    device = torch.device(device)
    return {backends.op: backends.report(device) for backends in _BACKENDS}


__all__ = [
    "MaskFromFeatures",
    "backend_report",
    "masked_cross_attention",
    "ms_deform_attn",
    "ms_deform_attn_fused",
    "ragged_cross_attention",
    "space_time_attention",
    "tune",
]
