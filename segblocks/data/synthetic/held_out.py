"""Videos of the synthetic world that no training sees."""

from __future__ import annotations

from typing import Any

from segblocks.data.synthetic.config import world_config
from segblocks.data.synthetic.world import SyntheticWorld

#: Worlds of this seed and higher ones are for judging alone; training takes lower ones.
HELD_OUT_SEED = 1_000_000


def open_held_out(
    preset: str = "default",
    *,
    seed: int = 0,
    length: int = 50,
    task: str = "vos",
    **changes: Any,
) -> SyntheticWorld:
    """Open videos for judging what was trained on the synthetic world.

    They follow the same rules as the videos for training, and come from seeds that those leave out.

    Args:
        preset: of :func:`world_config`.
        seed: another number gives other videos, at least 0.
        length: how many there are, at least 1.
        task: "vis", "vps", "vss", "vos", "pet" or "refvos".
        changes: fields of :class:`WorldConfig`; lists, as JSON has them, do for tuples.

    Raises:
        ValueError: an unknown preset, field or task, or a number out of range.

    Example:
        >>> world = open_held_out("tiny", length=2, task="vps", num_frames=3)
        >>> world.names, world.task, world[0].num_frames
        (('synthetic_1000000_000000', 'synthetic_1000000_000001'), 'vps', 3)
    """
    for name, value, least in (("seed", seed, 0), ("length", length, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(
                f"open_held_out: {name} must be a whole number from {least}, got {value!r}"
            )
    tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()}
    config = world_config(preset, **tuples)
    return SyntheticWorld(config, HELD_OUT_SEED + seed, length=length, task=task)
