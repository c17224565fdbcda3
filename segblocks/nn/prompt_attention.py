"""Prompts that refine the queries they stand for, and self-attention that keeps streams apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from segblocks.nn.attention import MultiheadAttention, attend_everywhere
from segblocks.nn.decoder import DecoderContext, Memory
from segblocks.nn.queries import Queries
from segblocks.ops import masked_cross_attention

SEPARATIONS = ("sep", "sep-blocked", "sep-l2p")


class PromptCrossAttention(nn.Module):
    """Let each prompt's queries attend to the tokens of their prompt; residual and norm follow.

    UniVS section 3.3 (ProCA), as in the official code: the query itself is the first of the keys
    and values, and positions take part where the prompt has any. The tokens of a prompt are the
    same for all frames as a rule; keys and values are then projected once a prompt.

    Args:
        embed_dim: C.
        num_heads: M.
        groups: of queries that stand for prompts. Each that is among the queries has a memory of
            its name: tokens (B, Q, L, C), or (B, Q, T, L, C) where frames differ; positions of the
            same shape or None; mask (B, Q, L) or None.
        replace_position: the result becomes the position of these queries too, from here on (the
            first of the decoder does this).

    Example:
        >>> content = torch.randn(1, 3, 2, 8)
        >>> queries = Queries(content, content, {"learnable": slice(0, 1), "prompt": slice(1, 3)})
        >>> context = DecoderContext({}, {"prompt": Memory(torch.randn(1, 2, 5, 8))})
        >>> refined = PromptCrossAttention(8, 2)(queries, context)
        >>> bool((refined.content[:, 0] == content[:, 0]).all()), refined.content.shape
        (True, torch.Size([1, 3, 2, 8]))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int = 8,
        *,
        groups: Sequence[str] = ("prompt",),
        replace_position: bool = False,
    ) -> None:
        super().__init__()
        self.attention = MultiheadAttention(embed_dim, num_heads)
        self.norm = nn.LayerNorm(embed_dim)
        self.groups = tuple(groups)
        self.replace_position = replace_position

    def forward(self, queries: Queries, context: DecoderContext) -> Queries:
        """Refine the queries of prompts; the others pass.

        Raises:
            ValueError: queries without frames, or a group whose memory is missing or misshapen.
        """
        if not queries.per_frame:
            raise ValueError(
                "PromptCrossAttention: queries must be (B, Q, T, C), "
                f"got {tuple(queries.content.shape)}"
            )
        refined = {}
        for name in self.groups:
            part = queries.groups.get(name, slice(0, 0))
            if part.stop > part.start:
                memory = _memory_of(context, name, queries.group(name))
                position = queries.position.expand_as(queries.content)[:, part]
                refined[part.start] = self._refine(queries.group(name), position, memory)
        content = _replace(queries.content, refined)
        if not self.replace_position:
            return queries.with_content(content)
        position = _replace(queries.position.expand_as(content), refined)
        return Queries(content, position, queries.groups)

    def _refine(self, content: Tensor, position: Tensor, memory: Memory) -> Tensor:
        batch, _, frames, _ = content.shape
        tokens, positions = memory.tokens, memory.positions
        placed = content if positions is None else content + position
        placed_tokens = tokens if positions is None else tokens + positions
        per_frame = tokens.dim() == 5
        if per_frame:
            content, placed = content[..., None, :], placed[..., None, :]
        own = content.shape[-2]
        keys = torch.cat((placed, placed_tokens), dim=-2).flatten(0, -3)
        values = torch.cat((content, tokens), dim=-2).flatten(0, -3)
        mask = _open_keys(memory, own, frames if per_frame else 1)

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return masked_cross_attention(q, k, v, mask)

        attended = self.attention(placed.flatten(0, -3), keys, values, attend)
        refined = self.norm(content.flatten(0, -3) + attended)
        refined = refined.unflatten(0, (batch, -1))
        return refined.unflatten(1, (-1, frames)).squeeze(-2) if per_frame else refined


