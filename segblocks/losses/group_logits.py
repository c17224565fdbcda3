"""The best of several queries, at points."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from segblocks.matching.point_logits import embeddings_of_frames, point_logits
from segblocks.matching.sampling import sample_maps


def group_logits(
    embeddings: Tensor,
    features: Tensor,
    groups: Sequence[slice],
    points: Tensor,
    *,
    official_compat: bool = False,
) -> Tensor:
    """Take the greatest logit among the queries of a group, at points.

    Sampling commutes with the inner product and not with a maximum. By default each query is
    sampled and then the maximum taken. The official order gives as much or more, since it may take
    each of the four pixels around a point from another query; ``docs/losses.md`` has the size of
    the difference.

    Args:
        embeddings: (Q, C) or (Q, T, C).
        features: (T, C, h, w).
        groups: M slices of the query axis, none empty.
        points: (P, 2) or (T, P, 2), shared by the groups, or (M, T, P, 2).
        official_compat: take the maximum of whole maps (M, T, h, w), then sample.

    Returns:
        (M, T, P), float32 at least.

    Raises:
        ValueError: an empty group, or shapes that do not fit.

    Example:
        >>> group_logits(torch.tensor([[1.0], [2.0], [3.0]]), torch.ones(1, 1, 2, 2),
        ...              [slice(0, 2), slice(2, 3)], torch.full((1, 2), 0.5)).flatten().tolist()
        [2.0, 3.0]
    """
    embeddings = embeddings_of_frames("group_logits", embeddings, features)
    members = [list(range(*group.indices(len(embeddings)))) for group in groups]
    if [] in members:
        raise ValueError(f"group_logits: groups must not be empty, got {list(groups)}")
    if official_compat:
        maps = torch.stack([_greatest_map(embeddings[group], features) for group in groups])
        return sample_maps(maps, points)
    if points.dim() < 4:
        rows = _rows(embeddings, [query for group in members for query in group])
        return _greatest(point_logits(rows, features, points), [len(group) for group in members])
    # Sets of one size share their points, and are sampled together. A query twice in a set changes
    # neither the maximum nor its gradient.
    size = min(len(group) for group in members)
    counts = [-(-len(group) // size) for group in members]
    padded = [
        group + group[-1:] * (size * count - len(group))
        for group, count in zip(members, counts, strict=True)
    ]
    index = None
    if max(counts) > 1:
        of_sets = [m for m, count in enumerate(counts) for _ in range(count)]
        index = torch.tensor(of_sets, dtype=torch.int64, device=features.device)
    sets = _rows(embeddings, [query for group in padded for query in group])
    logits = point_logits(sets.unflatten(0, (-1, size)), features, points, index=index)
    return _greatest(logits.amax(1), counts)


def _rows(embeddings: Tensor, order: Sequence[int]) -> Tensor:
    """Take queries in some order."""
    if order == list(range(len(embeddings))):
        return embeddings
    return embeddings[torch.tensor(order, device=embeddings.device)]


def _greatest(logits: Tensor, sizes: Sequence[int]) -> Tensor:
    """Take the maximum over runs of rows; those of one size at once, since there are many."""
    if max(sizes) == 1:
        return logits
    runs = [(size, len(list(same))) for size, same in groupby(sizes)]
    parts = logits.split([size * count for size, count in runs])
    return torch.cat(
        [part.unflatten(0, (-1, size)).amax(1) for part, (size, _) in zip(parts, runs, strict=True)]
    )


def _greatest_map(embeddings: Tensor, features: Tensor) -> Tensor:
    with torch.autocast(features.device.type, enabled=False):
        dtype = torch.promote_types(embeddings.dtype, features.dtype)
        maps = torch.einsum("qtc,tchw->qthw", embeddings.to(dtype), features.to(dtype))
    return maps.to(torch.promote_types(dtype, torch.float32)).amax(dim=0)
