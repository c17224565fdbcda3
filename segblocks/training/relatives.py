"""Weights of a model of another system, as far as both are built of the same parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from segblocks.nn import (
    FeedForward,
    GroupMaskEmbedding,
    MaskedCrossAttention,
    Predict,
    PredictByText,
    SelfAttention,
    SeparatedSelfAttention,
)
from segblocks.zoo.tarvis.queries import TarViSQueries

State = Mapping[str, Tensor]

# Steps of a kind correspond in their order.
_KINDS: tuple[tuple[type[nn.Module], ...], ...] = (
    (MaskedCrossAttention,),
    (SelfAttention, SeparatedSelfAttention),
    (FeedForward,),
)
_PREDICTS = (Predict, PredictByText)
# Whose mask embedding stands for all queries where a relative has one a group: that of hinted
# objects is seen most, but says little to queries that look for instances alone.
_HINTED, _INSTANCES = "object", "instance"


def take_from_relative(model: Any, relative: Any) -> float:
    """Give a model the weights that it shares with one of another system.

    Backbones must be the same. Of neck and decoder those layers are taken that both have, in the
    same sizes: deformable and temporal layers, masked cross-attention, self-attention and
    feed-forward blocks in their order, and the embedding of masks, of TarViS that of hinted
    objects, or of instances where the model takes no hints. Learned queries of instances are taken
    as far as both have them; TarViS, whose instances share one position, takes the mean of those of
    another system. Classes, and whatever only the one has, stay as they are.

    Args:
        model: changed in place; of the zoo, or with ``backbone``, ``neck`` and ``decoder`` alike.
        relative: the other model.

    Returns:
        The share of the model's numbers that were taken, in (0, 1].

    Raises:
        ValueError: another backbone, or no part of the same size besides it.

    Example:
        >>> from segblocks import create_model
        >>> from segblocks.training.relatives import take_from_relative
        >>> univs = create_model("univs_nano", checkpoint="random")
        >>> round(take_from_relative(univs, create_model("tarvis_nano")), 2)
        0.93
    """
    if model.backbone.name != relative.backbone.name:
        raise ValueError(
            f"take_from_relative: relative must have the backbone {model.backbone.name}, got "
            f"{relative.backbone.name}"
        )
    backbone, *others = (_take(own, theirs) for own, theirs in _pairs(model, relative))
    if not sum(others):
        raise ValueError(
            "take_from_relative: relative must have layers of the same size as those of "
            f"{type(model).__name__}, got a {type(relative).__name__} with the backbone alone alike"
        )
    return (backbone + sum(others)) / sum(value.numel() for value in model.state_dict().values())


def _pairs(model: Any, relative: Any) -> Iterator[tuple[State, State]]:
    """What corresponds to each other, the backbones first."""
    yield model.backbone.state_dict(), relative.backbone.state_dict()
    yield model.neck.state_dict(), relative.neck.state_dict()
    own, theirs = model.decoder, relative.decoder
    yield {"levels": own.level_embedding}, {"levels": theirs.level_embedding}
    for kinds in _KINDS:
        for mine, other in zip(_of(own, kinds), _of(theirs, kinds), strict=False):
            yield mine.state_dict(), other.state_dict()
    group = _HINTED if "evs" in model.tasks else _INSTANCES
    for mine, other in zip(_of(own, _PREDICTS), _of(theirs, _PREDICTS), strict=False):
        yield mine.norm.state_dict(), other.norm.state_dict()
        head, known_head = (_embedding(p.mask_head, group) for p in (mine, other))
        yield head.state_dict(), known_head.state_dict()
    if (learned := _instance_queries(model)) and (known := _instance_queries(relative)):
        count = min(len(queries["content"]) for queries in (learned, known))
        first, same = ({k: v[:count] for k, v in side.items()} for side in (learned, known))
        yield first, {**same, "position": _as_many(same["position"], len(first["position"]))}


def _of(decoder: Any, kinds: tuple[type[nn.Module], ...]) -> list[Any]:
    return [step for step in decoder.blocks if isinstance(step, kinds)]


def _embedding(mask_head: Any, group: str) -> nn.Module:
    """The module that embeds queries as masks, whatever is around it."""
    if isinstance(mask_head, GroupMaskEmbedding):
        return mask_head.embeddings[group]
    return mask_head.embedding


def _instance_queries(model: Any) -> dict[str, Tensor]:
    """Content (Q, C) and position of learned queries of instances; empty where there are none.

    The position is (Q, C), or (1, C) where all queries share one.
    """
    if hasattr(model, "query_content"):
        return {"content": model.query_content, "position": model.query_position}
    if isinstance(queries := getattr(model, "queries", None), TarViSQueries):
        return {"content": queries.instance, "position": queries.type_embedding(_INSTANCES)}
    return {}


def _as_many(positions: Tensor, count: int) -> Tensor:
    """Repeat the position that all share, or average them where one must do for all."""
    return positions.mean(0, keepdim=True) if count == 1 else positions.expand(count, -1)


@torch.no_grad()
def _take(own: State, given: State) -> int:
    """Copy the layers whose every entry has its like, and count their numbers."""
    layers: dict[str, list[str]] = {}
    for name in own:
        layers.setdefault(name.rpartition(".")[0], []).append(name)
    taken = 0
    for names in layers.values():
        if all(n in given and given[n].shape == own[n].shape for n in names):
            for name in names:
                own[name].copy_(given[name])
                taken += own[name].numel()
    return taken
