"""Named sizes at which operations are measured: those of real networks, and smaller ones for CPUs.

"480p" is 480x864, the usual size of YouTube-VIS, and "720p" is 720x1280. TarViS pads both to
multiples of 64, so that its neck and decoder work at 512x896 and 768x1280.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

STRIDES = (32, 16, 8)

S = TypeVar("S")


@dataclass(frozen=True)
class Deformable:
    """The encoder of a pixel decoder: every token asks, in every frame.

    Attributes:
        frames: N, folded into the batch.
        height: of the frames; levels lie at strides 32, 16 and 8, rounded up.
        width: of the frames.
        heads: M.
        dim: channels of a head.
        points: P, samples a level.
        sigma: of the sampling offsets, in pixels of their level; trained layers have 2 to 6.
    """

    frames: int = 3
    height: int = 480
    width: int = 864
    heads: int = 8
    dim: int = 32
    points: int = 4
    sigma: float = 3.0

    @property
    def levels(self) -> tuple[tuple[int, int], ...]:
        return _levels(self.height, self.width)


@dataclass(frozen=True)
class SpaceTime:
    """The temporal attention of TarViS' neck: cells over all frames and three levels.

    Attributes:
        frames: T.
        height: of the frames; levels lie at strides 32, 16 and 8.
        width: of the frames.
        cell: side of a cell at stride 32; the finer levels have twice and four times as much.
        heads: M.
        dim: channels of a head.

    Raises:
        ValueError: cells that hang over the border, which cannot be gathered.
    """

    frames: int = 3
    height: int = 512
    width: int = 896
    cell: int = 2
    heads: int = 8
    dim: int = 32

    def __post_init__(self) -> None:
        side = STRIDES[0] * self.cell
        if self.height % side or self.width % side:
            raise ValueError(
                f"space_time_attention: height and width must be multiples of {side}, "
                f"so that cells can be gathered, got {self.height}x{self.width}"
            )

    @property
    def levels(self) -> tuple[tuple[int, int], ...]:
        return _levels(self.height, self.width)

    @property
    def cells(self) -> tuple[int, int, int]:
        return self.cell, 2 * self.cell, 4 * self.cell


@dataclass(frozen=True)
class Masked:
    """Queries that attend to one level of a clip.

    Attributes:
        batch: B.
        queries: Q.
        keys: N, frames x height x width of the level.
        heads: M.
        dim: channels of a head.
    """

    batch: int = 1
    queries: int = 100
    keys: int = 21504
    heads: int = 8
    dim: int = 32


@dataclass(frozen=True)
class Ragged:
    """The object encoder of TarViS: background cells with many points, objects with few.

    Attributes:
        background: rows of the background.
        background_points: of each of them.
        objects: rows of objects.
        object_points: of each of them.
        keys: N, pixels to pick from.
        heads: M.
        dim: channels of a head.

    Raises:
        ValueError: a row with more points than there are keys.
    """

    background: int = 16
    background_points: int = 16384
    objects: int = 32
    object_points: int = 2000
    keys: int = 28672
    heads: int = 8
    dim: int = 32

    def __post_init__(self) -> None:
        most = max(self.background_points, self.object_points)
        if most > self.keys:
            raise ValueError(
                "ragged_cross_attention: keys must be at least as many as the points of a row, "
                f"got {self.keys} keys and {most} points"
            )


@dataclass(frozen=True)
class Clip:
    """Frames for a network or a part of one.

    Attributes:
        frames: T.
        height: before padding.
        width: before padding.
    """

    frames: int = 3
    height: int = 480
    width: int = 864


DEFORMABLE = {
    "240p_T1": Deformable(1, 240, 432),
    "480p_T1": Deformable(1),
    "480p_T3": Deformable(3),
    "480p_T8": Deformable(8),
    "480p_T12_padded": Deformable(12, 512, 896),
    "720p_T12_padded": Deformable(12, 768, 1280),
}

SPACE_TIME = {
    "256x448_T2": SpaceTime(2, 256, 448),
    "256x448_T8_small_cells": SpaceTime(8, 256, 448, cell=1),
    "480p_T3": SpaceTime(3),
    "480p_T8_small_cells": SpaceTime(8, cell=1),
    "480p_T8": SpaceTime(8),
    "480p_T12": SpaceTime(12),
    "720p_T12": SpaceTime(12, 768, 1280),
}

MASKED = {
    "480p_T3_stride32": Masked(keys=1344),
    "480p_T3_stride16": Masked(keys=5376),
    "480p_T3_stride8": Masked(keys=21504),
    "480p_T12_stride8": Masked(keys=86016),
    "720p_T12_stride8": Masked(keys=184320),
    "B2_Q100_N19440": Masked(2, 100, 19440),
    "B1_Q200_N51840": Masked(1, 200, 51840),
}

RAGGED = {
    "1000_and_150_points": Ragged(background_points=1000, object_points=150),
    "16384_and_2000_points": Ragged(),
}

CLIPS = {
    "128x192_T3": Clip(3, 128, 192),
    "480p_T3": Clip(3),
    "480p_T12": Clip(12),
    "720p_T12": Clip(12, 720, 1280),
}


def _levels(height: int, width: int) -> tuple[tuple[int, int], ...]:
    return tuple((-(-height // stride), -(-width // stride)) for stride in STRIDES)


def parse_shape(text: str, named: Mapping[str, S]) -> tuple[str, S]:
    """Read a shape: one that has a name, or sizes such as ``frames=5,height=360,width=640``.

    Args:
        text: name, or fields with commas between them; the others keep their defaults.
        named: the shapes that have names, all of one dataclass.

    Returns:
        The name (``text`` itself for sizes), and the shape.

    Raises:
        ValueError: no such name (names close ones) or field, a field twice, a value that is no
            positive number, or sizes that the operation cannot have.

    Example:
        >>> parse_shape("frames=5,height=256", SPACE_TIME)[1].frames
        5
    """
    if text in named:
        return text, named[text]
    kind = type(next(iter(named.values())))
    defaults: dict[str, Any] = dataclasses.asdict(kind())  # type: ignore[call-overload]
    if "=" not in text:
        close = difflib.get_close_matches(text, named, n=3)
        advice = f"did you mean {' or '.join(close)}? " if close else ""
        raise ValueError(
            f"unknown shape {text!r}; {advice}there are {', '.join(named)}, "
            f"or give sizes: {','.join(f'{name}={value}' for name, value in defaults.items())}"
        )
    sizes: dict[str, int | float] = {}
    for word in text.split(","):
        name, _, value = (part.strip() for part in word.partition("="))
        if name not in defaults:
            raise ValueError(
                f"shape {text!r}: unknown size {name!r}, expected {', '.join(defaults)}"
            )
        if name in sizes:
            raise ValueError(f"shape {text!r}: {name} is given twice")
        sizes[name] = _positive(text, name, value, type(defaults[name]))
    return text, kind(**sizes)


def _positive(text: str, name: str, value: str, kind: type[int] | type[float]) -> int | float:
    try:
        number = kind(value)
    except ValueError:
        number = 0
    if not 0 < number < float("inf"):
        expected = "whole number" if kind is int else "number"
        raise ValueError(f"shape {text!r}: {name} must be a positive {expected}, got {value!r}")
    return number
