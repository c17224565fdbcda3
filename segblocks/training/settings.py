"""The numbers of a training that every system shares."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from segblocks.training.schedule import Schedule

Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")

# What a training may be taken up with otherwise: nothing that is learnt depends on it.
_FREE = ("log_every", "save_every", "keep", "workers")
# Only their product with the number of processes counts.
_BATCH = ("batch_size", "accumulate")


@dataclass(frozen=True)
class LoopSettings:
    """Set the loop; the defaults are those of TarViS (Athar et al., CVPR 2023).

    Args:
        steps: updates of the weights, from the first to the end.
        batch_size: clips that one process has in memory at once.
        accumulate: how many such batches make a step; their gradients are averaged.
        learning_rate: of AdamW.
        backbone_factor: the learning rate of the backbone, relative to that of the rest.
        weight_decay: of AdamW; see `parameter_groups` for what it leaves out.
        betas: of AdamW.
        clip_norm: the norm of all gradients together is brought below this; None leaves it.
        schedule: of the learning rate.
        precision: "bf16" and "fp16" run the network under autocast; the weights stay float32.
        ema: decay per step of the averaged weights that are kept beside the trained ones; None
            keeps none.
        frozen: names of parameters of the model, or of modules, that are not trained.
        log_every: steps from one line of the log to the next.
        save_every: steps from one checkpoint to the next; the last step is always saved.
        keep: how many checkpoints, the newest, stay.
        seed: of all chance in the loop: which clips, dropout.
        workers: processes that load clips, for each process that trains; 0 loads in between.
        chunk: steps in a row with one dataset and one task.

    Raises:
        ValueError: a number out of range, or an unknown precision.

    Example:
        >>> LoopSettings(steps=100, precision="bf16", schedule=Schedule(warmup=10)).clip_norm
        0.01
    """

    steps: int
    batch_size: int = 1
    accumulate: int = 1
    learning_rate: float = 1e-4
    backbone_factor: float = 0.1
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float | None = 0.01
    schedule: Schedule = field(default_factory=Schedule)
    precision: Precision = "fp32"
    ema: float | None = None
    frozen: tuple[str, ...] = ()
    log_every: int = 20
    save_every: int = 1000
    keep: int = 3
    seed: int = 0
    workers: int = 2
    chunk: int = 8

    def __post_init__(self) -> None:
        self._check("frozen", not isinstance(self.frozen, str), "names, not one text")
        object.__setattr__(self, "frozen", tuple(self.frozen))
        object.__setattr__(self, "betas", tuple(self.betas))
        for name in ("steps", "batch_size", "accumulate", "log_every", "save_every", "keep"):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        self._check("chunk", self.chunk >= 1, "at least 1")
        self._check("workers", self.workers >= 0, "at least 0")
        self._check("seed", self.seed >= 0, "at least 0")
        self._check("learning_rate", self.learning_rate > 0, "positive")
        self._check("backbone_factor", self.backbone_factor > 0, "positive (frozen can stop it)")
        self._check("weight_decay", self.weight_decay >= 0, "at least 0")
        self._check("betas", all(0 <= beta < 1 for beta in self.betas), "two numbers in [0, 1)")
        self._check("clip_norm", self.clip_norm is None or self.clip_norm > 0, "positive or None")
        self._check("ema", self.ema is None or 0 < self.ema < 1, "between 0 and 1, or None")
        self._check("precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}")

    @property
    def step_size(self) -> int:
        """How many clips one process sees in a step."""
        return self.batch_size * self.accumulate

    def identity(self, processes: int = 1) -> dict[str, Any]:
        """Return what a training must have in common with one that it takes up, ready for JSON.

        Args:
            processes: that train together.

        Returns:
            Name to value; ``clips_per_step`` is that of all processes.
        """
        left_out = {*_FREE, *_BATCH}
        if not self.schedule.cosine:
            left_out.add("steps")
        found: dict[str, Any] = {"clips_per_step": self.step_size * processes}
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, Mapping):
                found |= {f"{name}.{key}": _plain(inner) for key, inner in value.items()}
            elif name not in left_out:
                found[name] = _plain(value)
        return found

    def _check(self, name: str, good: bool, expected: str) -> None:
        if not good:
            raise ValueError(
                f"LoopSettings: {name} must be {expected}, got {getattr(self, name)!r}"
            )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
