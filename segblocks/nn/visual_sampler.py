"""Masks, boxes, points and scribbles turned into tokens: features at pixels of what is shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks.nn.mask_pixels import MaskPixels, even_numbers
from segblocks.nn.position import EPSILON, sine_code

Permutation = Callable[[int], Tensor]
"""From n to an order of 0 .. n - 1."""

# detectron2 and its descendants count time in these, see ``sine_position_3d``.
TURN_OF_FRAMES = 128


class VisualTokens(NamedTuple):
    """Tokens of visual prompts: features (O, R, C) and their positions, of the same shape.

    Those of an object that is not shown are 0, features and positions.
    """

    features: Tensor
    positions: Tensor


class SeededPermutation:
    """Shuffle n items in a way that depends on n and the seed alone.

    So the pixels that are drawn for an object do not depend on the other objects, and a video
    comes out the same each time.

    Args:
        seed: any whole number.

    Example:
        >>> shuffle = SeededPermutation(0)
        >>> shuffle(5).sort().values, bool((shuffle(9) == SeededPermutation(0)(9)).all())
        (tensor([0, 1, 2, 3, 4]), True)
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __call__(self, n: int) -> Tensor:
        """Return an order of n items."""
        return torch.from_numpy(np.random.default_rng((self.seed, n)).permutation(n))


