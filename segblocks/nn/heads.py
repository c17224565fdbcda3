"""Heads: from refined queries to mask embeddings and class logits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

Groups = Mapping[str, slice]


class ClassLogits(NamedTuple):
    """Class logits (B, Q_c, K[+1]), no-object last, and the group of queries they belong to."""

    logits: Tensor
    group: str | None


class MaskHead(Protocol):
    """(normed queries (B, Q, [T,] C), groups) -> mask embeddings of the same shape."""

    def __call__(self, queries: Tensor, groups: Groups) -> Tensor: ...


class ClassHead(Protocol):
    """(normed queries (B, Q, [T,] C), groups) -> class logits, or None where none apply."""

    def __call__(self, queries: Tensor, groups: Groups) -> ClassLogits | None: ...


class MaskEmbedding(nn.Module):
    """One embedding for the queries of all groups.

    Args:
        embedding: (..., C) -> (..., C), as a rule a three-layer MLP (Mask2Former).

    Example:
        >>> MaskEmbedding(nn.Linear(8, 8))(torch.zeros(1, 5, 8), {}).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, embedding: nn.Module) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, queries: Tensor, groups: Groups) -> Tensor:
        """Embed the queries, whatever their group."""
        return self.embedding(queries)


class GroupMaskEmbedding(nn.Module):
    """An embedding of its own for the queries of each group (TarViS).

    Args:
        embeddings: group name -> module (..., C) -> (..., C).

    Example:
        >>> head = GroupMaskEmbedding({"instance": nn.Linear(8, 8), "object": nn.Linear(8, 8)})
        >>> head(torch.zeros(1, 5, 8), {"instance": slice(0, 3), "object": slice(3, 5)}).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, embeddings: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict(embeddings)

    def forward(self, queries: Tensor, groups: Groups) -> Tensor:
        """Embed each group by its own module.

        Raises:
            ValueError: a group has no module, or the groups do not divide the queries.
        """
        strangers = [name for name in groups if name not in self.embeddings]
        if strangers:
            raise ValueError(
                f"GroupMaskEmbedding: groups must be among {list(self.embeddings)}, got {strangers}"
            )
        ordered = sorted(groups.items(), key=lambda item: item[1].start)
        ends = [0, *(part.stop for _, part in ordered)]
        if ends[:-1] != [part.start for _, part in ordered] or ends[-1] != queries.shape[1]:
            raise ValueError(
                f"GroupMaskEmbedding: groups must divide the {queries.shape[1]} queries without "
                f"gap or overlap, got {dict(groups)}"
            )
        return torch.cat([self.embeddings[name](queries[:, part]) for name, part in ordered], 1)


class LinearClassHead(nn.Module):
    """A linear classifier (Mask2Former).

    Args:
        embed_dim: C.
        num_classes: K; the result has K + 1 columns, no-object last.
        group: of the queries to classify; None means all.

    Example:
        >>> LinearClassHead(8, 40)(torch.zeros(1, 5, 8), {}).logits.shape
        torch.Size([1, 5, 41])
    """

    def __init__(self, embed_dim: int, num_classes: int, *, group: str | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(embed_dim, num_classes + 1)
        self.group = group

    def forward(self, queries: Tensor, groups: Groups) -> ClassLogits | None:
        """Classify the group's queries, or nothing where the group is absent."""
        if self.group is None:
            return ClassLogits(self.linear(queries), None)
        if self.group not in groups:
            return None
        return ClassLogits(self.linear(queries[:, groups[self.group]]), self.group)


class QueryClassHead(nn.Module):
    """Classify queries by their inner product with the queries of the classes.

    TarViS section 3.1: a class is a query too, so a new label space needs new queries and no new
    head. No-object is the best match among the queries of ``no_object_group``.

    Args:
        embed_dim: C.
        query_group: the queries to classify.
        class_group: one query a class.
        no_object_group: the queries that stand for none of the classes.
        projected_groups: all groups that have a projection. The official checkpoints hold more
            than classification needs.

    Example:
        >>> head = QueryClassHead(8)
        >>> groups = {"instance": slice(0, 5), "background": slice(5, 6), "semantic": slice(6, 9)}
        >>> head(torch.zeros(1, 9, 8), groups).logits.shape
        torch.Size([1, 5, 4])
    """

    def __init__(
        self,
        embed_dim: int,
        *,
        query_group: str = "instance",
        class_group: str = "semantic",
        no_object_group: str = "background",
        projected_groups: Iterable[str] = ("instance", "semantic", "background"),
    ) -> None:
        super().__init__()
        self.query_group = query_group
        self.class_group = class_group
        self.no_object_group = no_object_group
        self.projections = nn.ModuleDict(
            {name: nn.Linear(embed_dim, embed_dim) for name in projected_groups}
        )

    def forward(self, queries: Tensor, groups: Groups) -> ClassLogits | None:
        """Classify ``query_group``, or nothing where one of the three groups is absent."""
        roles = (self.query_group, self.class_group, self.no_object_group)
        if any(role not in groups for role in roles):
            return None
        query, classes, no_object = (
            self.projections[role](queries[:, groups[role]]) for role in roles
        )
        class_logits = query @ classes.transpose(-1, -2)
        no_object_logit = (query @ no_object.transpose(-1, -2)).amax(dim=-1, keepdim=True)
        return ClassLogits(torch.cat((class_logits, no_object_logit), dim=-1), self.query_group)
