"""What an object looks like from outside: its contour around its centre, and where that lies."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeVar, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segblocks.nn.contours import Contours, drop_specks, mark_contours, trace_contour

Reading = Literal["recommended", "literal"]
Radius = Literal["image", "diagonal", "max", "mean"]
Negatives = Literal["canvas", "mask", "none"]
Conflict = Literal["empty", "override", "add"]
Contour = Literal["marked", "traced"]
OptionT = TypeVar("OptionT", bound=str)

# Weights are summed as whole multiples of 2 ** -30: in any order the sum is the same.
_UNIT = 2.0**30
# The innermost of logarithmic rings ends at this share of the radius.
_INNERMOST = 1 / 32


class ShapePosition(NamedTuple):
    """Descriptors of masks.

    Args:
        histogram: (..., u, v) float32: angle, radius.
        vector: (..., C) float32, the histogram flattened and interpolated to C numbers.
        valid: (...) bool; where False, the mask is too small and the rest is zero.
    """

    histogram: Tensor
    vector: Tensor
    valid: Tensor


class ShapePositionDescriptor(nn.Module):
    """Describe masks by their contour in polar coordinates around their centre (GvSeg eq. 3, 4).

    ``M`` anchors, evenly spaced along the contour, are counted in bins of angle and radius around
    the centroid, with the value ``1 / sqrt(C)`` each. Bins whose centre lies outside get
    ``-1 / sqrt(C)``.

    The paper lets that be outside of the mask, and radii grow with the object. Then the descriptor
    does not change when the object moves, although it is meant to tell its position. So the
    recommended reading measures radii by the image and takes for outside what is outside of the
    image. It also divides each anchor among the four bins around it, because hard bins change by
    more than the paper's threshold of 0.2 where a mask is only drawn anew, and it spares bins that
    hold an anchor, of which the literal reading erases about half. ``docs/gvseg.md`` has the
    figures.

    Contours of "marked" are found for all masks at once; "traced" follows them one by one on the
    CPU (needs the extra ``contours``). Both take the same lines and differ by the even spacing.
    Sums are exact, hence equal on each run and device up to the last bits of the angles.

    Args:
        embed_dim: C.
        reading: "recommended", or "literal" for radius "max", negatives "mask", conflict "override"
            and hard bins; each of them can be chosen by itself as well.
        angles: u, in equal parts of the circle from the x axis, clockwise as y points down.
        radii: v, rings of equal width.
        anchors: M. Parts share them by their lengths.
        radius: what the outermost ring ends at: "image" half its diagonal, "diagonal" all of it,
            "max" the farthest anchor, "mean" twice the mean distance (Belongie et al.). Anchors
            beyond are counted in the outermost ring.
        negatives: bins are negative whose centre is outside of the "canvas", of the "mask", or
            none are. What is outside of the canvas is outside of the mask.
        conflict: what to do with negative bins that hold anchors: "empty" makes none negative,
            "override" drops the anchors, "add" adds both.
        soft: divide each anchor linearly among the two nearest angles and rings.
        log_radius: rings of equal ratio, the first of which ends near 1/32 of the radius.
        contour: "marked" or "traced".
        holes: whether contours of holes count; "marked" knows no others.
        min_area: masks with fewer pixels are not described.

    Raises:
        ValueError: an unknown option, or numbers that are not positive.

    Example:
        >>> masks = torch.zeros(2, 3, 48, 64, dtype=torch.bool)
        >>> masks[0, :, 10:30, 20:50] = True
        >>> descriptor = ShapePositionDescriptor(256)
        >>> shape = descriptor(masks)
        >>> shape.histogram.shape, shape.vector.shape, shape.valid[:, 0].tolist()
        (torch.Size([2, 3, 36, 12]), torch.Size([2, 3, 256]), [True, False])
    """

    def __init__(
        self,
        embed_dim: int = 256,
        *,
        reading: Reading = "recommended",
        angles: int = 36,
        radii: int = 12,
        anchors: int = 200,
        radius: Radius | None = None,
        negatives: Negatives | None = None,
        conflict: Conflict | None = None,
        soft: bool | None = None,
        log_radius: bool = False,
        contour: Contour = "marked",
        holes: bool = True,
        min_area: int = 4,
    ) -> None:
        super().__init__()
        literal = _choose("reading", reading, Reading) == "literal"
        self.embed_dim = embed_dim
        self.angles, self.radii, self.anchors = angles, radii, anchors
        self.radius = _choose("radius", radius or ("max" if literal else "image"), Radius)
        self.negatives = _choose(
            "negatives", negatives or ("mask" if literal else "canvas"), Negatives
        )
        self.conflict = _choose(
            "conflict", conflict or ("override" if literal else "empty"), Conflict
        )
        self.soft = not literal if soft is None else soft
        self.log_radius = log_radius
        self.contour = _choose("contour", contour, Contour)
        self.holes = holes
        self.min_area = min_area
        for name in ("embed_dim", "angles", "radii", "anchors", "min_area"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"ShapePositionDescriptor: {name} must be at least 1, got {getattr(self, name)}"
                )
        if not holes and contour == "marked":
            raise ValueError(
                "ShapePositionDescriptor: holes must be True with contour='marked', which does not "
                "tell them from outlines, got False"
            )

    def extra_repr(self) -> str:
        """Name what differs between readings."""
        return (
            f"{self.embed_dim}, angles={self.angles}, radii={self.radii}, radius={self.radius!r}, "
            f"negatives={self.negatives!r}, conflict={self.conflict!r}, soft={self.soft}"
        )

    @torch.no_grad()
    def forward(self, masks: Tensor, canvas: tuple[int, int] | None = None) -> ShapePosition:
        """Describe masks; no gradient passes.

        Args:
            masks: (..., h, w) bool.
            canvas: height and width of the image without padding, in pixels of the masks; what a
                mask has beyond does not count. None takes (h, w).

        Returns:
            The descriptors.

        Raises:
            ValueError: masks that are not bool (..., h, w), or a canvas that is larger.
        """
        if masks.dtype != torch.bool or masks.dim() < 2:
            raise ValueError(
                "ShapePositionDescriptor: masks must be bool (..., h, w), "
                f"got {tuple(masks.shape)} {masks.dtype}"
            )
        size = (int(masks.shape[-2]), int(masks.shape[-1]))
        height, width = size if canvas is None else canvas
        if not (0 < height <= size[0] and 0 < width <= size[1]):
            raise ValueError(
                f"ShapePositionDescriptor: canvas must lie within the masks {size}, got {canvas}"
            )
        leading = masks.shape[:-2]
        flat = masks[..., :height, :width].reshape(-1, height, width)
        histogram, valid = self._describe(drop_specks(flat))
        histogram = histogram.unflatten(0, leading) if leading else histogram[0]
        valid = valid.reshape(leading)
        return ShapePosition(histogram, self.interpolate(histogram), valid)

    def interpolate(self, histogram: Tensor) -> Tensor:
        """Flatten histograms (..., u, v), angle by angle, and interpolate them to (..., C)."""
        flat = histogram.reshape(-1, 1, self.angles * self.radii)
        vectors = F.interpolate(flat, self.embed_dim, mode="linear", align_corners=False)
        return vectors.reshape(*histogram.shape[:-2], self.embed_dim)

    def _bin_centres(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Directions (u, 2) as (x, y) and shares of the radius (v,), float64."""
        # No buffers: a model in half precision would round them, and so move bins.
        turns = (torch.arange(self.angles, dtype=torch.float64, device=device) + 0.5) / self.angles
        radians = turns * 2 * math.pi
        middle = (torch.arange(self.radii, dtype=torch.float64, device=device) + 0.5) / self.radii
        if self.log_radius:
            middle = _INNERMOST ** (1 - middle)
        return torch.stack((radians.cos(), radians.sin()), dim=1), middle

    def _describe(self, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Histograms (N, u, v) and validity (N,) of masks (N, h, w)."""
        area, corner, centre = _places(masks)
        contours = self._contours(masks)
        # From the corner of its box a mask looks the same wherever it is, to the last bit.
        points = contours.points - corner[contours.owners] - centre[contours.owners]
        distances = points.norm(dim=1)
        reach = self._reach(masks, contours, distances)
        counts = self._count(points, distances, reach, contours, len(masks))
        mass = counts.sum((1, 2), keepdim=True).clamp(min=1)
        scale = self.embed_dim**-0.5
        histogram = counts.double() * (self.anchors * scale / mass)
        outside = self._outside(masks, corner, centre, reach)
        if self.conflict == "add":
            histogram = histogram - scale * outside
        else:
            spared = counts > 0 if self.conflict == "empty" else torch.zeros_like(outside)
            histogram = histogram.masked_fill(outside & ~spared, -scale)
        valid = area >= self.min_area
        return histogram.masked_fill(~valid[:, None, None], 0).float(), valid

    def _contours(self, masks: Tensor) -> Contours:
        if self.contour == "marked":
            return mark_contours(masks)
        traced = [
            torch.from_numpy(trace_contour(mask, self.anchors, holes=self.holes))
            for mask in masks.cpu().numpy()
        ]
        points = torch.cat([torch.zeros(0, 2, dtype=torch.float64), *traced]).to(masks.device)
        lengths = torch.tensor([len(t) for t in traced], dtype=torch.long)
        owners = torch.arange(len(traced)).repeat_interleave(lengths)
        return Contours(points, torch.ones_like(points[:, 0]), owners.to(masks.device))

    def _reach(self, masks: Tensor, contours: Contours, distances: Tensor) -> Tensor:
        """Where the outermost ring ends, (N,) float64."""
        reach = distances.new_zeros(len(masks))
        if self.radius == "max":
            reach = reach.scatter_reduce(0, contours.owners, distances, "amax")
        elif self.radius == "mean":
            total = _exact_sum(contours.weights * distances, contours.owners, len(masks))
            reach = 2 * total / _exact_sum(contours.weights, contours.owners, len(masks))
        else:
            share = 0.5 if self.radius == "image" else 1.0
            reach = reach + share * math.hypot(*masks.shape[-2:])
        return torch.where(reach > 0, reach, 1.0)

    def _count(
        self, points: Tensor, distances: Tensor, reach: Tensor, contours: Contours, num_masks: int
    ) -> Tensor:
        """Weight in each bin (N, u, v), in units of 2 ** -30."""
        turn = torch.atan2(points[:, 1], points[:, 0]) / (2 * math.pi) % 1
        ring = distances / reach[contours.owners]
        if self.log_radius:
            ring = 1 - ring.clamp(min=1e-9).log() / math.log(_INNERMOST)
        angle, ring = turn * self.angles, ring * self.radii
        if not self.soft:
            parts = [(angle.floor(), ring.floor(), torch.ones_like(ring))]
        else:
            angle, ring = angle - 0.5, (ring - 0.5).clamp(0, self.radii - 1)
            left, inner = angle.floor(), ring.floor()
            parts = [
                (
                    left + i,
                    inner + j,
                    (angle - left - (1 - i)).abs() * (ring - inner - (1 - j)).abs(),
                )
                for i in (0, 1)
                for j in (0, 1)
            ]
        counts = torch.zeros(
            num_masks * self.angles * self.radii, dtype=torch.int64, device=points.device
        )
        for i, j, share in parts:
            row = contours.owners * self.angles + i.long() % self.angles
            cell = row * self.radii + j.long().clamp(0, self.radii - 1)
            counts.scatter_add_(0, cell, (contours.weights * share * _UNIT).round().long())
        return counts.view(num_masks, self.angles, self.radii)

    def _outside(self, masks: Tensor, corner: Tensor, centre: Tensor, reach: Tensor) -> Tensor:
        """Which bins have their centre outside, (N, u, v) bool."""
        shape = (len(masks), self.angles, self.radii)
        if self.negatives == "none":
            return torch.zeros(shape, dtype=torch.bool, device=masks.device)
        direction, share = self._bin_centres(masks.device)
        radius = share * reach[:, None]
        offset = direction[None, :, None] * radius[:, None, :, None]
        pixel = (centre[:, None, None] + offset).floor().long() + corner[:, None, None]
        x, y = pixel.unbind(-1)
        height, width = masks.shape[-2:]
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        if self.negatives == "mask":
            index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
            found = masks.flatten(1).gather(1, index.flatten(1)).view(shape)
            inside = inside & found
        return ~inside


def descriptor_change(anchor: Tensor, other: Tensor, *, symmetric: bool = False) -> Tensor:
    """Measure how much descriptors differ: ``|H' - H| / |H|`` (GvSeg eq. 10).

    Args:
        anchor: (..., u, v), H, by whose norm the difference is divided.
        other: (..., u, v), H', whose leading dimensions broadcast with those of ``anchor``.
        symmetric: divide by the mean of both norms instead.

    Returns:
        (...), float32 at least; infinite where one of the two is zero, that is not valid.

    Example:
        >>> h = torch.ones(3, 4)
        >>> float(descriptor_change(h, 1.5 * h)), float(descriptor_change(1.5 * h, h)) < 0.34
        (0.5, True)
    """
    dtype = torch.promote_types(anchor.dtype, torch.float32)
    anchor, other = anchor.to(dtype).flatten(-2), other.to(dtype).flatten(-2)
    of_anchor, of_other = anchor.norm(dim=-1), other.norm(dim=-1)
    by = (of_anchor + of_other) / 2 if symmetric else of_anchor
    change = (other - anchor).norm(dim=-1) / by
    return torch.where((of_anchor > 0) & (of_other > 0), change, torch.inf)


def _places(masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Area (N,), upper left corner of the box (N, 2) int64, and the centroid seen from there."""
    of_axes, corners, firsts = [], [], []
    area = masks.sum((1, 2))
    for lines in (masks.sum(1), masks.sum(2)):
        index = torch.arange(lines.shape[1], device=masks.device)
        first = (lines > 0).to(torch.int8).argmax(1)
        corners.append(first)
        firsts.append(((index - first[:, None]) * lines).sum(1))
        of_axes.append(firsts[-1].double() / area.clamp(min=1) + 0.5)
    return area, torch.stack(corners, dim=1), torch.stack(of_axes, dim=1)


def _exact_sum(values: Tensor, owners: Tensor, num_masks: int) -> Tensor:
    total = torch.zeros(num_masks, dtype=torch.int64, device=values.device)
    total.scatter_add_(0, owners, (values * _UNIT).round().long())
    return total.clamp(min=1).double() / _UNIT


def _choose(name: str, value: OptionT, kind: object) -> OptionT:
    if value not in get_args(kind):
        raise ValueError(
            f"ShapePositionDescriptor: {name} must be one of {get_args(kind)}, got {value!r}"
        )
    return value
