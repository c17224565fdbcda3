"""How things and the camera move: paths over a video, by kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segblocks.data.synthetic.scene import Camera, Series

DIRECTIONS: dict[str, tuple[float, float]] = {
    "left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1),
}  # fmt: skip
KINDS: tuple[str, ...] = (*DIRECTIONS, "straight", "still", "wander", "orbit")


@dataclass(frozen=True)
class Stage:
    """Where a path may lie.

    Args:
        camera: its path.
        half_view: half of what it sees in each frame, (T, 2).
        travel: how far a thing of typical speed comes, in world units.
    """

    camera: Camera
    half_view: Series
    travel: float

    @property
    def num_frames(self) -> int:
        return len(self.camera.zoom)

    @property
    def phase(self) -> Series:
        """(T,), 0 at the start and 1 at the end."""
        return np.linspace(0, 1, self.num_frames) if self.num_frames > 1 else np.full(1, 0.5)

    def anywhere(self, rng: np.random.Generator, margin: NDArray[np.floating] | float) -> Series:
        """A point that the camera sees in the middle of the video, ``margin`` from its border."""
        t = self.num_frames // 2
        room = np.maximum(self.half_view[t] - margin, 0.05)
        return self.camera.center[t] + rng.uniform(-room, room)


def plan_camera(
    rng: np.random.Generator, num_frames: int, *, pan: float, zoom: float, shake: float
) -> Camera:
    """Move the camera: a slow pan and zoom with a tremble.

    Args:
        rng: draws everything.
        num_frames: T.
        pan: the most that it travels.
        zoom: the most by which it zooms, as a factor.
        shake: standard deviation of the tremble.
    """
    phase = np.linspace(0, 1, num_frames)
    heading = rng.uniform(0, 2 * np.pi)
    toward = np.array([np.cos(heading), 0.6 * np.sin(heading)])
    eased = 3 * phase**2 - 2 * phase**3 - 0.5
    center = pan * rng.uniform(0.4, 1) * eased[:, None] * toward
    if num_frames > 2:
        tremble = rng.standard_normal((num_frames + 2, 2))
        center = center + shake * (tremble[:-2] + tremble[1:-1] + tremble[2:]) / np.sqrt(3)
    sway = np.sin(np.pi * (rng.uniform(0.5, 1.5) * phase + rng.uniform(0, 2)))
    return Camera(center, zoom ** (0.5 * sway))


def plan_path(kind: str, rng: np.random.Generator, stage: Stage, reach: float) -> Series:
    """Draw a path of a kind.

    In the middle of the video the thing is anywhere in view, whatever its direction. A still frame
    of unknown time therefore says nothing about where the thing is heading.

    Args:
        kind: of ``KINDS``, or "excursion": out of the frame and back.
        rng: draws everything.
        stage: where the path may lie.
        reach: the thing's largest radius.

    Returns:
        (T, 2) centres.
    """
    phase = stage.phase
    travel = min(stage.travel * rng.uniform(0.7, 1.3), 0.7)
    if kind in DIRECTIONS or kind == "straight":
        direction = np.array(DIRECTIONS.get(kind, _any_direction(rng)), float)
        across = np.array([-direction[1], direction[0]])
        sway = 0.06 * travel * np.sin(2 * np.pi * (phase + rng.uniform()))
        start = stage.anywhere(rng, 0.7 * reach + 0.35 * travel * np.abs(direction))
        return start + travel * (phase[:, None] - 0.5) * direction + sway[:, None] * across
    home = stage.anywhere(rng, reach)
    if kind == "still":
        return np.tile(home, (len(phase), 1))
    if kind == "orbit":
        turn = rng.choice([-1, 1]) * 2 * np.pi * phase * rng.uniform(0.8, 1.3)
        turn = turn + rng.uniform(0, 2 * np.pi)
        size = max(0.3 * stage.travel, 0.04) if stage.travel < 1 else 0.3
        return home + size * np.stack([np.cos(turn), np.sin(turn)], 1)
    if kind == "wander":
        return home + _wander(rng, phase, stage.travel)
    assert kind == "excursion", kind
    return home + _excursion(rng, stage, home, reach)


def plan_crossing(
    rng: np.random.Generator, stage: Stage, reach: float
) -> tuple[Series, Series, Series]:
    """Draw two paths that swap their ends and pass each other closely.

    Returns:
        Two paths (T, 2), and the unit direction (2,) along which they swap.
    """
    phase = stage.phase[:, None]
    heading = rng.uniform(-0.6, 0.6) + rng.choice([0, np.pi])
    along = np.array([np.cos(heading), np.sin(heading)])
    across = np.array([-along[1], along[0]])
    half = np.clip(stage.travel / 2, 1.8 * reach, max(0.32, 1.8 * reach))
    middle = stage.anywhere(rng, reach + half * abs(along))
    gone = np.tanh(3 * (phase - rng.uniform(0.4, 0.6))) / np.tanh(1.5)
    drift = 0.1 * (phase - 0.5) * _any_direction(rng)
    # They give way to each other where they meet, by less than it takes not to touch.
    aside = rng.uniform(0.1, 0.45) * reach * np.maximum(1 - gone**2, 0)
    first = middle + drift + half * gone * along + aside * across
    second = middle + drift - half * gone * along - aside * across
    return first, second, along


def _any_direction(rng: np.random.Generator) -> Series:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def _wander(rng: np.random.Generator, phase: Series, travel: float) -> Series:
    """A smooth closed-looking walk whose length grows with the video, not its extent."""
    size = np.array([rng.uniform(0.1, 0.35), rng.uniform(0.08, 0.22)])
    size = np.minimum(size, 0.5 * travel + 1e-3)
    swings = np.maximum(travel / (4 * size), 0.2) * rng.uniform(0.7, 1.3, 2)
    walk = size * np.sin(2 * np.pi * (phase[:, None] * swings + rng.uniform(0, 1, 2)))
    return walk - walk[len(walk) // 2]


def _excursion(rng: np.random.Generator, stage: Stage, home: Series, reach: float) -> Series:
    """Out of the frame on the nearest side, for some frames, and back."""
    views = np.concatenate(
        [stage.camera.center - stage.half_view, stage.camera.center + stage.half_view]
    )
    low, high = views.min(0) - 1.15 * reach, views.max(0) + 1.15 * reach
    ways = [(low[0] - home[0], 0), (high[0] - home[0], 0), (0, low[1] - home[1])]
    ways.append((0, high[1] - home[1]))
    way = min(ways, key=lambda w: abs(w[0] + w[1]))
    # Flat on top, so that the thing stays away for a few frames, and at rest at both ends.
    bump = np.clip(1.35 * np.sin(np.pi * stage.phase) ** 1.5, 0, 1)
    return bump[:, None] * np.array(way)
