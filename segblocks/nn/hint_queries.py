"""Queries of objects that are pointed at: features read where the hints are (GvSeg)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segblocks.nn.mask_pixels import MaskPixels, even_numbers
from segblocks.nn.mlp import mlp

# How much of a box is looked at: its middle is likelier to show the object than its corners.
_BOX_SHARE = 0.8


class HintQueries(nn.Module):
    """Make a query of each hinted object: ``q = FFN(f)``, f the feature there (GvSeg eq. 7).

    A point reads the features bilinearly; a mask or a box takes the mean of ``num_points`` readings
    inside. In training they are drawn at random, in evaluation they are spread evenly: over the
    pixels of a mask in reading order, over a grid in the middle 80 % of a box. Beyond the outermost
    pixel centres features go on unchanged, so that an object at the border is not dimmed.

    Args:
        embed_dim: C.
        hidden_dim: of the feed-forward network, which ends with a norm.
        num_points: readings of a mask or a box, a square number.
        stride: of the features.

    Raises:
        ValueError: ``num_points`` is no square.

    Example:
        >>> hints = HintQueries(8, 16).eval()
        >>> features = torch.zeros(1, 8, 16, 24)
        >>> found = hints.read_points(features, torch.tensor([[10.0, 20.0]]), torch.tensor([0]))
        >>> hints(found).shape
        torch.Size([1, 8])
        >>> masks = torch.ones(2, 64, 96, dtype=torch.bool)
        >>> hints(hints.read_masks(features, masks, torch.tensor([0, 0]))).shape
        torch.Size([2, 8])
    """

    def __init__(
        self, embed_dim: int = 256, hidden_dim: int = 1024, *, num_points: int = 64, stride: int = 4
    ) -> None:
        super().__init__()
        self.side = int(num_points**0.5)
        if self.side < 1 or self.side**2 != num_points:
            raise ValueError(f"HintQueries: num_points must be a square number, got {num_points}")
        self.num_points = num_points
        self.stride = stride
        self.feed_forward = nn.Sequential(
            mlp(embed_dim, hidden_dim, embed_dim), nn.LayerNorm(embed_dim)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Turn features (O, C) of objects, just read or stored, into queries (O, C)."""
        return self.feed_forward(features)

    def read_points(self, features: Tensor, points: Tensor, frames: Tensor) -> Tensor:
        """Read the feature of each point.

        Args:
            features: (R, C, h, w) of the frames that hold hints.
            points: (O, 2) as (x, y) in pixels, (0, 0) the centre of the top-left one.
            frames: (O,) int64, the frame of each.

        Returns:
            (O, C).
        """
        return self.read(features, (points + 0.5)[:, None], frames)

    def read_masks(
        self,
        features: Tensor,
        masks: Tensor,
        frames: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Read the mean feature of each mask.

        Args:
            features: as for :meth:`read_points`.
            masks: (O, H, W) bool, each with a pixel; of the padded frame or cut to the frame.
            frames: (O,) int64.
            generator: draws the pixels in training, on the CPU.

        Returns:
            (O, C).

        Raises:
            ValueError: a mask without a pixel; exported programs do not look.
        """
        pixels = MaskPixels(masks)
        places = pixels.at(self._numbers(pixels.counts, generator))
        return self.read(features, (places.flip(-1) + 0.5).to(features.device), frames)

    def read_boxes(
        self,
        features: Tensor,
        boxes: Tensor,
        frames: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Read the mean feature of each box.

        Args:
            features: as for :meth:`read_points`.
            boxes: (O, 4) as (x0, y0, x1, y1) in pixel edges.
            frames: (O,) int64.
            generator: draws the places in training, on the CPU.

        Returns:
            (O, C).
        """
        if self.training:
            unit = torch.rand(len(boxes), self.num_points, 2, generator=generator)
        else:
            line = (torch.arange(self.side) + 0.5) / self.side
            unit = torch.cartesian_prod(line, line).flip(1).expand(len(boxes), -1, -1)
        corner, size = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2]
        share = (1 - _BOX_SHARE) / 2 + _BOX_SHARE * unit.to(boxes)
        return self.read(features, corner + share * size, frames)

    def read(self, features: Tensor, places: Tensor, frames: Tensor) -> Tensor:
        """Read features at places, and average those of an object.

        Args:
            features: (R, C, h, w).
            places: (O, P, 2) as (x, y), (0, 0) the outer corner of the top-left pixel.
            frames: (O,) int64.

        Returns:
            (O, C).
        """
        channels = features.shape[1]
        if len(places) == 0:
            return features.new_zeros(0, channels)
        height, width = features.shape[-2:]
        size = torch.tensor([width, height], device=places.device) * self.stride
        at = (places / size * 2 - 1).to(torch.promote_types(features.dtype, torch.float32))
        if torch.compiler.is_exporting():
            # Which frames have hints is data: a program reads all of them at all places.
            found = _read_at(features, at.flatten(0, 1).expand(len(features), -1, -1))
            means = found.unflatten(2, at.shape[:2]).mean(-1).to(features.dtype)
            return means[frames, :, torch.arange(len(at), device=at.device)]
        read = features.new_zeros(len(places), channels)
        for frame in frames.unique().tolist():
            here = frames == frame
            found = _read_at(features[frame][None], at[here].flatten(0, 1)[None])
            means = found[0].unflatten(1, (-1, places.shape[1])).mean(-1).T
            read = read.index_put((here.nonzero()[:, 0],), means.to(read.dtype))
        return read

    def _numbers(self, counts: Tensor, generator: torch.Generator | None) -> Tensor:
        """Which pixels (O, P) of masks to read, by their number."""
        if torch.compiler.is_exporting():  # a program cannot look at its values
            return even_numbers(counts, self.num_points)
        known = counts.tolist()
        if 0 in known:
            raise ValueError("HintQueries: masks must have a pixel each, got an empty one")
        if not self.training or not known:
            return even_numbers(counts, self.num_points)
        size = (self.num_points,)
        drawn = [torch.randint(count, size, generator=generator) for count in known]
        return torch.stack(drawn).to(counts.device)


def _read_at(features: Tensor, at: Tensor) -> Tensor:
    """Read N frames (N, C, h, w) at places (N, P, 2), -1 to 1, each in its own: (N, C, P)."""
    found = F.grid_sample(
        features.to(at.dtype), at[:, None], padding_mode="border", align_corners=False
    )
    return found[:, :, 0]
