"""Prediction with classes that are text embeddings, given anew at each call."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segblocks.nn.clip_output import Prediction
from segblocks.nn.decoder import DecoderContext
from segblocks.nn.heads import Groups
from segblocks.nn.queries import Queries


class CosineClassHead(nn.Module):
    """Classify queries by the cosine between them and text embeddings of classes.

    UniVS section 3.3: one set of logits a clip, the mean over its frames. There is no no-object
    class; the sigmoid of a logit is the score of the class.

    Args:
        embed_dim: C.
        text_dim: of the embeddings.

    Example:
        >>> head = CosineClassHead(8, 16)
        >>> head(torch.randn(1, 5, 2, 8), torch.randn(40, 16)).shape
        torch.Size([1, 5, 40])
    """

    no_decay_names = ("log_temperature",)

    def __init__(self, embed_dim: int, text_dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(embed_dim, text_dim)
        # An embedding of one number in the official code, which spares embeddings from decay.
        self.log_temperature = nn.Parameter(torch.full((1, 1), math.log(1 / 0.07)))

    def forward(self, queries: Tensor, classes: Tensor) -> Tensor:
        """Classify.

        Args:
            queries: normed, (B, Q, T, C) or (B, Q, C).
            classes: (K, text_dim) or (B, K, text_dim), of any length.

        Returns:
            Logits (B, Q, K), float32 at least: half precision would tie the classes that are close.
        """
        projected = F.normalize(_full(self.projection(queries)), dim=-1)
        cosines = self._mean_dot(projected, F.normalize(_full(classes), dim=-1))
        return cosines * _full(self.log_temperature).exp()

    def match(self, queries: Tensor, sentences: Tensor) -> Tensor:
        """Compare queries with sentences by the plain inner product (official, for expressions).

        Args:
            queries: as for the call.
            sentences: (E, text_dim) or (B, E, text_dim).

        Returns:
            (B, Q, E).
        """
        return self._mean_dot(_full(self.projection(queries)), _full(sentences))

    def _mean_dot(self, projected: Tensor, classes: Tensor) -> Tensor:
        if projected.dim() == 4:
            projected = projected.mean(dim=2)
        with torch.autocast(projected.device.type, enabled=False):
            return projected @ classes.to(projected.dtype).mT


def _full(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


class GroundedMaskEmbedding(nn.Module):
    """Embed queries that stand for a frame each, and ground expressions in what is detected.

    Two things of the official UniVS code that its paper does not mention. At inference, the mask of
    an expression is the mean of its own and that of the learnable query most like it; since mask
    logits are linear in the embedding, that is the mean of the embeddings. In training, the
    embeddings are permuted over time, so that a query has to fit any frame of the clip.

    Args:
        embedding: (..., C) -> (..., C), as a rule a three-layer MLP.
        learnable: the group of learnable queries.
        grounded: the group of expressions.
        average: take the mean described above, outside training.
        permute_time: permute in training.

    Example:
        >>> head = GroundedMaskEmbedding(nn.Identity()).eval()
        >>> queries = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 1.0]])[None, :, None]
        >>> head(queries, {"learnable": slice(0, 2), "grounding": slice(2, 3)})[0, 2, 0]
        tensor([2.0000, 0.5000])
    """

    def __init__(
        self,
        embedding: nn.Module,
        *,
        learnable: str = "learnable",
        grounded: str = "grounding",
        average: bool = True,
        permute_time: bool = True,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.learnable = learnable
        self.grounded = grounded
        self.average = average
        self.permute_time = permute_time

    def forward(
        self, queries: Tensor, groups: Groups, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Embed the queries.

        Args:
            queries: normed, (B, Q, T, C).
            groups: of the queries.
            generator: on the CPU, draws the permutation; None is torch's global one.
        """
        embeddings = self.embedding(queries)
        if self.training:
            if self.permute_time:
                order = torch.randperm(queries.shape[2], generator=generator)
                embeddings = embeddings[:, :, order.to(queries.device)]
            return embeddings
        part, learnable = groups.get(self.grounded), groups.get(self.learnable)
        if not self.average or part is None or learnable is None:
            return embeddings
        if part.stop == part.start or learnable.stop == learnable.start:
            return embeddings
        nearest = self.nearest(queries[:, part], queries[:, learnable])
        index = nearest[..., None, None].expand(-1, -1, *queries.shape[2:])
        own, theirs = embeddings[:, part], embeddings[:, learnable].gather(1, index)
        averaged = (own + theirs) / 2
        return torch.cat((embeddings[:, : part.start], averaged, embeddings[:, part.stop :]), 1)

    def nearest(self, grounded: Tensor, learnable: Tensor) -> Tensor:
        """Find for each expression (B, E, T, C) the learnable query most like it, (B, E)."""
        a, b = F.normalize(grounded, dim=-1), F.normalize(learnable, dim=-1)
        return torch.einsum("betc,bqtc->beq", a, b).argmax(dim=-1)


class PredictByText(nn.Module):
    """Predict masks, and classes by a memory of text embeddings; else as ``Predict``.

    Args:
        norm: on the content of the queries, before the heads.
        mask_head: (normed queries, groups, generator=) -> mask embeddings of the same shape.
        class_head: (normed queries, embeddings of classes) -> logits.
        memory: name of the memory with the classes, (1 or B, K, text_dim). Where the context has
            none, no classes are predicted.
        name: of the recorded predictions.

    Example:
        >>> from segblocks.nn.decoder import Memory
        >>> predict = PredictByText(
        ...     nn.LayerNorm(8), GroundedMaskEmbedding(nn.Identity()), CosineClassHead(8, 16))
        >>> context = DecoderContext({}, {"classes": Memory(torch.randn(1, 40, 16))})
        >>> z = torch.zeros(1, 5, 2, 8)
        >>> _ = predict(Queries(z, z, {"learnable": slice(0, 5)}), context)
        >>> context.prediction.class_logits.shape
        torch.Size([1, 5, 40])
    """

    def __init__(
        self,
        norm: nn.Module,
        mask_head: GroundedMaskEmbedding,
        class_head: CosineClassHead,
        *,
        memory: str = "classes",
        name: str = "prediction",
    ) -> None:
        super().__init__()
        self.norm = norm
        self.mask_head = mask_head
        self.class_head = class_head
        self.memory = memory
        self.name = name

    def forward(self, queries: Queries, context: DecoderContext) -> Queries:
        """Record a prediction; the queries pass unchanged."""
        normed = self.norm(queries.content)
        classes = context.memory.get(self.memory)
        context.record(
            Prediction(
                queries=queries.content,
                mask_embeddings=self.mask_head(normed, queries.groups, generator=context.generator),
                class_logits=None if classes is None else self.class_head(normed, classes.tokens),
                name=self.name,
            )
        )
        return queries
