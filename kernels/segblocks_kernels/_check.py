"""Argument checks that never read a tensor's values, so that they hold under compilation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_tensor(op: str, **arguments: Any) -> None:
    """Raise unless each argument is a tensor."""
    for name, argument in arguments.items():
        if not isinstance(argument, Tensor):
            raise ValueError(f"{op}: {name} must be a torch.Tensor, got {_named(argument)}")


def _named(argument: Any) -> str:
    if isinstance(argument, Tensor):
        return "a tensor, which the host would have to read back"
    shown = type(argument).__name__
    # Arrays would fill the screen.
    return shown if hasattr(argument, "shape") else f"{shown} {argument!r}"


def check_spatial_shapes(op: str, spatial_shapes: Any) -> list[int]:
    """The sizes (h0, w0, h1, w1, ...) of a sequence of (height, width) pairs.

    Raises:
        ValueError: it is not that, or has no level, or a negative size.
    """
    wanted = f"{op}: spatial_shapes must be a sequence of (height, width) pairs of ints"
    if not isinstance(spatial_shapes, Sequence):
        raise ValueError(f"{wanted}, got {_named(spatial_shapes)}")
    if not spatial_shapes:
        raise ValueError(f"{op}: spatial_shapes must name at least one level, got none")
    flat: list[int] = []
    for index, pair in enumerate(spatial_shapes):
        if not isinstance(pair, Sequence) or len(pair) != 2 or not all(map(_is_int, pair)):
            raise ValueError(f"{wanted}, got {_named(pair)} at spatial_shapes[{index}]")
        if pair[0] < 0 or pair[1] < 0:
            raise ValueError(
                f"{op}: spatial_shapes must not be negative, got {tuple(pair)} at "
                f"spatial_shapes[{index}]"
            )
        flat += pair
    return flat


def as_pairs(flat: Sequence[int]) -> list[tuple[int, int]]:
    """The (height, width) pairs that :func:`check_spatial_shapes` has laid flat for an operator."""
    return list(zip(flat[::2], flat[1::2], strict=True))


def check_cell_sizes(op: str, cell_sizes: Any) -> None:
    """Raise unless this is a sequence of positive ints and Nones, and not of Nones alone."""
    wanted = f"{op}: cell_sizes must be a sequence with an int or None for each level"
    if not isinstance(cell_sizes, Sequence) or isinstance(cell_sizes, str):
        raise ValueError(f"{wanted}, got {_named(cell_sizes)}")
    for index, cell in enumerate(cell_sizes):
        if cell is not None and not _is_int(cell):
            raise ValueError(f"{wanted}, got {_named(cell)} at cell_sizes[{index}]")
        if cell is not None and cell < 1:
            raise ValueError(f"{op}: cell_sizes[{index}] must be positive or None, got {cell}")
    if all(cell is None for cell in cell_sizes):
        raise ValueError(f"{op}: cell_sizes must have a size for at least one level, got all None")


def _is_int(number: Any) -> bool:
    return isinstance(number, (int, torch.SymInt))


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
