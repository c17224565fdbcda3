"""The geometry of pseudo-videos: every frame shows the still in its own pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F
from torchvision.tv_tensors import KeyPoints

from segblocks.data.sample import Frame


@dataclass(frozen=True)
class FrameTransform:
    """Turn, scale and shear a picture about its middle, resize it and cut a window out of it.

    Pictures are sampled bilinearly, and shrunk with antialiasing; annotations take the nearest
    pixel of the same geometry, found once for all steps together.

    Args:
        angle: in degrees, clockwise.
        scale: above 1 enlarges.
        shear: along x, in degrees.
        resized: (H, W) of the whole picture after resizing.
        corner: (top, left) of the window in that.
        size: (H, W) of the window; what lies outside the picture is black.
    """

    angle: float
    scale: float
    shear: float
    resized: tuple[int, int]
    corner: tuple[int, int]
    size: tuple[int, int]

    def apply(self, picture: Frame) -> Frame:
        """Return the frame (H, W, 3) of a picture (h, w, 3), uint8."""
        tensor = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)
        return np.ascontiguousarray(self._move(tensor).permute(1, 2, 0).numpy())

    def source_pixels(self, size: tuple[int, int]) -> NDArray[np.int32]:
        """Return where each pixel of the frame comes from.

        Args:
            size: (h, w) of the picture.

        Returns:
            (H, W): row * w + column in the picture, -1 outside it.
        """
        height, width = size
        corners = KeyPoints(
            [[0, 0], [width, 0], [0, height]], dtype=torch.float64, canvas_size=size
        )  # pyright: ignore[reportCallIssue]
        moved = self._move(corners).numpy()
        # The corners say where the picture's edges come to lie; the inverse leads back from the
        # middle of each pixel of the frame.
        edges = np.stack([moved[1] - moved[0], moved[2] - moved[0]], axis=1)
        back = np.linalg.inv(edges / (width, height))
        (top, left), whole = self.corner, self.resized
        rows, columns = (np.arange(length)[:, None] for length in self.size)
        y, x = rows + 0.5 - moved[0, 1], columns.T + 0.5 - moved[0, 0]
        column = np.floor(back[0, 0] * x + back[0, 1] * y).astype(np.int32)
        row = np.floor(back[1, 0] * x + back[1, 1] * y).astype(np.int32)
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        # What turning moves out of the picture's frame is lost, even where the window shows it.
        inside &= (rows + top >= 0) & (rows + top < whole[0])
        inside &= (columns.T + left >= 0) & (columns.T + left < whole[1])
        return np.where(inside, row * np.int32(width) + column, np.int32(-1))

    def _move(self, value: torch.Tensor) -> torch.Tensor:
        """Do to a picture (C, H, W), or to points in it, what the pose says."""
        turned = F.affine(
            value,
            self.angle,
            [0.0, 0.0],
            self.scale,
            [self.shear, 0.0],
            interpolation=InterpolationMode.BILINEAR,
        )
        return F.crop(F.resize(turned, list(self.resized)), *self.corner, *self.size)


class RandomPose:
    """Draw the poses in which the frames of a pseudo-video show a still.

    The defaults are those with which TarViS is pretrained on COCO and ADE20K (Athar et al., CVPR
    2023); on Cityscapes and Mapillary it takes ``same_crop=True``.

    Args:
        size: (H, W) of the frames.
        scale: least and greatest factor.
        angle: greatest turn to either side, in degrees.
        shear: greatest shear to either side, in degrees.
        short_sides: to one of which the picture is resized; None takes the shorter side of ``size``
            and 32 and 64 pixels more.
        long_side: which resizing does not pass, even if the window then does not fill.
        same_crop: cut the same window in all frames, else each frame has its own. Windows keep
            their place relative to the picture where frames are resized differently.

    Raises:
        ValueError: a size, scale or side that is not positive.

    Example:
        >>> poses = RandomPose((64, 96))(np.random.default_rng(0), (120, 160), 3)
        >>> poses[0].source_pixels((120, 160)).shape
        (64, 96)
    """

    def __init__(
        self,
        size: tuple[int, int] = (512, 512),
        *,
        scale: tuple[float, float] = (0.9, 1.1),
        angle: float = 20.0,
        shear: float = 10.0,
        short_sides: tuple[int, ...] | None = None,
        long_side: int = 1333,
        same_crop: bool = False,
    ) -> None:
        short = min(size)
        sides = (short, short + 32, short + 64) if short_sides is None else short_sides
        if min(*size, *scale, *sides, long_side) <= 0 or scale[0] > scale[1]:
            raise ValueError(
                "RandomPose: size, scale, short_sides and long_side must be positive and scale "
                f"ascending, got {size}, {scale}, {sides}, {long_side}"
            )
        self.size, self.scale, self.angle, self.shear = size, scale, angle, shear
        self.short_sides, self.long_side, self.same_crop = sides, long_side, same_crop

    def __call__(
        self, rng: np.random.Generator, size: tuple[int, int], num_frames: int
    ) -> tuple[FrameTransform, ...]:
        """Draw one pose a frame.

        Args:
            rng: the source of chance.
            size: (h, w) of the picture.
            num_frames: T.
        """
        shared = rng.random(2)
        return tuple(
            self._draw(rng, size, shared if self.same_crop else None) for _ in range(num_frames)
        )

    def _draw(
        self, rng: np.random.Generator, size: tuple[int, int], shared: NDArray[np.float64] | None
    ) -> FrameTransform:
        scale, angle = rng.uniform(*self.scale), rng.uniform(-self.angle, self.angle)
        shear = rng.uniform(-self.shear, self.shear)
        resized = fit_sides(size, int(rng.choice(self.short_sides)), self.long_side)
        place = rng.random(2) if shared is None else shared
        spare = [whole - window for whole, window in zip(resized, self.size, strict=True)]
        top, left = (_place(p, s) for p, s in zip(place.tolist(), spare, strict=True))
        return FrameTransform(angle, scale, shear, resized, (top, left), self.size)


def fit_sides(size: tuple[int, int], short_side: int, long_side: int) -> tuple[int, int]:
    """Return the size to which a picture is resized, its shape kept.

    Args:
        size: (h, w).
        short_side: what the shorter side becomes...
        long_side: ...unless the longer one would pass this.

    Example:
        >>> fit_sides((480, 640), 512, 1333), fit_sides((100, 1000), 512, 1333)
        ((512, 683), (133, 1333))
    """
    factor = min(short_side / min(size), long_side / max(size))
    height, width = (max(1, round(side * factor)) for side in size)
    return height, width


def _place(chance: float, spare: int) -> int:
    """Where the window begins; a window larger than the picture begins before it."""
    start = int(chance * (abs(spare) + 1))
    return start if spare >= 0 else -start
