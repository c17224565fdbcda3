"""Which classes a clip most likely shows, as tokens that queries can read (TMT-VIS)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from segblocks.nn.attention import MultiheadAttention
from segblocks.nn.decoder import Memory
from segblocks.nn.mlp import FeedForwardBlock, mlp
from segblocks.nn.position import sine_position_3d


class CompiledTaxonomy(NamedTuple):
    """The classes that were selected for each clip.

    Args:
        tokens: (B, N, C), by descending score; zeros where there is none.
        mask: (B, N), False where there is no class, or None where all N are classes.
        indices: (B, N) int64, the row of each class; -1 where there is none.
        logits: (B, K), float32 at least, the score of every class before its sigmoid; -inf where a
            class is unknown.
    """

    tokens: Tensor
    mask: Tensor | None
    indices: Tensor
    logits: Tensor

    def memory(self, num_queries: int) -> Memory:
        """Return the tokens as a decoder's memory that all of its Q queries may attend to."""
        if self.mask is None:
            return Memory(self.tokens)
        return Memory(self.tokens, mask=self.mask[:, None].expand(-1, num_queries, -1))


class TaxonomyCompiler(nn.Module):
    """Look for classes in a clip, and select the likeliest (TMT-VIS section 3.2).

    The vector of each class name passes an adapter, E1, and layer by layer attends to the features
    of all frames, E3 in the end. The score of a class is ``sigmoid(Linear(E3) . E1)``, and the rows
    of E3 with the highest scores are the taxonomy. Classes do not attend to each other: what
    becomes of one does not depend on which others are asked for, up to the selection.

    The scores are used for the selection alone, through which no gradient passes: the linear layer
    learns nothing unless :func:`segblocks.losses.presence_loss` is part of the loss.

    Args:
        text_dim: d, of the vectors of class names (CLIP RN50: 1024).
        embed_dim: C.
        num_heads: M.
        strides: the level that each layer attends to; the paper names none and has two layers.
        num_selected: N, 10 in the paper, which is about the number of instances in a video.
        bottleneck_dim: between the two layers of the adapter; by default a quarter of
            ``text_dim``, since the paper wants it lower than that.
        hidden_dim: of the feed-forward blocks.

    Raises:
        ValueError: no stride, or less than one class to select.

    Example:
        >>> compiler = TaxonomyCompiler(16, 32, 4, strides=(32,), num_selected=2, hidden_dim=32)
        >>> taxonomy = compiler(torch.randn(5, 16), {32: torch.randn(1, 3, 32, 2, 4)})
        >>> taxonomy.tokens.shape, taxonomy.indices.shape, taxonomy.logits.shape
        (torch.Size([1, 2, 32]), torch.Size([1, 2]), torch.Size([1, 5]))
    """

    def __init__(
        self,
        text_dim: int,
        embed_dim: int = 256,
        num_heads: int = 8,
        *,
        strides: Sequence[int] = (32, 16),
        num_selected: int = 10,
        bottleneck_dim: int | None = None,
        hidden_dim: int = 2048,
    ) -> None:
        super().__init__()
        if not strides or num_selected < 1:
            raise ValueError(
                "TaxonomyCompiler: strides must name a level a layer and num_selected be at least "
                f"1, got {tuple(strides)} and {num_selected}"
            )
        self.strides = tuple(strides)
        self.num_selected = num_selected
        self.adapter = mlp(text_dim, bottleneck_dim or max(1, text_dim // 4), embed_dim)
        for weight in (p for p in self.adapter.parameters() if p.dim() > 1):
            nn.init.xavier_uniform_(weight)
        self.layers = nn.ModuleList(
            _CompilerLayer(embed_dim, num_heads, hidden_dim) for _ in self.strides
        )
        self.score = nn.Linear(embed_dim, embed_dim)

    def forward(
        self, text: Tensor, features: Mapping[int, Tensor], known: Tensor | None = None
    ) -> CompiledTaxonomy:
        """Compile the taxonomy of each clip.

        Args:
            text: (K, d), the vectors of the class names.
            features: stride -> (B, T, C, h, w), with ``strides`` among them.
            known: (K,) or (B, K) bool, the classes that may be selected: those of the vocabulary
                of the clip's dataset. None means all.

        Returns:
            N = min(``num_selected``, K) classes a clip. Where fewer are known the rest of the
            tokens is masked; no class comes twice. Of equal scores the lower row comes first.

        Raises:
            ValueError: a stride is missing, or shapes that do not fit.
        """
        self._check(text, features, known)
        adapted = self.adapter(text)
        batch = features[self.strides[0]].shape[0]
        embedded = adapted.expand(batch, -1, -1)
        for stride, layer in zip(self.strides, self.layers, strict=True):
            embedded = layer(embedded, features[stride])
        logits = self._score(embedded, adapted)
        if known is not None:
            known = known.expand(batch, -1)
            logits = logits.masked_fill(~known, -torch.inf)
        return _select(embedded, logits, known, self.num_selected)

    def _score(self, embedded: Tensor, adapted: Tensor) -> Tensor:
        """Scores (B, K) before the sigmoid, in which half precision would make ties."""
        scored = self.score(embedded)
        total = torch.promote_types(scored.dtype, torch.float32)
        # The scale changes no ranking, and keeps the sigmoid away from where it saturates.
        return (scored.to(total) * adapted.to(total)).sum(-1) / math.sqrt(adapted.shape[-1])

    def _check(self, text: Tensor, features: Mapping[int, Tensor], known: Tensor | None) -> None:
        dim = self.adapter[0].in_features
        if text.dim() != 2 or text.shape[1] != dim or not len(text):
            raise ValueError(f"TaxonomyCompiler: text must be (K, {dim}), got {tuple(text.shape)}")
        if missing := [s for s in self.strides if s not in features]:
            raise ValueError(
                f"TaxonomyCompiler: features lack strides {missing}, got {tuple(features)}"
            )
        batch, classes = features[self.strides[0]].shape[0], len(text)
        if known is None:
            return
        if known.dtype != torch.bool or known.shape not in ((classes,), (batch, classes)):
            raise ValueError(
                f"TaxonomyCompiler: known must be boolean ({classes},) or ({batch}, {classes}), "
                f"got {tuple(known.shape)} {known.dtype}"
            )


class _CompilerLayer(nn.Module):
    """Let classes attend to all pixels of all frames; each block with its residual and norm."""

    def __init__(self, embed_dim: int, num_heads: int, hidden_dim: int) -> None:
        super().__init__()
        self.attention = MultiheadAttention(embed_dim, num_heads)
        self.norm = nn.LayerNorm(embed_dim)
        self.feed_forward = FeedForwardBlock(embed_dim, hidden_dim)

    def forward(self, classes: Tensor, features: Tensor) -> Tensor:
        _, frames, channels, height, width = features.shape
        positions = sine_position_3d(
            frames,
            height,
            width,
            channels,
            device=features.device,
            dtype=torch.promote_types(features.dtype, torch.float32),
        ).to(features.dtype)
        values = rearrange(features, "b t c h w -> b (t h w) c")
        keys = values + rearrange(positions, "t h w c -> (t h w) c")
        attended = self.attention(classes, keys, values)
        return self.feed_forward(self.norm(classes + attended))


def _select(
    embedded: Tensor, logits: Tensor, known: Tensor | None, num_selected: int
) -> CompiledTaxonomy:
    indices = _greatest(logits.detach(), num_selected)
    tokens = embedded.gather(1, indices[..., None].expand(-1, -1, embedded.shape[-1]))
    if known is None:
        return CompiledTaxonomy(tokens, None, indices, logits)
    mask = known.gather(1, indices)
    tokens = tokens.where(mask[..., None], 0)
    return CompiledTaxonomy(tokens, mask, indices.where(mask, -1), logits)


def _greatest(scores: Tensor, count: int) -> Tensor:
    """Where the greatest of K scores (B, K) are, the first of equals first; ``count`` of them."""
    # A stable sort would say it in one word, but has no like in ONNX.
    own, other = scores[:, :, None], scores[:, None, :]
    place = torch.arange(scores.shape[1], device=scores.device)
    before = (other > own) | (other == own) & (place < place[:, None])
    return before.sum(-1).topk(min(count, scores.shape[1]), largest=False).indices
