"""The colours of pseudo-videos."""

from __future__ import annotations

import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

from segblocks.data.sample import Frame


class RandomColors:
    """Change hue, saturation, contrast and brightness of a picture by chance.

    The ranges are those of TarViS (Athar et al., CVPR 2023), whose code adds up to 12 and 25 of 255
    to saturation and brightness; here these are factors.

    Args:
        hue: greatest shift to either side, in turns of the colour circle.
        saturation: greatest deviation of the factor from 1.
        contrast: likewise.
        brightness: likewise.

    Example:
        >>> gray = np.full((4, 6, 3), 128, np.uint8)
        >>> RandomColors()(np.random.default_rng(0), gray).shape
        (4, 6, 3)
    """

    def __init__(
        self,
        *,
        hue: float = 12 / 255,
        saturation: float = 12 / 255,
        contrast: float = 0.05,
        brightness: float = 25 / 255,
    ) -> None:
        self.hue, self.saturation = hue, saturation
        self.contrast, self.brightness = contrast, brightness

    def __call__(self, rng: np.random.Generator, picture: Frame) -> Frame:
        """Return the changed picture, (H, W, 3) uint8."""
        tensor = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)
        # As floats, since every step would cut the fractions of 8 bits off.
        tensor = F.to_dtype(tensor, torch.float32, scale=True)
        tensor = F.adjust_hue(tensor, rng.uniform(-self.hue, self.hue))
        for adjust, range_ in (
            (F.adjust_saturation, self.saturation),
            (F.adjust_contrast, self.contrast),
            (F.adjust_brightness, self.brightness),
        ):
            tensor = adjust(tensor, rng.uniform(1 - range_, 1 + range_))
        return np.ascontiguousarray((255 * tensor).round().byte().permute(1, 2, 0).numpy())
