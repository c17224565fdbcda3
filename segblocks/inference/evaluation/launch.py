"""Several processes that a launcher has started to share an evaluation."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist

# Videos differ in length, and so do the parts of a dataset; launchers end what hangs.
_PATIENCE = timedelta(days=30)


@dataclass(frozen=True)
class Launch:
    """Say which of the processes of ``torchrun`` or ``accelerate launch`` this one is.

    Args:
        rank: number of this process, from 0.
        size: of all processes, on all machines.
        local_rank: number of this process on its machine, by which it takes a GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_shared(self) -> bool:
        """Whether there are other processes."""
        return self.size > 1

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here; within `connect` only."""
        if self.is_shared:
            dist.barrier()

    @contextmanager
    def connect(self) -> Iterator[None]:
        """Let the processes wait for each other inside a ``with`` block."""
        # The caller may train in the same processes, and have connected them already.
        if not self.is_shared or dist.is_initialized():
            yield
            return
        dist.init_process_group("gloo", timeout=_PATIENCE)
        try:
            yield
        finally:
            dist.destroy_process_group()


def find_launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """Read what a launcher tells its processes: ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK``.

    Args:
        environment: of the process.

    Returns:
        Its place; that of a process alone where no launcher has set both the rank and the number.

    Raises:
        ValueError: something else than numbers, or a rank beyond their number.

    Example:
        >>> find_launch({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
        Launch(rank=3, size=4, local_rank=1)
        >>> find_launch({})
        Launch(rank=0, size=1, local_rank=0)
    """
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        return Launch()
    told = {name: environment[name] for name in ("RANK", "WORLD_SIZE")}
    told["LOCAL_RANK"] = environment.get("LOCAL_RANK", told["RANK"])
    words = ", ".join(f"{name}={value}" for name, value in told.items())
    if not all(value.isascii() and value.isdecimal() for value in told.values()):
        raise ValueError(f"the launcher's variables must be whole numbers, got {words}")
    rank, size, local_rank = map(int, told.values())
    if rank >= size:
        raise ValueError(f"the launcher's RANK must be below its WORLD_SIZE, got {words}")
    return Launch(rank, size, local_rank)