class VisualSampler:
    """Sample the features of a frame at what a user, or the last clip, shows in it.

    UniVS section 3.2: R pixels of an object at random are its tokens. Without parameters, and
    without gradients. Every method takes the features (h, w, C) of one frame at ``stride``, with
    the level's embedding, and the positions of its pixels in the same shape; a scribble is a mask.

    Args:
        num_tokens: R of an object (official: 32 in training, up to 256 at inference).
        stride: of the features.
        permutation: what draws the pixels; by default :class:`SeededPermutation`, so that nothing
            is left to chance. Exported programs spread them evenly instead.
        official_compat: at ``stride``, see only every ``stride``-th pixel of a mask, as the
            official code does: an object too small for that gets zeros, and where no object of the
            frame is larger, the whole frame. And boxes lie a pixel of ``stride`` too far to the
            right and below. The default sees all cells that a small object touches, and boxes where
            they are.

    Raises:
        ValueError: ``num_tokens`` is not positive.

    Example:
        >>> sampler = VisualSampler(4)
        >>> features = torch.arange(12.0).reshape(3, 4, 1)
        >>> mask = torch.zeros(1, 24, 32, dtype=torch.bool)
        >>> mask[0, 8:16, 8:24] = True
        >>> sampler.masks(features, features, mask).features[0, :, 0]
        tensor([5., 6., 5., 6.])
    """

    def __init__(
        self,
        num_tokens: int = 32,
        *,
        stride: int = 8,
        permutation: Permutation | None = None,
        official_compat: bool = False,
    ) -> None:
        if num_tokens < 1:
            raise ValueError(f"VisualSampler: num_tokens must be at least 1, got {num_tokens}")
        self.num_tokens = num_tokens
        self.stride = stride
        self.permutation = permutation or SeededPermutation()
        self.official_compat = official_compat

    @torch.no_grad()
    def masks(
        self, features: Tensor, positions: Tensor, masks: Tensor, *, time: float = 0.0
    ) -> VisualTokens:
        """Sample pixels of masks, all of them in turn where there are fewer than R.

        Args:
            features: (h, w, C).
            positions: (h, w, C).
            masks: (O, h * stride, w * stride) bool; an empty one gives zeros.
            time: of the frame, see :func:`frame_time`; for objects that get only a point.

        Raises:
            ValueError: masks of another size.
        """
        height, width, _ = features.shape
        wanted = (height * self.stride, width * self.stride)
        if masks.dtype != torch.bool or masks.dim() != 3 or masks.shape[1:] != wanted:
            raise ValueError(
                f"VisualSampler: masks must be boolean (O, {wanted[0]}, {wanted[1]}), "
                f"got {tuple(masks.shape)} {masks.dtype}"
            )
        masks = masks.to(features.device)
        shown = masks.flatten(1).any(dim=1)
        cells = self._cells(masks) & shown[:, None, None]
        tokens = self._sample(features, positions, cells)
        if self.official_compat:
            missed = shown & ~cells.flatten(1).any(dim=1)
            self._place(tokens.positions, masks, missed.nonzero()[:, 0].tolist(), time)
        return tokens

    @torch.no_grad()
    def boxes(
        self, features: Tensor, positions: Tensor, boxes: Tensor, *, time: float = 0.0
    ) -> VisualTokens:
        """Sample pixels of boxes; one that covers no pixel gets the feature at its centre.

        A box without width or height gives zeros.

        Args:
            features: (h, w, C).
            positions: (h, w, C).
            boxes: (O, 4) as (x0, y0, x1, y1), 0 to 1.
            time: of the frame, see :func:`frame_time`.
        """
        boxes = boxes.to(features.device)
        shown = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        cells = box_cells(boxes, features.shape[:2], official_compat=self.official_compat)
        cells = cells & shown[:, None, None]
        inside = self._sample(features, positions, cells)
        centres = self.points(features, (boxes[:, :2] + boxes[:, 2:]) / 2, time=time)
        missed = (shown & ~cells.flatten(1).any(dim=1))[:, None, None]
        return VisualTokens(*(torch.where(missed, *x) for x in zip(centres, inside, strict=True)))

    @torch.no_grad()
    def points(self, features: Tensor, points: Tensor, *, time: float = 0.0) -> VisualTokens:
        """Take the feature at each point, R times.

        Args:
            features: (h, w, C).
            points: (O, 2) as (x, y), 0 to 1 over the frame; one outside gives zeros.
            time: of the frame, see :func:`frame_time`.
        """
        inside = ((points >= 0) & (points <= 1)).all(dim=-1)
        # Coordinates in half precision would be pixels off.
        full = torch.promote_types(features.dtype, torch.float32)
        grid = (2 * points - 1)[None, None].to(full)
        pixels = features.permute(2, 0, 1)[None].to(full)
        found = F.grid_sample(pixels, grid, align_corners=False)[0, :, 0].T
        values = found.to(features.dtype) * inside[:, None]
        places = point_position(points, time, features.shape[-1]).to(features.dtype)
        places = places * inside[:, None]
        return VisualTokens(*(x[:, None].expand(-1, self.num_tokens, -1) for x in (values, places)))

    def _cells(self, masks: Tensor) -> Tensor:
        """The pixels (O, h, w) at ``stride`` that belong to each mask."""
        step = self.stride
        nearest = masks[:, ::step, ::step]
        if self.official_compat:
            return nearest if nearest.any() else torch.ones_like(nearest)
        missed = ~nearest.flatten(1).any(dim=1)
        # To look at all pixels takes long, and a program cannot find out whether it has to.
        if not torch.compiler.is_exporting() and not missed.any():
            return nearest
        touched = masks.unflatten(1, (-1, step)).any(dim=2).unflatten(2, (-1, step)).any(dim=3)
        return nearest | touched & missed[:, None, None]

    def _sample(self, features: Tensor, positions: Tensor, cells: Tensor) -> VisualTokens:
        """Tokens of R of the pixels (O, h, w) of each object; 0 where it has none."""
        pixels = MaskPixels(cells)
        y, x = pixels.at(self._numbers(pixels.counts)).unbind(-1)
        nothing = (pixels.counts == 0)[:, None, None]
        return VisualTokens(*(of[y, x].masked_fill(nothing, 0) for of in (features, positions)))

    def _numbers(self, counts: Tensor) -> Tensor:
        """Which pixels (O, R) of each object are taken, by their number."""
        if torch.compiler.is_exporting():  # a permutation would have to know the number of pixels
            turns = torch.arange(self.num_tokens, device=counts.device)
            turns = turns % counts.clamp(min=1)[:, None]
            few = counts[:, None] < self.num_tokens
            return torch.where(few, turns, even_numbers(counts, self.num_tokens))
        orders = [self._order(count).to(counts.device) for count in counts.tolist()]
        return torch.stack(orders) if orders else counts.new_zeros(0, self.num_tokens)

    def _order(self, count: int) -> Tensor:
        if count < self.num_tokens:
            return torch.arange(self.num_tokens) % max(count, 1)
        return self.permutation(count)[: self.num_tokens]

    def _place(self, positions: Tensor, masks: Tensor, objects: Sequence[int], time: float) -> None:
        """Write the positions of objects that have no pixel at the stride: a point of the mask."""
        for n in objects:
            point = mask_point(masks[n], self.permutation)[None]
            positions[n] = point_position(point, time, positions.shape[-1])


