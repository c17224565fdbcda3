"""A mask given by the two factors of its logits."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class MaskFromFeatures(NamedTuple):
    """Mask logits that are never written to memory: the product of these two.

    Args:
        embeddings: mask embeddings of the queries (B, Q, C).
        features: mask features of the keys (B, N, C).
    """

    embeddings: Tensor
    features: Tensor
