"""Queries that stand for classes, gathered from all clips of the training (GvSeg's VSS)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch import distributed as dist

from segblocks.nn.mlp import mlp

# Steps with a class until its mean is worth something.
_WARM_UP = 10


class ClassQueries(nn.Module):
    """Remember what the queries of each class become, and begin with that (GvSeg eq. 9).

    A running mean a class of the refined queries that were matched with it: the first one is taken
    as it is, later ones move it by ``1 - momentum``. Classes that a step does not show stay. With
    several processes the mean is that over all of them, so that they agree. It is part of the
    state dict.

    A query is ``FFN(mean)`` once ten steps have shown the class, in training as in evaluation, and
    until then that of a learned vector.

    Args:
        num_classes: K.
        embed_dim: C.
        momentum: of the mean. The paper does not say.
        hidden_dim: of the feed-forward network, which ends with a norm.

    Raises:
        ValueError: a momentum outside [0, 1).

    Example:
        >>> classes = ClassQueries(3, 8, hidden_dim=16)
        >>> classes.update(torch.ones(2, 8), torch.tensor([1, 1]))
        >>> classes.seen.tolist(), classes().shape
        ([0, 1, 0], torch.Size([3, 8]))
    """

    no_decay_names = ("learned",)

    means: Tensor
    seen: Tensor

    def __init__(
        self,
        num_classes: int,
        embed_dim: int = 256,
        *,
        momentum: float = 0.99,
        hidden_dim: int = 1024,
    ) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"ClassQueries: momentum must be in [0, 1), got {momentum}")
        self.momentum = momentum
        self.learned = nn.Parameter(torch.randn(num_classes, embed_dim))
        self.feed_forward = nn.Sequential(
            mlp(embed_dim, hidden_dim, embed_dim), nn.LayerNorm(embed_dim)
        )
        self.register_buffer("means", torch.zeros(num_classes, embed_dim))
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.long))

    def forward(self, classes: Tensor | slice | None = None, *, learned: bool = False) -> Tensor:
        """Return the queries of some classes, by index, or of all: (K, C).

        Args:
            classes: which; None for all.
            learned: take the learned vectors whatever was seen, as training does now and then, so
                that they stay fit for classes that are rare.
        """
        rows = slice(None) if classes is None else classes
        known = (self.seen[rows] >= _WARM_UP)[:, None] & (not learned)
        return self.feed_forward(torch.where(known, self.means[rows], self.learned[rows]))

    @torch.no_grad()
    def update(self, embeddings: Tensor, labels: Tensor) -> None:
        """Take in the refined queries of one step; all processes have to call it.

        Args:
            embeddings: (n, C), matched queries after the decoder.
            labels: (n,) int64, their classes.

        Raises:
            ValueError: shapes that do not fit.
        """
        if embeddings.shape != (len(labels), self.means.shape[1]):
            raise ValueError(
                f"ClassQueries: embeddings must be ({len(labels)}, {self.means.shape[1]}), "
                f"got {tuple(embeddings.shape)}"
            )
        sums = torch.zeros_like(self.means, dtype=torch.float64)
        sums.index_add_(0, labels, embeddings.double())
        counts = torch.bincount(labels, minlength=len(self.means))
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(sums)
            dist.all_reduce(counts)
        new = (sums / counts.clamp(min=1)[:, None]).to(self.means.dtype)
        moved = torch.lerp(new, self.means, self.momentum)
        fresh = torch.where((self.seen > 0)[:, None], moved, new)
        self.means.copy_(torch.where((counts > 0)[:, None], fresh, self.means))
        self.seen += counts > 0
