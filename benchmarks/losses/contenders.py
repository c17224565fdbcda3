"""Matching and losses of all predictions of a clip: ours, and the way of the official codes.

The dense one is written after the description of Mask2Former: mask logits of all queries at
stride 4 for each prediction, from which matcher and losses sample.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from segblocks.losses import class_cross_entropy, class_targets, point_mask_losses
from segblocks.matching import MatchingCost, class_cost, linear_assignment
from segblocks.matching.points import NUM_POINTS


class Clip(NamedTuple):
    """What a decoder leaves of a clip, and its targets."""

    embeddings: Tensor  # (L, Q, C)
    class_logits: Tensor  # (L, Q, K + 1)
    features: Tensor  # (T, C, h, w)
    masks: Tensor  # (O, T, H, W) bool
    labels: Tensor  # (O,)


def make_clip(
    device: str = "cpu",
    *,
    layers: int = 10,
    queries: int = 100,
    objects: int = 10,
    frames: int = 3,
    size: tuple[int, int] = (512, 896),
    channels: int = 256,
    dtype: torch.dtype = torch.float32,
) -> Clip:
    """Make random predictions, and discs that move."""
    h, w = size
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    masks = torch.zeros(objects, frames, h, w, dtype=torch.bool)
    for o in range(objects):
        for t in range(frames):
            dy, dx = y - h * (o + 1) / (objects + 1), x - w * (o + 1 + 0.2 * t) / (objects + 1)
            masks[o, t] = dy**2 + dx**2 < (h / 8) ** 2

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype).requires_grad_()

    return Clip(
        random(layers, queries, channels),
        random(layers, queries, 41),
        random(frames, channels, h // 4, w // 4),
        masks.to(device),
        (torch.arange(objects) % 40).to(device),
    )


def sampled(clip: Clip) -> Tensor:
    """Ours: the predictions stacked, nothing of Q x T x h x w."""
    layers, queries = clip.embeddings.shape[:2]
    cost = MatchingCost()(
        clip.embeddings.flatten(0, 1),
        clip.features,
        clip.masks,
        clip.class_logits.flatten(0, 1),
        clip.labels,
    )
    matches = linear_assignment(cost.unflatten(0, (layers, queries)))
    matched = [clip.embeddings[i, match.queries] for i, match in enumerate(matches)]
    index = torch.cat([match.targets for match in matches])
    losses = point_mask_losses(
        torch.cat(matched), clip.features, clip.masks, index, normalizer=len(clip.masks)
    )
    total = 5 * losses.cross_entropy.sum() + 5 * losses.dice.sum()
    for logits, match in zip(clip.class_logits, matches, strict=True):
        no_object = logits.shape[-1] - 1
        targets = class_targets(queries, no_object, match.queries, clip.labels[match.targets])
        total = total + 2 * class_cross_entropy(logits, targets).mean
    return total


def dense(clip: Clip) -> Tensor:
    """The dense path: mask logits of all queries for each prediction, made without a copy."""
    flat = clip.features.flatten(2)
    times = len(flat)
    maps = [torch.bmm(e.expand(times, -1, -1), flat).transpose(0, 1) for e in clip.embeddings]
    return _dense_losses([m.unflatten(2, clip.features.shape[2:]) for m in maps], clip)


def dense_einsum(clip: Clip) -> Tensor:
    """The same by the einsum of the official codes, which copies the features each time."""
    return _dense_losses(
        [torch.einsum("qc,tchw->qthw", e, clip.features) for e in clip.embeddings], clip
    )


def _dense_losses(maps: list[Tensor], clip: Clip) -> Tensor:
    total = clip.features.new_zeros((), dtype=torch.float32)
    for logits, of_layer in zip(clip.class_logits, maps, strict=True):
        queries, targets = _dense_match(of_layer.detach(), logits.detach(), clip)
        mask_loss = _dense_mask_loss(of_layer[queries], clip.masks[targets])
        wanted = class_targets(len(logits), logits.shape[-1] - 1, queries, clip.labels[targets])
        weights = torch.ones(logits.shape[-1], device=logits.device)
        weights[-1] = 0.1
        total = total + mask_loss / len(clip.masks)
        total = total + 2 * F.cross_entropy(logits.float(), wanted, weights)
    return total


def _grid_sample(maps: Tensor, points: Tensor) -> Tensor:
    """Maps (N, c, H, W) at points (N, P, 2): (N, c, P)."""
    sampled = F.grid_sample(maps, 2 * points[:, :, None].to(maps.dtype) - 1, align_corners=False)
    return sampled[..., 0]


@torch.no_grad()
def _dense_match(maps: Tensor, class_logits: Tensor, clip: Clip) -> tuple[Tensor, Tensor]:
    points = torch.rand(1, NUM_POINTS, 2, device=maps.device)
    truth = _grid_sample(clip.masks.float(), points.expand(len(clip.masks), -1, -1)).flatten(1)
    logits = _grid_sample(maps.float(), points.expand(len(maps), -1, -1)).flatten(1)
    positive = F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits), reduction="none")
    negative = F.binary_cross_entropy_with_logits(
        logits, torch.zeros_like(logits), reduction="none"
    )
    bce = (positive @ truth.T + negative @ (1 - truth).T) / logits.shape[1]
    probability = logits.sigmoid()
    overlap = probability @ truth.T
    dice = 1 - (2 * overlap + 1) / (probability.sum(-1)[:, None] + truth.sum(-1)[None] + 1)
    cost = 5 * bce + 5 * dice + 2 * class_cost(class_logits, clip.labels)
    queries, targets = linear_sum_assignment(cost.cpu().numpy())
    device = maps.device
    return torch.as_tensor(queries, device=device), torch.as_tensor(targets, device=device)


def _dense_mask_loss(maps: Tensor, masks: Tensor) -> Tensor:
    maps, truth = maps.float().flatten(0, 1)[:, None], masks.float().flatten(0, 1)[:, None]
    with torch.no_grad():
        candidates = torch.rand(len(maps), 3 * NUM_POINTS, 2, device=maps.device)
        unsure = -_grid_sample(maps, candidates)[:, 0].abs()
        chosen = unsure.topk(NUM_POINTS * 3 // 4, dim=1).indices
        picked = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
        rest = torch.rand(len(maps), NUM_POINTS - picked.shape[1], 2, device=maps.device)
        points = torch.cat((picked, rest), dim=1)
        wanted = _grid_sample(truth, points)[:, 0]
    logits = _grid_sample(maps, points)[:, 0]
    bce = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(1).sum()
    probability = logits.sigmoid()
    overlap = (probability * wanted).sum(-1)
    dice = 1 - (2 * overlap + 1) / (probability.sum(-1) + wanted.sum(-1) + 1)
    return 5 * bce + 5 * dice.sum()


CONTENDERS = {"sampled": sampled, "dense": dense, "dense_einsum": dense_einsum}
