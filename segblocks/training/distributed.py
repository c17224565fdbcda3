"""What processes that train together tell each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


def mean_over_processes(tensor: Tensor) -> Tensor:
    """Average a tensor over all processes that train together.

    Losses divide by what all processes have together, such as the number of objects. As DDP
    averages gradients, a loss that is divided by the mean over processes gives the gradient of one
    process with all clips.

    Args:
        tensor: floating, of the same shape on every process; no gradient goes through.

    Returns:
        The mean; ``tensor`` itself, detached, where only one process trains.

    Example:
        >>> mean_over_processes(torch.tensor(3.0))
        tensor(3.)
    """
    tensor = tensor.detach()
    if not is_distributed():
        return tensor
    total = tensor.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def any_process(flag: bool, device: torch.device) -> bool:
    """Tell all processes whether a flag is set on one of them.

    Args:
        flag: of this process.
        device: where this process trains.
    """
    if not is_distributed():
        return flag
    value = torch.tensor(int(flag), device=device)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value.item())


def gather(value: Any) -> list[Any]:
    """Give all processes what each of them has, in order.

    Args:
        value: can be pickled.
    """
    if not is_distributed():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def is_distributed() -> bool:
    """Say whether several processes train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def leave_processes() -> None:
    """Part from the other processes, at the end of a program that has trained with them."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
