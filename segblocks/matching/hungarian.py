"""One-to-one assignment of queries to targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy  # its parts are imported when they are used
import torch
from numpy.typing import NDArray
from torch import Tensor


class Match(NamedTuple):
    """Pairs of query and target, ascending by target; both (N,) int64, N the smaller of Q and O."""

    queries: Tensor
    targets: Tensor


def linear_assignment(
    costs: Tensor | Sequence[Tensor], *, names: Sequence[str] | None = None
) -> list[Match]:
    """Assign queries to targets, each at most once, at the lowest total cost.

    The costs of a whole batch are copied to the host at once, and the pairs back at once. Costs of
    several predictions of one video can stand in the same batch.

    Args:
        costs: (B, Q, O), or a list of (Q, O) whose sizes may differ.
        names: of the B videos, for the error.

    Returns:
        B matches, on the device of the costs.

    Raises:
        ValueError: a cost is NaN or infinite: the video, the query and the target are named. A
            network that diverges stops here and not hours later.

    Example:
        >>> match, = linear_assignment(torch.tensor([[[1.0, 0.0], [5.0, 9.0], [0.0, 1.0]]]))
        >>> match.queries.tolist(), match.targets.tolist()
        ([2, 0], [0, 1])
    """
    matrices = list(costs)
    names = [str(b) for b in range(len(matrices))] if names is None else list(names)
    if len(names) != len(matrices):
        raise ValueError(
            f"linear_assignment: names must be as many as the {len(matrices)} costs, "
            f"got {len(names)}"
        )
    for name, matrix in zip(names, matrices, strict=True):
        if matrix.dim() != 2:
            raise ValueError(
                f"linear_assignment: the cost of video {name!r} must be (Q, O), "
                f"got {tuple(matrix.shape)}"
            )
    if not matrices:
        return []
    device = matrices[0].device
    host = torch.cat([matrix.detach().flatten().double() for matrix in matrices]).cpu()
    parts = host.split([matrix.numel() for matrix in matrices])
    pairs = [
        _assign(part.numpy().reshape(matrix.shape), name)
        for part, matrix, name in zip(parts, matrices, names, strict=True)
    ]
    joined = torch.from_numpy(np.concatenate(pairs, axis=1)).to(device)
    return [Match(*part) for part in joined.split([pair.shape[1] for pair in pairs], dim=1)]


def _assign(cost: NDArray[np.float64], name: str) -> NDArray[np.int64]:
    if not np.isfinite(cost).all():
        query, target = np.argwhere(~np.isfinite(cost))[0]
        raise ValueError(
            f"linear_assignment: the costs of video {name!r} must be finite, got "
            f"{cost[query, target]} for query {query} and target {target}"
        )
    queries, targets = scipy.optimize.linear_sum_assignment(cost)
    order = np.argsort(targets, kind="stable")
    return np.stack((queries[order], targets[order])).astype(np.int64)
