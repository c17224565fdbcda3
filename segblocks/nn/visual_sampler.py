"""Masks, boxes, points and scribbles turned into tokens: features at pixels of what is shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

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
            is left to chance.
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
        cells = self._cells(masks)
        shown = masks.flatten(1).any(dim=1).tolist()
        tokens = []
        for mask, cell, is_shown in zip(masks, cells, shown, strict=True):
            if not is_shown:
                tokens.append(self._nothing(features))
            elif cell.any():
                tokens.append(self._draw(features, positions, cell))
            else:
                place = mask_point(mask, self.permutation)[None]
                where = point_position(place, time, features.shape[-1])[0]
                tokens.append(self._repeat(torch.zeros_like(features[0, 0]), where))
        return _stack(tokens, self._nothing(features))

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
        tokens = []
        for box in boxes:
            cell = box_cells(box, features.shape[:2], official_compat=self.official_compat)
            if not (box[2:] > box[:2]).all():
                tokens.append(self._nothing(features))
            elif cell.any():
                tokens.append(self._draw(features, positions, cell))
            else:
                centre = ((box[:2] + box[2:]) / 2)[None]
                tokens += zip(*self.points(features, centre, time=time), strict=True)
        return _stack(tokens, self._nothing(features))

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
        if missed.any():
            touched = F.max_pool2d(masks[missed].float(), step) > 0
            nearest = nearest.clone()
            nearest[missed] = touched
        return nearest

    def _draw(self, features: Tensor, positions: Tensor, cell: Tensor) -> VisualTokens:
        pixels = cell.flatten().nonzero()[:, 0]
        if len(pixels) < self.num_tokens:
            index = torch.arange(self.num_tokens, device=pixels.device) % len(pixels)
        else:
            index = self.permutation(len(pixels))[: self.num_tokens].to(pixels.device)
        chosen = pixels[index]
        return VisualTokens(features.flatten(0, 1)[chosen], positions.flatten(0, 1)[chosen])

    def _repeat(self, feature: Tensor, position: Tensor) -> VisualTokens:
        shape = (self.num_tokens, len(feature))
        return VisualTokens(feature.expand(shape), position.to(feature.dtype).expand(shape))

    def _nothing(self, features: Tensor) -> VisualTokens:
        zeros = features.new_zeros(self.num_tokens, features.shape[-1])
        return VisualTokens(zeros, zeros)


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


def box_cells(box: Tensor, shape: Sequence[int], *, official_compat: bool = False) -> Tensor:
    """Mark the pixels of a grid that a box touches.

    Args:
        box: (4,) as (x0, y0, x1, y1), 0 to 1.
        shape: (h, w).
        official_compat: as the official code, leave out the pixels under the left and the upper
            edge, and take in those behind the others.

    Returns:
        (h, w) bool.

    Example:
        >>> box_cells(torch.tensor([0.0, 0.0, 0.5, 1.0]), (1, 4))
        tensor([[ True,  True, False, False]])
    """
    shift = 1 if official_compat else 0
    sides = []
    for axis, size in ((1, shape[0]), (0, shape[1])):
        cells = torch.arange(size, device=box.device)
        low, high = (box[axis] * size).floor() + shift, (box[axis + 2] * size).ceil() + shift
        sides.append((cells >= low) & (cells < high))
    return sides[0][:, None] & sides[1][None]


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


def _stack(tokens: Sequence[VisualTokens], empty: VisualTokens) -> VisualTokens:
    """Stack those of the objects; (0, R, C) where there are none."""
    if not tokens:
        return VisualTokens(*(x[None][:0] for x in empty))
    return VisualTokens(*(torch.stack(x) for x in zip(*tokens, strict=True)))
