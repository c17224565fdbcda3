"""Following queries from clip to clip by what they are and what their masks look like (GvSeg)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks.matching.hungarian import linear_assignment

# More than all differences of cosines together, so that no assignment pays it for a better fit.
_FORBIDDEN = 1e4


@dataclass
class QuerySlots:
    """What is remembered of the queries of a video, one slot each.

    Args:
        embeddings: (S, C), as the matcher last saw or fused them.
        shapes: (S, C), the descriptor last seen, zero where there is none or it is too old.
        shape_ages: (S,) int64, updates since the mask was last there.
        kinds: (S,) int64; only queries of the same kind continue a slot.
        history: (L, S, C), earlier embeddings for the fusion, the latest last.
    """

    embeddings: Tensor
    shapes: Tensor
    shape_ages: Tensor
    kinds: Tensor
    history: Tensor


class ShapePositionMatcher:
    """Match queries with those of the clip before, by appearance, shape and position (GvSeg eq. 6).

    The affinity of two queries is the cosine of ``e + spa_scale * H``, and the Hungarian assignment
    with the greatest sum permutes the queries into the order of the first clip. With
    ``spa_scale=0`` this is tracking by query matching as in MinVIS.

    ``|H|`` is about a tenth of ``|e|`` for queries that come from a norm, so that the literal sum
    decides little but between near twins. ``normalize`` brings both to length 1 first; the
    recommended ``spa_scale`` is then 0.5.

    Args:
        spa_scale: weight of the descriptors (paper: 1).
        normalize: sum ``e / |e|`` and ``spa_scale * H / |H|`` instead.
        memory: how many earlier embeddings decide how much of a new one a slot takes over: all of
            it with 0 (paper); else the mean of their cosines with it, at least 0, so that one that
            does not look like the slot leaves it as it was (the fusion of CTVIS, for occlusions).
        max_shape_age: how many updates long the descriptor of a mask that has gone is kept.

    Raises:
        ValueError: a negative number.

    Example:
        >>> matcher = ShapePositionMatcher()
        >>> e = torch.eye(3)
        >>> slots = matcher.start(e)
        >>> matcher.update(slots, e[[2, 0, 1]]).tolist()
        [1, 2, 0]
    """

    def __init__(
        self,
        *,
        spa_scale: float = 1.0,
        normalize: bool = False,
        memory: int = 0,
        max_shape_age: int = 10,
    ) -> None:
        for name, value in (
            ("spa_scale", spa_scale),
            ("memory", memory),
            ("max_shape_age", max_shape_age),
        ):
            if value < 0:
                raise ValueError(f"ShapePositionMatcher: {name} must be at least 0, got {value}")
        self.spa_scale = spa_scale
        self.normalize = normalize
        self.memory = memory
        self.max_shape_age = max_shape_age

    def start(
        self, embeddings: Tensor, shapes: Tensor | None = None, kinds: Sequence[int] | None = None
    ) -> QuerySlots:
        """Give each query of the first clip, or each hinted object, a slot.

        Args:
            embeddings: (S, C).
            shapes: (S, C), descriptors of their masks, zero where there is none: of stuff, and of
                empty masks. None for no descriptors at all.
            kinds: S numbers, such as 0 for things and 1 for stuff; None for one kind.

        Raises:
            ValueError: shapes or kinds that do not fit.
        """
        embeddings, shapes, own = _checked(embeddings, shapes, kinds)
        ages = torch.zeros(len(embeddings), dtype=torch.long, device=embeddings.device)
        return QuerySlots(embeddings, shapes, ages, own, embeddings[None])

    def add(
        self,
        slots: QuerySlots,
        embeddings: Tensor,
        shapes: Tensor | None = None,
        kinds: Sequence[int] | None = None,
    ) -> None:
        """Append slots, for objects that enter later; as :meth:`start`."""
        new = self.start(embeddings, shapes, kinds)
        length = len(slots.history)
        slots.embeddings = torch.cat((slots.embeddings, new.embeddings))
        slots.shapes = torch.cat((slots.shapes, new.shapes))
        slots.shape_ages = torch.cat((slots.shape_ages, new.shape_ages))
        slots.kinds = torch.cat((slots.kinds, new.kinds))
        slots.history = torch.cat((slots.history, new.history.expand(length, -1, -1)), dim=1)

    def affinity(
        self,
        slots: QuerySlots,
        embeddings: Tensor,
        shapes: Tensor | None = None,
    ) -> Tensor:
        """Compare slots with the queries of a clip, (S, N), cosines in float32 at least."""
        embeddings, shapes, _ = _checked(embeddings, shapes, None)
        then = F.normalize(self._appearance(slots.embeddings, slots.shapes), dim=-1)
        now = F.normalize(self._appearance(embeddings, shapes), dim=-1)
        with torch.autocast(now.device.type, enabled=False):
            return then @ now.T

    @torch.no_grad()
    def update(
        self,
        slots: QuerySlots,
        embeddings: Tensor,
        shapes: Tensor | None = None,
        kinds: Sequence[int] | None = None,
        *,
        last_shapes: Tensor | None = None,
    ) -> Tensor:
        """Find the query that continues each slot, and remember it.

        Args:
            slots: of the video; changed.
            embeddings: (N, C), N at least S.
            shapes: (N, C) or None, as for :meth:`start`.
            kinds: N numbers or None, as for :meth:`start`.
            last_shapes: (N, C), what to remember instead of ``shapes``: of a clip's last frame,
                where ``shapes`` are those of its first one.

        Returns:
            (S,) int64, a different query each.

        Raises:
            ValueError: fewer queries than slots, of all or of one kind; or shapes or kinds that do
                not fit.
        """
        embeddings, shapes, own = _checked(embeddings, shapes, kinds)
        _check_enough(slots.kinds, own)
        cost = 1 - self.affinity(slots, embeddings, shapes)
        cost = cost + _FORBIDDEN * (slots.kinds[:, None] != own)
        (match,) = linear_assignment(cost.T[None])
        order = match.queries
        seen = shapes if last_shapes is None else last_shapes.to(shapes)
        self._remember(slots, embeddings[order], seen[order])
        return order

    def _appearance(self, embeddings: Tensor, shapes: Tensor) -> Tensor:
        if self.spa_scale == 0:
            return embeddings
        if self.normalize:
            embeddings, shapes = F.normalize(embeddings, dim=-1), F.normalize(shapes, dim=-1)
        return embeddings + self.spa_scale * shapes

    def _remember(self, slots: QuerySlots, embeddings: Tensor, shapes: Tensor) -> None:
        if self.memory:
            past = F.normalize(slots.history, dim=-1)
            likeness = (past * F.normalize(embeddings, dim=-1)).sum(-1).mean(0)
            weight = likeness.clamp(min=0)[:, None]
            slots.history = torch.cat((slots.history, embeddings[None]))[-self.memory :]
            embeddings = (1 - weight) * slots.embeddings + weight * embeddings
        slots.embeddings = embeddings
        seen = shapes.any(-1)
        slots.shape_ages = torch.where(seen, 0, slots.shape_ages + 1)
        kept = slots.shapes * (slots.shape_ages <= self.max_shape_age)[:, None]
        slots.shapes = torch.where(seen[:, None], shapes, kept)


def _checked(
    embeddings: Tensor, shapes: Tensor | None, kinds: Sequence[int] | None
) -> tuple[Tensor, Tensor, Tensor]:
    if embeddings.dim() != 2 or (shapes is not None and shapes.shape != embeddings.shape):
        got = None if shapes is None else tuple(shapes.shape)
        raise ValueError(
            "ShapePositionMatcher: embeddings and shapes must both be (N, C), "
            f"got {tuple(embeddings.shape)} and {got}"
        )
    if kinds is not None and len(kinds) != len(embeddings):
        raise ValueError(
            f"ShapePositionMatcher: kinds must be {len(embeddings)}, one a query, got {len(kinds)}"
        )
    embeddings = embeddings.detach()
    embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    shapes = torch.zeros_like(embeddings) if shapes is None else shapes.to(embeddings)
    numbers = [0] * len(embeddings) if kinds is None else list(kinds)
    own = torch.tensor(numbers, dtype=torch.long, device=embeddings.device)
    return embeddings, shapes, own


def _check_enough(slots: Tensor, queries: Tensor) -> None:
    for kind in slots.unique().tolist():
        needed, there = int((slots == kind).sum()), int((queries == kind).sum())
        if there < needed:
            raise ValueError(
                f"ShapePositionMatcher: queries of kind {kind} must be at least the {needed} slots "
                f"of it, got {there}"
            )
