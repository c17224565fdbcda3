"""Colours changed by one linear map."""

from __future__ import annotations

import numpy as np

from segblocks.data.sample import Frame

# How bright red, green and blue look (ITU-R BT.601).
_LUMA = np.array([0.299, 0.587, 0.114])


class LinearColors:
    """Change hue, saturation, contrast and brightness by chance, some times faster.

    All four are one linear map of red, green and blue, so that a picture is gone through once;
    `RandomColors` takes five steps and, for the hue, another colour space. The hue turns about the
    axis of greys; contrast is about the mean colour of the picture.

    Args:
        hue: greatest turn to either side, in turns of the colour circle.
        saturation: greatest deviation of the factor from 1.
        contrast: likewise.
        brightness: likewise.

    Example:
        >>> gray = np.full((4, 6, 3), 128, np.uint8)
        >>> LinearColors(brightness=0.0)(np.random.default_rng(0), gray)[0, 0].tolist()
        [128, 128, 128]
    """

    def __init__(
        self,
        *,
        hue: float = 12 / 255,
        saturation: float = 0.1,
        contrast: float = 0.1,
        brightness: float = 0.1,
    ) -> None:
        self.hue, self.saturation = hue, saturation
        self.contrast, self.brightness = contrast, brightness

    def __call__(self, rng: np.random.Generator, picture: Frame) -> Frame:
        """Return the changed picture, (H, W, 3) uint8."""
        angle = 2 * np.pi * rng.uniform(-self.hue, self.hue)
        saturation, contrast, brightness = (
            rng.uniform(1 - range_, 1 + range_)
            for range_ in (self.saturation, self.contrast, self.brightness)
        )
        gray = np.broadcast_to(_LUMA, (3, 3))
        matrix = gray + saturation * (_turn(angle) - gray)
        # Every 16th pixel says enough of the mean.
        mean = picture.reshape(-1, 3)[::16].mean(axis=0) @ matrix.T
        matrix, offset = matrix * contrast * brightness, mean * (1 - contrast) * brightness
        changed = picture.reshape(-1, 3).astype(np.float32) @ matrix.T.astype(np.float32)
        changed += offset.astype(np.float32) + np.float32(0.5)
        return changed.clip(0, 255, out=changed).astype(np.uint8).reshape(picture.shape)


def _turn(angle: float) -> np.ndarray:
    """The rotation of (red, green, blue) about the axis of greys."""
    cosine, sine = np.cos(angle), np.sin(angle) / np.sqrt(3)
    spread = np.full((3, 3), (1 - cosine) / 3)
    across = sine * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    return cosine * np.eye(3) + spread + across
