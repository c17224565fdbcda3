"""How queries take in the taxonomy of a clip (TMT-VIS)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from segblocks.nn.attention import MultiheadAttention, attend_everywhere
from segblocks.nn.decoder import DecoderContext, Memory
from segblocks.nn.mlp import mlp
from segblocks.nn.queries import Queries
from segblocks.ops import masked_cross_attention

Aggregation = Literal["cross_attention", "add", "concatenate"]
Norm = Literal["post", "pre"]


class TaxonomyInjection(nn.Module):
    """Inject the classes of a clip into queries, before a layer (TMT-VIS section 3.3).

    ``X' = FFN(CrossAttn(X, E_T))``, each with a residual and a norm as everywhere in the decoder.
    The paper compares three ways (table 7):

    - "cross_attention": queries attend to the classes.
    - "add": query q is added to class q modulo N; feed-forward follows.
    - "concatenate": the classes become further queries, in a group with the memory's name, at the
      first injection of a decoder; later ones let the queries pass. They have no parameters. The
      heads should leave the group out, or its queries are taken for objects. Classes that the
      memory masks are queries of zeros.

    A residual around blocks whose norm comes first, ``norm="pre"``, is the identity as long as the
    last projections of both blocks are zero; so a trained decoder can be started from. The paper
    does not name the place of the norm; "post" is that of the decoder around it.

    Args:
        embed_dim: C.
        num_heads: M.
        hidden_dim: of the feed-forward block.
        aggregation: one of the three ways.
        norm: "post" or "pre"; the latter for "cross_attention" only.
        memory: name of the memory that holds the classes.

    Raises:
        ValueError: another aggregation or norm.

    Example:
        >>> queries = Queries(torch.zeros(1, 5, 8), torch.zeros(1, 5, 8), {"instance": slice(0, 5)})
        >>> context = DecoderContext({}, {"taxonomy": Memory(torch.randn(1, 3, 8))})
        >>> TaxonomyInjection(8, 2, 16)(queries, context).content.shape
        torch.Size([1, 5, 8])
        >>> TaxonomyInjection(8, aggregation="concatenate")(queries, context).groups
        {'instance': slice(0, 5, None), 'taxonomy': slice(5, 8, None)}
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int = 8,
        hidden_dim: int = 2048,
        *,
        aggregation: Aggregation = "cross_attention",
        norm: Norm = "post",
        memory: str = "taxonomy",
    ) -> None:
        super().__init__()
        if aggregation not in get_args(Aggregation):
            raise ValueError(
                f"TaxonomyInjection: aggregation must be one of {get_args(Aggregation)}, "
                f"got {aggregation!r}"
            )
        if norm not in get_args(Norm) or (norm == "pre" and aggregation != "cross_attention"):
            raise ValueError(
                "TaxonomyInjection: norm must be 'post', or 'pre' with cross_attention, "
                f"got {norm!r} with {aggregation}"
            )
        self.aggregation = aggregation
        self.norm_first = norm == "pre"
        self.memory = memory
        if aggregation == "concatenate":
            return
        if aggregation == "cross_attention":
            self.attention = MultiheadAttention(embed_dim, num_heads)
        self.norm = nn.LayerNorm(embed_dim)
        self.feed_forward = mlp(embed_dim, hidden_dim, embed_dim)
        self.feed_forward_norm = nn.LayerNorm(embed_dim)
        for weight in (p for p in self.feed_forward.parameters() if p.dim() > 1):
            nn.init.xavier_uniform_(weight)

    def forward(self, queries: Queries, context: DecoderContext) -> Queries:
        """Refine the queries by the classes, or append those.

        Raises:
            ValueError: the context has no such memory.
        """
        if self.memory not in context.memory:
            raise ValueError(
                f"TaxonomyInjection: memory must be one of {sorted(context.memory)}, "
                f"got {self.memory!r}"
            )
        memory = context.memory[self.memory]
        if self.aggregation == "concatenate":
            return self._appended(queries, memory)
        content = self._residual(self.norm, queries.content, self._aggregate(queries, memory))
        content = self._residual(self.feed_forward_norm, content, self.feed_forward)
        return queries.with_content(content)

    def start_as_identity(self) -> None:
        """Zero the last projections, so that with ``norm="pre"`` the queries pass unchanged.

        Raises:
            ValueError: another norm.
        """
        if not self.norm_first:
            raise ValueError("TaxonomyInjection: only with norm='pre' can it be the identity")
        last = self.feed_forward[-1]
        assert isinstance(last, nn.Linear)
        for layer in (self.attention.output, last):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def _residual(self, norm: nn.Module, x: Tensor, block: Callable[[Tensor], Tensor]) -> Tensor:
        return x + block(norm(x)) if self.norm_first else norm(x + block(x))

    def _aggregate(self, queries: Queries, memory: Memory) -> Callable[[Tensor], Tensor]:
        """The block that reads the classes, a function of the queries' content."""
        per_frame = queries.per_frame
        if self.aggregation == "add":
            turn = torch.arange(queries.content.shape[1], device=queries.content.device)
            added = memory.tokens[:, turn % memory.tokens.shape[1]]
            return lambda content: added[:, :, None] if per_frame else added
        keys = memory.tokens if memory.positions is None else memory.tokens + memory.positions

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if memory.mask is None:
                return attend_everywhere(q, k, v)
            repeats = q.shape[1] // memory.mask.shape[1]
            return masked_cross_attention(q, k, v, memory.mask.repeat_interleave(repeats, dim=1))

        def read(content: Tensor) -> Tensor:
            placed = content + queries.position
            rows = placed.flatten(1, 2) if per_frame else placed
            return self.attention(rows, keys, memory.tokens, attend).view_as(content)

        return read

    def _appended(self, queries: Queries, memory: Memory) -> Queries:
        if self.memory in queries.groups:
            return queries
        tokens = memory.tokens.to(queries.content.dtype)
        if queries.per_frame:
            tokens = tokens[:, :, None].expand(-1, -1, queries.content.shape[2], -1)
        start = queries.content.shape[1]
        position = queries.position.expand_as(queries.content)
        return Queries(
            torch.cat((queries.content, tokens), dim=1),
            torch.cat((position, torch.zeros_like(tokens)), dim=1),
            {**queries.groups, self.memory: slice(start, start + tokens.shape[1])},
        )
