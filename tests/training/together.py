"""Train in several processes; run by ``torchrun``, ``python -m tests.training.together FOLDER``.

The first process prints as JSON what it saw.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from segblocks.training.distributed import (
    any_process,
    gather,
    is_distributed,
    leave_processes,
    mean_over_processes,
)
from segblocks.training.update import NonFiniteError
from tests.training.tiny import TinyClip, TinyClips, TinyStep, make_step, run, weights


class StopsOne(TinyStep):
    """One of the processes is told to stop, in its fifth step."""

    batches = 0

    def forward(self, clips: Sequence[TinyClip]) -> dict[str, Tensor]:
        self.batches += 1
        if self.batches == 5 and dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().forward(clips)


def train_all(out: Path) -> dict[str, Any]:
    """Train in several ways into folders below ``out``."""
    run(out / "plain", make_step())
    run(out / "parts", make_step(joined=False), accumulate=2)
    run(out / "dropout", make_step(0.2))
    stopped = run(out / "stopped", StopsOne(make_step(0.2).model))
    gone_on = run(out / "stopped")
    return {
        "stopped": [stopped.step, stopped.finished],
        "gone_on": [gone_on.step, gone_on.finished],
        "same": weights(out / "stopped") == weights(out / "dropout"),
        "own_folders": own_folders(out),
    }


def own_folders(out: Path) -> str:
    """Give one process a folder that the others do not see."""
    rank = int(os.environ["RANK"])
    try:
        run(out / ("plain" if rank == 0 else f"of_{rank}"), make_step())
    except ValueError as error:
        return str(error)
    return ""


def bad(out: Path) -> dict[str, Any]:
    """Only the clips of the second process are bad; all stop."""
    try:
        run(out / "bad", make_step(), data=TinyClips(bad=tuple(range(24))[1::2]), batch_size=1)
    except NonFiniteError as error:
        return {"message": str(error)}
    return {"message": ""}


def main(out: Path) -> None:
    """Do everything once."""
    torch.set_num_threads(1)
    seen = train_all(out) | bad(out)
    rank = dist.get_rank()
    mean = mean_over_processes(torch.tensor([1.0 + rank, 5.0], requires_grad=True))
    seen |= {
        "mean": mean.tolist(),
        "needs_grad": mean.requires_grad,
        "any": [any_process(rank == 1, mean.device), any_process(False, mean.device)],
    }
    everyone = gather(seen)
    leave_processes()
    assert not is_distributed()
    if rank == 0:
        (out / "seen.json").write_text(json.dumps(everyone))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
