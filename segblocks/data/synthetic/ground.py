"""The ground that things move on: textured regions of stuff on a plane wider than the frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

TILE = 256
_TILES_A_CLASS = 4


@dataclass(frozen=True)
class Material:
    """What a class of stuff looks like.

    Args:
        color: its mean, RGB.
        contrast: grey levels that its texture spans around the mean, about.
        grain: correlation length of the texture in pixels, (along y, along x).
        smoothness: how fast fine detail fades; larger is smoother.
        height: where it likes to lie, from -1 (top of the frame) to 1 (bottom), 0 for anywhere.
    """

    color: tuple[int, int, int]
    contrast: float
    grain: tuple[float, float]
    smoothness: float
    height: float = 0.0


STUFF: dict[str, Material] = {
    "grass": Material((92, 142, 62), 42, (7, 1.6), 1.0, 0.5),
    "water": Material((52, 104, 152), 34, (3, 22), 1.4, 0.2),
    "sand": Material((206, 182, 130), 20, (1.2, 1.2), 0.7, 0.5),
    "sky": Material((152, 194, 234), 26, (26, 60), 1.8, -2.0),
    "road": Material((98, 98, 104), 18, (1.0, 1.0), 0.5, 0.5),
    "snow": Material((228, 233, 242), 14, (12, 20), 1.3, 0.0),
    "forest": Material((44, 78, 48), 46, (6, 6), 1.2, -0.7),
    "brick": Material((156, 84, 62), 22, (1.5, 1.5), 0.8, -0.3),
}


@dataclass(frozen=True)
class GroundPlan:
    """Where which stuff lies; all that a video's ground is drawn from.

    Args:
        classes: of stuff, by index into the world's stuff, one a region.
        materials: their names.
        hills: (R, h, w) heights on a coarse grid; the region highest at a place owns it.
        tints: (R, 3) RGB added to each material's colour.
        tiles: for each region which variant of its texture, and the (y, x) at which it begins.
        texture: strength.
    """

    classes: tuple[int, ...]
    materials: tuple[str, ...]
    hills: NDArray[np.float32]
    tints: NDArray[np.float32]
    tiles: tuple[tuple[int, int, int], ...]
    texture: float


def plan_ground(
    rng: np.random.Generator, stuff: tuple[str, ...], regions: tuple[int, int], texture: float
) -> GroundPlan:
    """Choose the stuff of a video.

    Args:
        rng: draws everything.
        stuff: names of the classes to choose from.
        regions: least and most of them to take.
        texture: strength.
    """
    most = min(regions[1], len(stuff))
    count = int(rng.integers(min(regions[0], most), most + 1))
    classes = tuple(int(k) for k in rng.permutation(len(stuff))[:count])
    materials = tuple(stuff[k] for k in classes)
    rows = 6
    hills = rng.standard_normal((count, rows, 9)).astype(np.float32)
    slope = np.linspace(-1.6, 1.6, rows, dtype=np.float32)[:, None]
    for hill, material in zip(hills, materials, strict=True):
        hill += STUFF[material].height * slope
    tints = rng.normal(0, 9, (count, 3)).astype(np.float32)
    tiles = tuple(
        (int(rng.integers(_TILES_A_CLASS)), int(rng.integers(TILE)), int(rng.integers(TILE)))
        for _ in range(count)
    )
    return GroundPlan(classes, materials, hills, tints, tiles, texture)


def draw_ground(
    plan: GroundPlan, height: int, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw the whole plane.

    Returns:
        (height, width, 3) uint8 RGB, and (height, width) uint8, the index of each pixel's stuff
        among the world's stuff.
    """
    region = _regions(plan.hills, height, width)
    color = np.empty((height, width, 3), np.uint8)
    for k, (material, tile, tint) in enumerate(
        zip(plan.materials, plan.tiles, plan.tints, strict=True)
    ):
        variant, top, left = tile
        rows, columns = (np.arange(height) + top) % TILE, (np.arange(width) + left) % TILE
        shades = material_tile(material, variant)[rows][:, columns]
        where = region == k
        color[where] = _ramp(STUFF[material], tint, plan.texture)[shades[where]]
    return color, np.array(plan.classes, np.uint8)[region]


@lru_cache(maxsize=64)
def material_tile(material: str, variant: int) -> NDArray[np.uint8]:
    """Make a texture of a material that repeats without a seam.

    Returns:
        (TILE, TILE) uint8; 128 is the mean, 48 levels are one standard deviation.
    """
    kind = STUFF[material]
    rng = np.random.default_rng([list(STUFF).index(material), variant])
    field = smooth_noise(rng, kind.grain, kind.smoothness)
    if extra := _EXTRAS.get(material):
        field = extra(field)
    field = (field - field.mean()) / field.std()
    return np.clip(128 + 48 * field, 0, 255).astype(np.uint8)


def smooth_noise(
    rng: np.random.Generator, grain: tuple[float, float], smoothness: float
) -> NDArray[np.float64]:
    """Filter white noise on a torus: (TILE, TILE), mean about 0."""
    fy = np.fft.fftfreq(TILE)[:, None] * grain[0] * 2 * np.pi
    fx = np.fft.rfftfreq(TILE)[None] * grain[1] * 2 * np.pi
    gain = (1 + fy**2 + fx**2) ** -smoothness
    gain[0, 0] = 0
    spectrum = np.fft.rfft2(rng.standard_normal((TILE, TILE)))
    return np.fft.irfft2(spectrum * gain, s=(TILE, TILE))


def _bricks(field: NDArray[np.float64]) -> NDArray[np.float64]:
    y, x = np.mgrid[:TILE, :TILE]
    row = y // 16
    column = (x + 16 * (row % 2)) // 32
    joint = (y % 16 < 2) | ((x + 16 * (row % 2)) % 32 < 2)
    shade = np.sin(12.9898 * (row % 16) + 78.233 * (column % 8)) * 1.5
    return np.where(joint, 2.5, 0.8 * field / field.std() + shade - 1)


def _waves(field: NDArray[np.float64]) -> NDArray[np.float64]:
    y = np.arange(TILE)[:, None]
    return field / field.std() + 0.9 * np.sin(2 * np.pi * y / 16 + 1.5 * field / field.std())


_EXTRAS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "brick": _bricks,
    "water": _waves,
}


def _ramp(material: Material, tint: NDArray[np.float32], texture: float) -> NDArray[np.uint8]:
    """The colour of each shade of a tile: (256, 3)."""
    light = (np.arange(256)[:, None] - 128) / 48 * material.contrast * 0.55 * texture
    return np.clip(np.array(material.color) + tint + light, 0, 255).astype(np.uint8)


def _regions(hills: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
    up = _bells(hills.shape[1], height)
    across = _bells(hills.shape[2], width)
    best = np.full((height, width), -np.inf, np.float32)
    region = np.zeros((height, width), np.uint8)
    for k, hill in enumerate(hills):
        field = up @ hill @ across.T
        higher = field > best
        region[higher] = k
        np.maximum(best, field, out=best)
    return region


def _bells(knots: int, length: int) -> NDArray[np.float32]:
    """Weights (length, knots) that spread coarse values smoothly over a line."""
    at = (np.arange(length, dtype=np.float32) + 0.5) / length * (knots - 1)
    weights = np.exp(-1.4 * (at[:, None] - np.arange(knots, dtype=np.float32)) ** 2)
    return weights / weights.sum(1, keepdims=True)
