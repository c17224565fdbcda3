"""Telling which queries show objects, which of them show the same, and which are known already."""

from __future__ import annotations

import scipy  # its parts are imported when they are used
import torch
from torch import Tensor


def mask_quality(logits: Tensor) -> Tensor:
    """Say how decided masks are: pixels with a logit above 1, of those with one above -1.

    Args:
        logits: (N, ...), any number of frames.

    Returns:
        (N,), from 0 to 1.

    Example:
        >>> mask_quality(torch.tensor([[5.0, 5.0, -5.0], [5.0, 0.0, 0.0]]))
        tensor([1.0000, 0.3333])
    """
    flat = logits.flatten(1)
    return (flat > 1).sum(dim=1) / (flat > -1).sum(dim=1).clamp(min=1)


def mask_boxes(masks: Tensor) -> Tensor:
    """Find the boxes of masks.

    Args:
        masks: (..., H, W) bool.

    Returns:
        (..., 4) float32, (x0, y0, x1, y1) of the first and the last column and row; 0 where a mask
        is empty.

    Example:
        >>> mask_boxes(torch.tensor([[False, True, True], [False, False, True]]))
        tensor([1., 0., 2., 1.])
    """
    sides = []
    for dim in (-2, -1):
        line = masks.any(dim=dim)
        length = line.shape[-1]
        index = torch.arange(length, device=masks.device)
        low = torch.where(line, index, length).amin(dim=-1)
        sides.append((torch.where(line.any(dim=-1), low, 0), (line * index).amax(dim=-1)))
    (x0, x1), (y0, y1) = sides
    return torch.stack((x0, y0, x1, y1), dim=-1).float()


def box_iou(boxes: Tensor) -> Tensor:
    """Compare boxes of a frame, or of several, with each other.

    Args:
        boxes: (..., N, 4).

    Returns:
        (..., N, N).
    """
    a, b = boxes[..., :, None, :], boxes[..., None, :, :]
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    inner = (high - low).clamp(min=0).prod(dim=-1)
    area = (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1)
    return inner / (area[..., :, None] + area[..., None, :] - inner).clamp(min=1e-3)


def drop_repeated(masks: Tensor, scores: Tensor, max_iou: float) -> Tensor:
    """Keep of masks that show the same thing the one with the highest score.

    A mask goes where its box is like that of any mask of a higher score in any frame, one that goes
    itself included (official rule).

    Args:
        masks: (N, T, h, w) bool.
        scores: (N,).
        max_iou: of boxes, up to which both stay.

    Returns:
        Indices by descending score.

    Example:
        >>> masks = torch.ones(2, 1, 4, 4, dtype=torch.bool)
        >>> drop_repeated(masks, torch.tensor([0.2, 0.9]), 0.85)
        tensor([1])
    """
    order = scores.argsort(descending=True, stable=True)
    if len(order) < 2:
        return order
    iou = box_iou(mask_boxes(masks[order]).transpose(0, 1)).amax(dim=0)
    return order[~(iou >= max_iou).tril(-1).any(dim=1)]


def bi_softmax(found: Tensor, known: Tensor) -> Tensor:
    """Say how alike detections and known objects are, by their embeddings in several frames.

    Args:
        found: (N, T, C).
        known: (O, V, C).

    Returns:
        (N, O): the mean of the softmax over known objects and that over detections, and over all
        pairs of frames.

    Example:
        >>> bi_softmax(10 * torch.eye(2)[:, None], torch.eye(2)[:, None]).round()
        tensor([[1., 0.],
                [0., 1.]])
    """
    if not len(found) or not len(known):
        return found.new_zeros(len(found), len(known))
    dots = torch.einsum("ntc,ovc->tvno", found.float(), known.float())
    return ((dots.softmax(dim=-1) + dots.softmax(dim=-2)) / 2).mean(dim=(0, 1))


def assign(similarity: Tensor, min_similarity: float) -> dict[int, int]:
    """Pair detections with known objects for the greatest sum of similarities.

    Args:
        similarity: (N, O); values below ``min_similarity`` count as 0.
        min_similarity: of pairs.

    Returns:
        Detection -> object.

    Example:
        >>> assign(torch.tensor([[0.9, 0.05], [0.8, 0.02]]), 0.1)
        {0: 0}
    """
    values = similarity.cpu().double().numpy()
    values = values * (values >= min_similarity)
    pairs = zip(*scipy.optimize.linear_sum_assignment(values, maximize=True), strict=True)
    return {int(n): int(o) for n, o in pairs if values[n, o] > min_similarity}


def frame_iou(a: Tensor, b: Tensor) -> Tensor:
    """Compare masks frame by frame, and take the frame in which they are most alike.

    Args:
        a: (N, T, h, w) bool.
        b: (O, T, h, w) bool.

    Returns:
        (N, O).

    Example:
        >>> a = torch.ones(1, 2, 2, 2, dtype=torch.bool)
        >>> frame_iou(a, torch.tensor([[[[True, True], [False, False]]] * 2]))
        tensor([[0.5000]])
    """
    x, y = (m.flatten(2).transpose(0, 1).float() for m in (a, b))
    inner = x @ y.mT
    union = x.sum(-1)[..., :, None] + y.sum(-1)[..., None, :] - inner
    return (inner / union.clamp(min=1)).amax(dim=0)


def share_pixels(logits: Tensor, weights: Tensor, min_share: float) -> tuple[Tensor, Tensor]:
    """Give each pixel to one object, that of the greatest weighted probability.

    Args:
        logits: (O, T, h, w).
        weights: (O,).
        min_share: of its pixels that an object has to keep, else it is taken for another one.

    Returns:
        The logits, 0 where another object won; and (O,), whether the object keeps enough.

    Example:
        >>> logits = torch.tensor([[[[2.0, 2.0]]], [[[-3.0, 3.0]]]])
        >>> shared, kept = share_pixels(logits, torch.ones(2), 0.6)
        >>> shared[0, 0, 0], kept
        (tensor([2., 0.]), tensor([False,  True]))
    """
    if not len(logits):
        return logits, torch.zeros(0, dtype=torch.bool, device=logits.device)
    winner = (logits.sigmoid() * weights[:, None, None, None]).argmax(dim=0)
    wins = winner == torch.arange(len(logits), device=logits.device)[:, None, None, None]
    shown = logits > 0
    own = (shown & wins).flatten(1).sum(dim=1)
    kept = own > min_share * shown.flatten(1).sum(dim=1)
    return torch.where(shown & ~wins, 0.0, logits), kept
