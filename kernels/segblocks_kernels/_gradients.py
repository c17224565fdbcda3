"""Gradients that nobody asked for, through operators that cannot return None."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def filled(grads: Sequence[Tensor | None], sources: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What a backward operator returns: an empty tensor stands for a gradient not computed."""
    return tuple(
        source.new_empty(0) if grad is None else grad
        for grad, source in zip(grads, sources, strict=True)
    )


def fake(needs: Sequence[bool], sources: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Tensors of the shapes and types that ``filled`` will have, contiguous."""
    return tuple(
        source.new_empty(source.shape if needed else 0)
        for needed, source in zip(needs, sources, strict=True)
    )


def wanted(grads: Sequence[Tensor], needs: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """Undo ``filled``, for autograd."""
    return tuple(grad if needed else None for grad, needed in zip(grads, needs, strict=True))
