"""The queries that a decoder refines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Queries:
    """Queries with their content, their position and the names of their groups.

    A group is a contiguous slice of the query axis (``instance``, ``semantic``, ``object`` ...):
    heads, type embeddings and separated attention go by group.

    Args:
        content: what is refined, (B, Q, C), or (B, Q, T, C) for one query a frame.
        position: added to the content wherever affinities are computed, broadcastable to
            ``content``: (B or 1, Q, C) or (B or 1, Q, T or 1, C). A learned type embedding is one.
        groups: name -> slice of the query axis.

    Example:
        >>> content = torch.zeros(2, 5, 8)
        >>> queries = Queries(content, torch.zeros(1, 5, 8), {"instance": slice(0, 5)})
        >>> queries.per_frame, queries.group("instance").shape
        (False, torch.Size([2, 5, 8]))
    """

    content: Tensor
    position: Tensor
    groups: Mapping[str, slice]

    @property
    def per_frame(self) -> bool:
        """Whether there is one query a frame, (B, Q, T, C), rather than one a clip, (B, Q, C)."""
        return self.content.dim() == 4

    def group(self, name: str) -> Tensor:
        """The content of one group, (B, q, C) or (B, q, T, C)."""
        return self.content[:, self.groups[name]]

    def with_content(self, content: Tensor) -> Queries:
        """The same queries with other content."""
        return Queries(content, self.position, self.groups)

    def with_position(self, position: Tensor) -> Queries:
        """The same queries at another position."""
        return Queries(self.content, position, self.groups)


def concatenate_queries(parts: Sequence[tuple[str, Tensor, Tensor]]) -> Queries:
    """Join groups of queries in order.

    Args:
        parts: (group name, content (B, q, C) or (B, q, T, C), position broadcastable to it) each;
            empty groups keep their name and an empty slice.

    Returns:
        The queries, with one slice a group.

    Raises:
        ValueError: no part, or a group's name comes twice.

    Example:
        >>> a, b = torch.zeros(1, 2, 4), torch.ones(1, 3, 4)
        >>> concatenate_queries([("background", a, a), ("object", b, b)]).groups["object"]
        slice(2, 5, None)
    """
    names = [name for name, _, _ in parts]
    if not parts or len(set(names)) != len(names):
        raise ValueError(
            f"concatenate_queries: parts must be groups of distinct names, got {names}"
        )
    groups, start = {}, 0
    for name, content, _ in parts:
        groups[name] = slice(start, start + content.shape[1])
        start += content.shape[1]
    content = torch.cat([content for _, content, _ in parts], dim=1)
    position = torch.cat([p.expand_as(c) for _, c, p in parts], dim=1)
    return Queries(content, position, groups)
