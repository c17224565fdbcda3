"""Argument checks that never read a tensor's values, so that they hold under compilation."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_shape(op: str, name: str, tensor: Tensor, dims: str, sizes: Mapping[str, int]) -> None:
    """Raise unless ``tensor`` has the shape spelled by ``dims``.

    Args:
        op: the public function, named in the error.
        name: the argument, named in the error.
        tensor: what came.
        dims: the expected dimensions, space separated: a name that ``sizes`` fixes, a name that
            it does not (any size will do), or a number.
        sizes: the size of each fixed name.

    Raises:
        ValueError: the number of dimensions or one of the sizes differs.
    """
    names = dims.split()
    want = [int(d) if d.isdigit() else sizes.get(d) for d in names]
    fits = tensor.dim() == len(want) and all(
        w is None or w == got for w, got in zip(want, tensor.shape, strict=True)
    )
    if not fits:
        fixed = ", ".join(f"{d}={sizes[d]}" for d in names if d in sizes)
        given = f" with {fixed}" if fixed else ""
        raise ValueError(
            f"{op}: {name} must have shape ({', '.join(names)}){given}, got {tuple(tensor.shape)}"
        )


def check_float(op: str, **tensors: Tensor) -> None:
    """Raise unless each tensor has a floating point type."""
    for name, tensor in tensors.items():
        if tensor.dtype not in FLOATS:
            raise ValueError(f"{op}: {name} must be floating point, got {tensor.dtype}")


def check_same_dtype(op: str, **tensors: Tensor) -> None:
    """Raise unless all tensors share one dtype."""
    dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
    if len(set(dtypes.values())) > 1:
        got = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        raise ValueError(f"{op}: {', '.join(dtypes)} must have the same dtype, got {got}")


def check_same_device(op: str, **tensors: Tensor) -> None:
    """Raise unless all tensors live on one device."""
    devices = {name: tensor.device for name, tensor in tensors.items()}
    if len(set(devices.values())) > 1:
        got = ", ".join(f"{name} on {device}" for name, device in devices.items())
        raise ValueError(f"{op}: {', '.join(devices)} must be on the same device, got {got}")
