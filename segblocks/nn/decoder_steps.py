"""The steps that all query decoders share."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from segblocks.nn.attention import MultiheadAttention, attend_everywhere
from segblocks.nn.clip_output import Prediction
from segblocks.nn.decoder import DecoderContext
from segblocks.nn.heads import ClassHead, MaskHead
from segblocks.nn.mlp import FeedForwardBlock
from segblocks.nn.queries import Queries
from segblocks.ops import MaskFromFeatures, masked_cross_attention


class Predict(nn.Module):
    """Predict masks and classes from the queries, and record it in the context.

    Mask2Former section 3.2: the norm is shared by all predictions and does not touch the queries
    themselves.

    Args:
        norm: on the content of the queries, before the heads.
        mask_head: (normed queries, groups) -> mask embeddings of the same shape.
        class_head: (normed queries, groups) -> class logits and the group that they belong to, or
            None; without one no classes are predicted.
        name: of the recorded predictions.

    Example:
        >>> from segblocks.nn import MaskEmbedding, mlp
        >>> context = DecoderContext(levels={})
        >>> queries = Queries(torch.zeros(1, 5, 8), torch.zeros(1, 5, 8), {"any": slice(0, 5)})
        >>> _ = Predict(nn.LayerNorm(8), MaskEmbedding(mlp(8, 8)))(queries, context)
        >>> context.prediction.mask_embeddings.shape
        torch.Size([1, 5, 8])
    """

    def __init__(
        self,
        norm: nn.Module,
        mask_head: MaskHead,
        class_head: ClassHead | None = None,
        *,
        name: str = "prediction",
    ) -> None:
        super().__init__()
        self.norm = norm
        self.mask_head = mask_head
        self.class_head = class_head
        self.name = name

    def forward(self, queries: Queries, context: DecoderContext) -> Queries:
        """Record a prediction; the queries pass unchanged."""
        normed = self.norm(queries.content)
        classes = self.class_head(normed, queries.groups) if self.class_head is not None else None
        context.record(
            Prediction(
                queries=queries.content,
                mask_embeddings=self.mask_head(normed, queries.groups),
                class_logits=None if classes is None else classes.logits,
                class_group=None if classes is None else classes.group,
                name=self.name,
            )
        )
        return queries


class MaskedCrossAttention(nn.Module):
    """Attend to the pixels of one level inside the mask that was last predicted.

    Mask2Former section 3.2.1: a query attends where the sigmoid of its mask logit, resized to the
    level, is at least 0.5; one whose mask is empty attends everywhere. No gradient passes through
    the mask. Residual and norm follow.

    Args:
        embed_dim: C.
        num_heads: M.
        stride: of the level to attend to.
        per_frame: each query (B, Q, T, C) attends to its own frame; otherwise each query
            (B, Q, C) attends to all frames of the clip.
    """

    def __init__(
        self, embed_dim: int, num_heads: int = 8, *, stride: int, per_frame: bool = False
    ) -> None:
        super().__init__()
        self.attention = MultiheadAttention(embed_dim, num_heads)
        self.norm = nn.LayerNorm(embed_dim)
        self.stride = stride
        self.per_frame = per_frame

    def forward(self, queries: Queries, context: DecoderContext) -> Queries:
        """Refine the queries by the features of a level.

        Raises:
            ValueError: the queries are not of the kind that ``per_frame`` names, nothing was
                predicted before, or the context has no level of this stride.
        """
        _check_per_frame(self, queries, self.per_frame)
        if context.prediction is None:
            raise ValueError("MaskedCrossAttention: put a Predict step before it, for its mask")
        if self.stride not in context.levels:
            raise ValueError(
                f"MaskedCrossAttention: stride must be one of the decoder's, "
                f"{tuple(context.levels)}, got {self.stride}"
            )
        level = context.levels[self.stride]
        fold = _frames_to_batch if self.per_frame else _frames_to_tokens
        content = _fold_queries(queries.content)
        placed = _fold_queries(queries.content + queries.position)
        tokens = fold(level.tokens)
        embeddings = _fold_queries(context.prediction.mask_embeddings)
        mask = MaskFromFeatures(embeddings, fold(level.mask_features))

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return masked_cross_attention(q, k, v, mask)

        attended = self.attention(placed, fold(level.tokens + level.positions), tokens, attend)
        refined = self.norm(content + attended)
        return queries.with_content(_unfold_queries(refined, queries.content))


class SelfAttention(nn.Module):
    """Attend to each other; residual and norm follow.

    Args:
        embed_dim: C.
        num_heads: M.
        per_frame: queries (B, Q, T, C) attend within their frame; otherwise all Q, or all
            Q x T, attend to each other.
    """

    def __init__(self, embed_dim: int, num_heads: int = 8, *, per_frame: bool = False) -> None:
        super().__init__()
        self.attention = MultiheadAttention(embed_dim, num_heads)
        self.norm = nn.LayerNorm(embed_dim)
        self.per_frame = per_frame

    def forward(self, queries: Queries, context: DecoderContext) -> Queries:
        """Refine the queries by each other.

        Raises:
            ValueError: ``per_frame`` with queries that have no frames.
        """
        if self.per_frame:
            _check_per_frame(self, queries, True)
        fold = _fold_queries if self.per_frame else _flatten_queries
        unfold = _unfold_queries if self.per_frame else _unflatten_queries
        content = fold(queries.content)
        placed = fold(queries.content + queries.position)
        refined = self.norm(content + self.attention(placed, placed, content))
        return queries.with_content(unfold(refined, queries.content))


class MemoryCrossAttention(nn.Module):
    """Attend to a named memory of the context; residual and norm follow.

    Args:
        embed_dim: C.
        num_heads: M.
        memory: its name.
        group: of the queries that attend; the others pass. None means all.
    """

    def __init__(
        self, embed_dim: int, num_heads: int = 8, *, memory: str, group: str | None = None
    ) -> None:
        super().__init__()
        self.attention = MultiheadAttention(embed_dim, num_heads)
        self.norm = nn.LayerNorm(embed_dim)
        self.memory = memory
        self.group = group

    def forward(self, queries: Queries, context: DecoderContext) -> Queries:
        """Refine the queries of the group by the memory.

        Raises:
            ValueError: the context has no such memory.
        """
        if self.memory not in context.memory:
            raise ValueError(
                f"MemoryCrossAttention: memory must be one of {sorted(context.memory)}, "
                f"got {self.memory!r}"
            )
        memory = context.memory[self.memory]
        here = queries.groups[self.group] if self.group is not None else slice(None)
        content = queries.content[:, here]
        flat = _flatten_queries(content)
        placed = _flatten_queries(content + queries.position[:, here])
        keys = memory.tokens if memory.positions is None else memory.tokens + memory.positions
        attended = self.attention(placed, keys, memory.tokens, _attend_within(memory.mask))
        refined = _unflatten_queries(self.norm(flat + attended), content)
        if self.group is None:
            return queries.with_content(refined)
        before, after = queries.content[:, : here.start], queries.content[:, here.stop :]
        return queries.with_content(torch.cat((before, refined, after), dim=1))


class FeedForward(nn.Module):
    """The feed-forward block as a step.

    Args:
        embed_dim: C.
        hidden_dim: 2048 in all published decoders.
    """

    def __init__(self, embed_dim: int, hidden_dim: int = 2048) -> None:
        super().__init__()
        self.block = FeedForwardBlock(embed_dim, hidden_dim)

    def forward(self, queries: Queries, context: DecoderContext) -> Queries:
        """Refine each query by itself."""
        return queries.with_content(self.block(queries.content))


def _attend_within(mask: Tensor | None) -> Any:
    if mask is None:
        return attend_everywhere

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return masked_cross_attention(q, k, v, mask)

    return attend


def _check_per_frame(step: nn.Module, queries: Queries, per_frame: bool) -> None:
    if queries.per_frame != per_frame:
        wanted = "(B, Q, T, C)" if per_frame else "(B, Q, C)"
        raise ValueError(
            f"{type(step).__name__}: per_frame={per_frame} needs queries {wanted}, "
            f"got {tuple(queries.content.shape)}"
        )


def _fold_queries(x: Tensor) -> Tensor:
    """Frames into the batch; queries without frames stay."""
    return rearrange(x, "b q t c -> (b t) q c") if x.dim() == 4 else x


def _unfold_queries(x: Tensor, like: Tensor) -> Tensor:
    return rearrange(x, "(b t) q c -> b q t c", t=like.shape[2]) if like.dim() == 4 else x


def _flatten_queries(x: Tensor) -> Tensor:
    """Frames beside the queries; queries without frames stay."""
    return rearrange(x, "b q t c -> b (q t) c") if x.dim() == 4 else x


def _unflatten_queries(x: Tensor, like: Tensor) -> Tensor:
    return rearrange(x, "b (q t) c -> b q t c", t=like.shape[2]) if like.dim() == 4 else x


def _frames_to_batch(x: Tensor) -> Tensor:
    return rearrange(x, "b t n c -> (b t) n c")


def _frames_to_tokens(x: Tensor) -> Tensor:
    return rearrange(x, "b t n c -> b (t n) c")
