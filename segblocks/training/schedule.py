"""The learning rate over the steps of a training."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Describe how the learning rate rises and falls, relative to its full value.

    It rises linearly over the first ``warmup`` steps, whose last has the full rate, and then stays,
    or is multiplied by ``factor`` after each milestone, or falls along half a cosine.

    Args:
        warmup: number of steps.
        milestones: steps after which the rate is multiplied by ``factor``, growing. TarViS (Athar
            et al., CVPR 2023): 50,000 and 84,000 of 90,000, after 10,000 of warm-up.
        factor: per milestone.
        cosine: fall along a cosine from the end of the warm-up to the last step.
        final: where the cosine ends.

    Raises:
        ValueError: milestones that do not grow or come with a cosine, or numbers out of range.

    Example:
        >>> schedule = Schedule(warmup=4, milestones=(6, 8))
        >>> [round(schedule.rate(step, 10), 3) for step in range(10)]
        [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    """

    warmup: int = 0
    milestones: tuple[int, ...] = ()
    factor: float = 0.1
    cosine: bool = False
    final: float = 0.0

    def __post_init__(self) -> None:
        milestones = tuple(int(milestone) for milestone in self.milestones)
        object.__setattr__(self, "milestones", milestones)
        if self.warmup < 0:
            raise ValueError(f"Schedule: warmup must be at least 0, got {self.warmup}")
        if list(milestones) != sorted({*milestones}) or (milestones and milestones[0] < 1):
            raise ValueError(f"Schedule: milestones must be positive and grow, got {milestones}")
        if self.cosine and milestones:
            raise ValueError(f"Schedule: either cosine or milestones, got both ({milestones})")
        if not self.factor > 0 or not 0 <= self.final <= 1:
            raise ValueError(
                "Schedule: factor must be positive and final lie in 0..1, "
                f"got {self.factor} and {self.final}"
            )

    def rate(self, step: int, steps: int) -> float:
        """Return what the full learning rate is multiplied by.

        Args:
            step: how many steps were made before this one.
            steps: of the whole training.
        """
        rising = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.cosine:
            share = max(0, step - self.warmup) / max(1, steps - self.warmup)
            return rising * (
                self.final + (1 - self.final) * (1 + math.cos(math.pi * min(1.0, share))) / 2
            )
        return rising * self.factor ** sum(step >= milestone for milestone in self.milestones)
