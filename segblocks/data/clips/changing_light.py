"""Sun and shade that move over a clip."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class ChangingLight:
    """Lay moving shade over the frames of a clip, and let its exposure drift.

    Videos that are made of stills, or painted, keep the light of their picture, so that models
    learn to know an object by how bright it is, and lose a car that leaves the shade of a house. A
    straight, soft edge divides sun from shade, or two edges bound a strip of shade; it turns and
    moves over the clip. Exposure is for the sun, for the shade or between them: what is brighter
    than it allows for is white.

    Args:
        chance: of changing a clip at all.
        shade: least and greatest share of the light that shade leaves.
        exposure: greatest change of the exposure over the clip, to either side, in stops.
        softness: least and greatest width of the edge, in shorter sides of the frame.
        tint: greatest share by which shade has more blue, and less red.

    Raises:
        ValueError: a chance out of range, a range that is not positive and ascending, or a negative
            exposure or tint.

    Example:
        >>> gray = np.full((3, 40, 60, 3), 128, np.uint8)
        >>> lit = ChangingLight(chance=1.0)(np.random.default_rng(0), gray)
        >>> lit.shape, lit.dtype, bool(lit.std() > 1)
        ((3, 40, 60, 3), dtype('uint8'), True)
    """

    def __init__(
        self,
        *,
        chance: float = 0.5,
        shade: tuple[float, float] = (0.3, 0.8),
        exposure: float = 0.3,
        softness: tuple[float, float] = (0.01, 0.3),
        tint: float = 0.1,
    ) -> None:
        if not 0 <= chance <= 1:
            raise ValueError(f"ChangingLight: chance must lie in [0, 1], got {chance}")
        for name, (least, most) in (("shade", shade), ("softness", softness)):
            if not 0 < least <= most:
                raise ValueError(
                    f"ChangingLight: {name} must be positive and ascending, got {(least, most)}"
                )
        for name, most in (("exposure", exposure), ("tint", tint)):
            if most < 0:
                raise ValueError(f"ChangingLight: {name} must be at least 0, got {most}")
        self.chance, self.shade, self.exposure = chance, shade, exposure
        self.softness, self.tint = softness, tint

    def __call__(self, rng: np.random.Generator, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the frames (T, H, W, 3) in another light; the same ones where chance spares them.

        Args:
            rng: the source of chance.
            frames: (T, H, W, 3) uint8.
        """
        if rng.random() >= self.chance:
            return frames
        left = rng.uniform(*self.shade)
        tint = rng.uniform(0, self.tint) * np.array([-1.0, 0.0, 1.0])
        gain = left ** -rng.uniform(0, 1)
        first, last = rng.uniform(-self.exposure, self.exposure, 2).tolist()
        stops = np.linspace(first, last, len(frames))
        share = self._shade(rng, frames.shape[:3])[..., None]
        light = 1 + share * (left * (1 + tint) - 1).astype(np.float32)
        light *= (gain * 2**stops).astype(np.float32)[:, None, None, None]
        lit = frames * light
        return (lit + np.float32(0.5)).clip(0, 255).astype(np.uint8)

    def _shade(self, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """How much of each pixel (T, H, W) lies in the shade, from 0 to 1."""
        num_frames, height, width = shape
        short = min(height, width)
        y = (np.arange(height, dtype=np.float32) - height / 2)[None, :, None] / short
        x = (np.arange(width, dtype=np.float32) - width / 2)[None, None, :] / short
        start, turn = rng.uniform(0, 2 * np.pi), rng.uniform(-0.3, 0.3)
        angle = np.linspace(start, start + turn, num_frames, dtype=np.float32)[:, None, None]
        reach = np.hypot(height, width) / short / 2
        first, last = rng.uniform(-reach, reach, 2).tolist()
        edge = np.linspace(first, last, num_frames, dtype=np.float32)
        softness = np.exp(rng.uniform(*np.log(self.softness)))
        beyond = x * np.cos(angle) + y * np.sin(angle) - edge[:, None, None]
        share = _ramp(beyond, softness)
        if rng.random() < 0.5:
            share = share * _ramp(rng.uniform(0.2, 1.0) - beyond, softness)
        return share


def _ramp(distance: NDArray[np.floating], width: float) -> NDArray[np.float32]:
    """0 to 1 over an edge of some width."""
    return (distance / width + 0.5).clip(0, 1).astype(np.float32)
