"""What the surface of a thing looks like, in the thing's own coordinates."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from segblocks.data.synthetic.ground import TILE, smooth_noise

PATTERNS: tuple[str, ...] = ("plain", "striped", "dotted", "checked")
_GRAIN = 90.0  # texels of the noise tile a radius
_STRENGTH = 0.3  # of the pattern, relative to the colour


def shade_skin(
    pattern: str, grain: tuple[int, int], texture: float,
    x: NDArray[np.float32], y: NDArray[np.float32], inside: NDArray[np.float32],
) -> NDArray[np.float32]:  # fmt: skip
    """Compute by what factor the thing's colour is lighter or darker at each place.

    Args:
        pattern: of ``PATTERNS``.
        grain: where in the noise tile the thing's texture begins, (y, x).
        texture: strength, 0 for flat.
        x, y: (h, w), the thing's own coordinates, about -1 to 1 inside it.
        inside: (h, w), distance to the outline in the same unit, positive inside.

    Returns:
        (h, w) factors, 0.5 to 1.25.
    """
    rows = (y * _GRAIN).astype(np.int32) + grain[0] & TILE - 1
    columns = (x * _GRAIN).astype(np.int32) + grain[1] & TILE - 1
    shade = _noise().ravel()[rows * TILE + columns]
    if pattern != "plain":
        shade = shade + np.where(_is_dark(pattern, x, y), np.float32(-_STRENGTH), np.float32(0.12))
    rim = np.minimum(inside * 4, 1) * 0.22 - 0.22
    factor = np.clip(1 + texture * (shade + rim), 0.5, 1.25)
    return factor.astype(np.float32, copy=False)


def _is_dark(pattern: str, x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.bool_]:
    u, v = x * 2.6, y * 2.6
    if pattern == "striped":
        return (v - np.floor(v)) < 0.5
    if pattern == "checked":
        return (np.floor(u).astype(np.int32) + np.floor(v).astype(np.int32)) % 2 == 0
    u, v = u - np.floor(u) - 0.5, v - np.floor(v) - 0.5
    return u * u + v * v < 0.09


@lru_cache(maxsize=1)
def _noise() -> NDArray[np.float32]:
    field = smooth_noise(np.random.default_rng(7), (6, 6), 1.0)
    return (0.09 * field / field.std()).clip(-0.25, 0.25).astype(np.float32)
