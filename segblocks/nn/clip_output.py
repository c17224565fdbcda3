"""What a decoder predicts, and what a model returns for a clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """One prediction of a decoder.

    Args:
        queries: the content of the queries, before the decoder's norm, (B, Q, C) or (B, Q, T, C).
        mask_embeddings: their inner product with the mask features is the mask logits; same shape.
        class_logits: (B, Q_c, K) or (B, Q_c, K + 1) with no-object last, or None.
        class_group: the group of queries that ``class_logits`` belong to, or None.
        name: which ``Predict`` step made it.
    """

    queries: Tensor
    mask_embeddings: Tensor
    class_logits: Tensor | None = None
    class_group: str | None = None
    name: str = "prediction"


def mask_logits(embeddings: Tensor, features: Tensor) -> Tensor:
    """The inner product of mask embeddings with mask features.

    Args:
        embeddings: (B, Q, C), one a clip, or (B, Q, T, C), one a frame.
        features: (B, T, C, h, w).

    Returns:
        Logits (B, Q, T, h, w).

    Example:
        >>> mask_logits(torch.ones(1, 2, 8), torch.ones(1, 3, 8, 4, 5)).shape
        torch.Size([1, 2, 3, 4, 5])
    """
    equation = "bqtc,btchw->bqthw" if embeddings.dim() == 4 else "bqc,btchw->bqthw"
    return torch.einsum(equation, embeddings, features)


@dataclass(frozen=True)
class ClipOutput:
    """What a model returns for one clip.

    Full mask logits are large and seldom needed whole, so they are computed when read.

    Args:
        predictions: the decoder's predictions, the initial one first, at least one.
        mask_features: (B, T, C, h, w) at stride 4 of the padded clip.
        groups: name -> slice of the query axis.
        model_size: (height, width) of the frames before padding.
        frame_indices: the index of each frame in its video.
        object_slices: the queries of each hinted object, in task order, then hint order.
        object_ids: the id of each hinted object, in the same order.
        state: the video's state, or None.
        frame_features: stride -> (B, T, C, h, w) of the padded clip, what the model extracted of
            each frame alone, for comparing frames; empty where a model does not hand it on.

    Example:
        >>> z = torch.zeros(1, 2, 8)
        >>> output = ClipOutput((Prediction(z, z),), torch.zeros(1, 3, 8, 16, 16),
        ...                     {"instance": slice(0, 2)}, (64, 64), (0, 1, 2))
        >>> output.mask_logits.shape
        torch.Size([1, 2, 3, 16, 16])
    """

    predictions: tuple[Prediction, ...]
    mask_features: Tensor
    groups: Mapping[str, slice]
    model_size: tuple[int, int]
    frame_indices: tuple[int, ...]
    object_slices: tuple[slice, ...] = ()
    object_ids: tuple[int, ...] = ()
    state: Any = None
    frame_features: Mapping[int, Tensor] = field(default_factory=dict)  # pyright: ignore[reportUnknownVariableType]

    @property
    def mask_embeddings(self) -> tuple[Tensor, ...]:
        """The mask embeddings of each prediction, (B, Q, C) or (B, Q, T, C)."""
        return tuple(prediction.mask_embeddings for prediction in self.predictions)

    @property
    def queries(self) -> tuple[Tensor, ...]:
        """The content of the queries at each prediction, before the decoder's norm."""
        return tuple(prediction.queries for prediction in self.predictions)

    @property
    def mask_logits(self) -> Tensor:
        """Mask logits of the last prediction, (B, Q, T, h, w) at stride 4 of the padded clip."""
        return mask_logits(self.predictions[-1].mask_embeddings, self.mask_features)

    @property
    def class_logits(self) -> Tensor | None:
        """Class logits of the last prediction, no-object last, or None."""
        return self.predictions[-1].class_logits

    @property
    def class_group(self) -> str | None:
        """The group of queries that ``class_logits`` belong to, or None."""
        return self.predictions[-1].class_group

    @property
    def auxiliary(self) -> tuple[ClipOutput, ...]:
        """The output as it stood at each earlier prediction, the initial one first."""
        ends = range(1, len(self.predictions))
        return tuple(replace(self, predictions=self.predictions[:end]) for end in ends)

    def select_mask_logits(self, queries: slice | Tensor) -> Tensor:
        """Mask logits of some queries only, (B, q, T, h, w).

        Args:
            queries: a slice or an index tensor of the query axis.
        """
        return mask_logits(self.predictions[-1].mask_embeddings[:, queries], self.mask_features)