def mask_point(mask: Tensor, permutation: Permutation) -> Tensor:
    """Draw a pixel from the middle of a mask (official rule).

    Args:
        mask: (H, W) bool.
        permutation: draws among the pixels that the middle half of the mask's box holds, or among
            all of the mask where it holds none; among all of the frame where the mask is empty.

    Returns:
        (2,) float32 as (x, y), 0 to 1.

    Example:
        >>> mask = torch.zeros(4, 4, dtype=torch.bool)
        >>> mask[1, 2] = True
        >>> mask_point(mask, SeededPermutation())
        tensor([0.6250, 0.3750])
    """
    height, width = mask.shape
    pixels = mask.nonzero()
    if not len(pixels):
        pixels = torch.ones_like(mask).nonzero()
        candidates = pixels
    else:
        sides = torch.tensor((height, width), device=mask.device)
        first, last = (x / sides for x in (pixels.amin(0), pixels.amax(0)))
        offset = ((pixels + 0.5) / sides - (first + last) / 2).abs()
        candidates = pixels[(offset < 0.25 * (last - first)).all(dim=1)]
        candidates = candidates if len(candidates) else pixels
    row, column = candidates[permutation(len(candidates))[0]].tolist()
    place = [(column + 0.5) / width, (row + 0.5) / height]
    return torch.tensor(place, dtype=torch.float32, device=mask.device)


def box_cells(boxes: Tensor, shape: Sequence[int], *, official_compat: bool = False) -> Tensor:
    """Mark the pixels of a grid that boxes touch.

    Args:
        boxes: (..., 4) as (x0, y0, x1, y1), 0 to 1.
        shape: (h, w).
        official_compat: as the official code, leave out the pixels under the left and the upper
            edge, and take in those behind the others.

    Returns:
        (..., h, w) bool.

    Example:
        >>> box_cells(torch.tensor([0.0, 0.0, 0.5, 1.0]), (1, 4))
        tensor([[ True,  True, False, False]])
    """
    shift = 1 if official_compat else 0
    sides = []
    for axis, size in ((1, shape[0]), (0, shape[1])):
        cells = torch.arange(size, device=boxes.device)
        low = (boxes[..., axis, None] * size).floor() + shift
        high = (boxes[..., axis + 2, None] * size).ceil() + shift
        sides.append((cells >= low) & (cells < high))
    return sides[0][..., :, None] & sides[1][..., None, :]


def point_position(points: Tensor, time: float, embed_dim: int) -> Tensor:
    """Encode points as :func:`~segblocks.nn.sine_position_3d` encodes pixels.

    Args:
        points: (..., 2) as (x, y), 0 to 1 over the frame.
        time: of the frame, see :func:`frame_time`.
        embed_dim: C, a multiple of 4.

    Returns:
        (..., C), at least float32.

    Example:
        >>> point_position(torch.tensor([[0.5, 0.5]]), 0.0, 8).shape
        torch.Size([1, 8])
    """
    turns = points.to(torch.promote_types(points.dtype, torch.float32)) * (2 * math.pi)
    x, y = (sine_code(axis, embed_dim // 2) for axis in turns.unbind(dim=-1))
    when = torch.tensor(time, dtype=turns.dtype, device=turns.device)
    return torch.cat((y, x), dim=-1) + sine_code(when, embed_dim)


def frame_time(t: int, num_frames: int, frame_indices: Sequence[int] | None = None) -> float:
    """Say where on the circle of :func:`~segblocks.nn.sine_position_3d` a frame lies.

    Args:
        t: the frame in its clip.
        num_frames: T of the clip.
        frame_indices: absolute indices of the clip's frames, or None for relative time.

    Returns:
        An angle.

    Example:
        >>> round(frame_time(0, 2, [64, 65]), 4)
        3.1416
    """
    if frame_indices is not None:
        return frame_indices[t] / TURN_OF_FRAMES * 2 * math.pi
    return (t + 1) / (num_frames + EPSILON) * 2 * math.pi