class SeparatedSelfAttention(nn.Module):
    """Attend within the learnable queries, and apart from it within the prompts.

    UniVS section 3.3: prompts leave the learnable queries as they are. Every stream is a call of
    its own, so that no pair of queries is computed that would be masked afterwards. Residual and
    norm follow.

    Args:
        embed_dim: C.
        num_heads: M.
        mode: "sep": prompts attend to all prompts in all frames; "sep-blocked": each prompt only to
            its own queries in all frames; "sep-l2p": prompts to all queries.
        learnable: the group of learnable queries.
        blocked: groups of prompts that are blocked in every mode (official: those of expressions).

    Raises:
        ValueError: another mode.

    Example:
        >>> content = torch.randn(1, 3, 2, 8)
        >>> queries = Queries(content, content, {"learnable": slice(0, 1), "prompt": slice(1, 3)})
        >>> SeparatedSelfAttention(8, 2)(queries, DecoderContext({})).content.shape
        torch.Size([1, 3, 2, 8])
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int = 8,
        *,
        mode: str = "sep",
        learnable: str = "learnable",
        blocked: Sequence[str] = ("grounding",),
    ) -> None:
        super().__init__()
        if mode not in SEPARATIONS:
            raise ValueError(
                f"SeparatedSelfAttention: mode must be one of {SEPARATIONS}, got {mode!r}"
            )
        self.attention = MultiheadAttention(embed_dim, num_heads)
        self.norm = nn.LayerNorm(embed_dim)
        self.mode = mode
        self.learnable = learnable
        self.blocked = tuple(blocked)

    def forward(self, queries: Queries, context: DecoderContext) -> Queries:
        """Refine the queries by each other.

        Raises:
            ValueError: queries without frames, or learnable queries that are not the first ones.
        """
        first = queries.groups.get(self.learnable, slice(0, 0))
        if not queries.per_frame or first.start != 0:
            raise ValueError(
                "SeparatedSelfAttention: queries must be (B, Q, T, C), those of "
                f"{self.learnable!r} first, got {tuple(queries.content.shape)} with groups "
                f"{dict(queries.groups)}"
            )
        content = queries.content
        streams = self._streams(queries, first.stop)

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            parts = [
                _attend_alone(q[:, part], k[:, part], v[:, part])
                if alone
                else _attend_together(q[:, part], k[:, keys], v[:, keys])
                for part, keys, alone in streams
            ]
            return torch.cat(parts, dim=1)

        placed = content + queries.position
        attended = self.attention(placed, placed, content, attend)
        return queries.with_content(self.norm(content + attended))

    def _streams(self, queries: Queries, learnable: int) -> list[tuple[slice, slice, bool]]:
        """Queries, the keys they attend to, and whether each attends to itself alone."""
        num_queries = queries.content.shape[1]
        blocks = [queries.groups[name] for name in self.blocked if name in queries.groups]
        blocks = sorted((b for b in blocks if b.stop > b.start), key=lambda b: b.start)
        open_end = blocks[0].start if blocks else num_queries
        if blocks and (
            blocks[-1].stop != num_queries or any(a.stop != b.start for a, b in pairwise(blocks))
        ):
            raise ValueError(
                f"SeparatedSelfAttention: the groups {self.blocked} must come last, "
                f"got {dict(queries.groups)}"
            )
        prompts = slice(learnable, open_end)
        seen = slice(0, num_queries) if self.mode == "sep-l2p" else prompts
        streams = [
            (slice(0, learnable), slice(0, learnable), False),
            (prompts, seen, self.mode == "sep-blocked"),
            (slice(open_end, num_queries), slice(open_end, num_queries), True),
        ]
        return [stream for stream in streams if stream[0].stop > stream[0].start]


def _attend_together(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """All queries (B, Q, T, M, D) to all keys, whatever their frames."""
    attended = attend_everywhere(q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2))
    return attended.unflatten(1, q.shape[1:3])


def _attend_alone(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Each query (B, Q, T, M, D) to its own frames."""
    attended = attend_everywhere(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1))
    return attended.unflatten(0, q.shape[:2])


def _memory_of(context: DecoderContext, name: str, content: Tensor) -> Memory:
    if name not in context.memory:
        raise ValueError(
            f"PromptCrossAttention: the context must have a memory {name!r}, "
            f"got {sorted(context.memory)}"
        )
    memory = context.memory[name]
    shape = memory.tokens.shape
    batch, queries, frames, channels = content.shape
    wanted = (batch, queries) if memory.tokens.dim() == 4 else (batch, queries, frames)
    if shape[:-2] != wanted or shape[-1] != channels:
        raise ValueError(
            f"PromptCrossAttention: tokens of {name!r} must be ({batch}, {queries}, L, {channels}) "
            f"or ({batch}, {queries}, {frames}, L, {channels}), got {tuple(shape)}"
        )
    return memory


def _open_keys(memory: Memory, own: int, repeats: int) -> Tensor | None:
    """Which keys (R, own, own + L) a row of ``own`` queries sees: itself, and its prompt's tokens.

    None where all do.
    """
    length = memory.tokens.shape[-2]
    rows = memory.tokens.shape[:-2].numel()
    if own == 1 and memory.mask is None:
        return None
    device = memory.tokens.device
    tokens = torch.ones(rows, own, length, dtype=torch.bool, device=device)
    if memory.mask is not None:
        given = memory.mask.flatten(0, 1).repeat_interleave(repeats, dim=0)
        tokens = given[:, None].expand(-1, own, -1)
    itself = torch.eye(own, dtype=torch.bool, device=device).expand(rows, -1, -1)
    return torch.cat((itself, tokens), dim=-1)


def _replace(values: Tensor, parts: dict[int, Tensor]) -> Tensor:
    """Put other values (B, q, ...) at some places of the query axis."""
    kept, end = [], 0
    for start, part in sorted(parts.items()):
        kept += [values[:, end:start], part]
        end = start + part.shape[1]
    return torch.cat([*kept, values[:, end:]], dim=1) if parts else values
