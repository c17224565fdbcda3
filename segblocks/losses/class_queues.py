"""Embeddings of each class from the last steps of a training, to compare new ones with (GvSeg)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch import distributed as dist

from segblocks.losses.contrastive import cosine_auxiliary, pair_contrast


class ClassContrast(NamedTuple):
    """The contrastive loss and the auxiliary one on cosines, both scalars."""

    embedding: Tensor
    auxiliary: Tensor


class ClassQueues(nn.Module):
    """Keep the last embeddings of each class, and contrast those of a step with them.

    A first-in-first-out queue a class. Positives of an embedding are the entries of its class and
    the others of the step that have it; negatives are the entries of the other classes, of which
    some are drawn, and the others of the step. Entries get no gradient. As there are many pairs,
    the loss is of their mean and not of their sum.

    All processes put what they have into the queues of all, in the order of their ranks, so that
    the queues are the same everywhere, and the same as of one process with the whole batch. They
    are part of the state dict.

    Args:
        num_classes: K.
        embed_dim: C.
        length: entries a class (paper: 100).
        max_negatives: entries of other classes that an embedding is compared with.

    Raises:
        ValueError: numbers that are not positive.

    Example:
        >>> queues = ClassQueues(3, 8, length=4)
        >>> queues.push(torch.randn(6, 8), torch.tensor([0, 0, 0, 0, 0, 2]))
        >>> queues.filled.tolist()
        [4, 0, 1]
        >>> loss = queues(torch.randn(2, 8), torch.tensor([0, 2]))
        >>> loss.embedding.shape
        torch.Size([])
    """

    entries: Tensor
    filled: Tensor
    next_slot: Tensor

    def __init__(
        self, num_classes: int, embed_dim: int = 256, *, length: int = 100, max_negatives: int = 512
    ) -> None:
        super().__init__()
        for name, value in (
            ("num_classes", num_classes),
            ("embed_dim", embed_dim),
            ("length", length),
        ):
            if value < 1:
                raise ValueError(f"ClassQueues: {name} must be at least 1, got {value}")
        self.length = length
        self.max_negatives = max_negatives
        self.register_buffer("entries", torch.zeros(num_classes, length, embed_dim))
        self.register_buffer("filled", torch.zeros(num_classes, dtype=torch.long))
        self.register_buffer("next_slot", torch.zeros(num_classes, dtype=torch.long))

    def forward(
        self, embeddings: Tensor, labels: Tensor, *, generator: torch.Generator | None = None
    ) -> ClassContrast:
        """Contrast the embeddings of a step with the queues and with each other.

        Args:
            embeddings: (n, C), with gradient.
            labels: (n,) int64.
            generator: draws the negatives, on the CPU.

        Returns:
            The losses, 0 where nothing can be compared. The queues stay as they are: :meth:`push`
            comes after the step.

        Raises:
            ValueError: shapes that do not fit.
        """
        self._check(embeddings, labels)
        stored, classes = self.stored()
        keys = torch.cat((stored.to(embeddings.dtype), embeddings))
        positives = labels[:, None] == torch.cat((classes, labels))
        negatives = ~positives
        own = torch.arange(len(labels), device=labels.device)
        positives[own, len(classes) + own] = False
        negatives[:, : len(classes)] &= self._drawn(negatives[:, : len(classes)], generator)
        with torch.autocast(embeddings.device.type, enabled=False):
            similarity = embeddings.float() @ keys.float().T
        return ClassContrast(
            pair_contrast(similarity, positives, negatives=negatives, mean_pairs=True),
            cosine_auxiliary(embeddings, keys, positives, negatives=negatives),
        )

    def stored(self) -> tuple[Tensor, Tensor]:
        """Return all entries (n, C) and their classes (n,)."""
        there = torch.arange(self.length, device=self.filled.device) < self.filled[:, None]
        return self.entries[there], there.nonzero()[:, 0]

    @torch.no_grad()
    def push(self, embeddings: Tensor, labels: Tensor) -> None:
        """Append embeddings in their order; all processes have to call it.

        Args:
            embeddings: (n, C).
            labels: (n,) int64.

        Raises:
            ValueError: shapes that do not fit.
        """
        self._check(embeddings, labels)
        embeddings, labels = _of_all_processes(embeddings.to(self.entries), labels)
        for label in labels.unique().tolist():
            new = embeddings[labels == label]
            slots = (
                self.next_slot[label] + torch.arange(len(new), device=new.device)
            ) % self.length
            self.entries[label, slots[-self.length :]] = new[-self.length :]
            self.next_slot[label] = (self.next_slot[label] + len(new)) % self.length
            self.filled[label] = (self.filled[label] + len(new)).clamp(max=self.length)

    def _check(self, embeddings: Tensor, labels: Tensor) -> None:
        want = (len(labels), self.entries.shape[-1])
        if tuple(embeddings.shape) != want:
            raise ValueError(
                f"ClassQueues: embeddings must be {want}, got {tuple(embeddings.shape)}"
            )

    def _drawn(self, candidates: Tensor, generator: torch.Generator | None) -> Tensor:
        """At most ``max_negatives`` of the candidates of each row, at random, (n, m) bool."""
        if candidates.shape[1] <= self.max_negatives:
            return candidates
        luck = torch.rand(candidates.shape, generator=generator).to(candidates.device)
        best = luck.masked_fill(~candidates, -1).topk(self.max_negatives, dim=1).indices
        return candidates & torch.zeros_like(candidates).scatter_(1, best, True)


def _of_all_processes(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Join what all processes have, in the order of their ranks."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return embeddings, labels
    count = torch.tensor([len(labels)], device=labels.device)
    counts = [torch.zeros_like(count) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, count)
    sizes = [int(c) for c in counts]
    joined = []
    for values in (embeddings, labels):
        padded = values.new_zeros(max(sizes), *values.shape[1:])
        padded[: len(values)] = values
        parts = [torch.zeros_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        joined.append(torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)]))
    return joined[0], joined[1]
