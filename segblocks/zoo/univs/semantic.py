"""A score of each class at each pixel, from queries that each have a class and a mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from segblocks.nn.clip_output import ClipOutput


def semantic_scores(
    output: ClipOutput, probabilities: Tensor, classes: Sequence[int], *, group: str = "learnable"
) -> Tensor:
    """Add up the masks of queries, weighted by the probability of each class.

    As in Mask2Former, but for the quality of a mask, which weighs too (UniVS, official code).

    Args:
        output: of one clip.
        probabilities: (q, K) of the group's queries.
        classes: n indices of the classes to score.
        group: of queries.

    Returns:
        (n, T, h, w) float32 at stride 4 of the padded clip.
    """
    embeddings = output.predictions[-1].mask_embeddings[0, output.groups[group]]
    features = output.mask_features[0]
    above = torch.zeros(2, len(embeddings), device=features.device)
    for t, frame in enumerate(features):  # frame by frame, so that one is held at a time
        logits = _logits(embeddings[:, t], frame)
        above += torch.stack([(logits > level).sum(dim=(1, 2)) for level in (1, -1)])
    quality = above[0] / above[1].clamp(min=1)
    chosen = torch.tensor(list(classes), dtype=torch.long, device=features.device)
    weights = (probabilities[:, chosen] * quality[:, None]).T
    return torch.stack(
        [
            torch.einsum("kq,qhw->khw", weights, _logits(embeddings[:, t], frame).sigmoid())
            for t, frame in enumerate(features)
        ],
        dim=1,
    )


def _logits(embeddings: Tensor, frame: Tensor) -> Tensor:
    return torch.einsum("qc,chw->qhw", embeddings, frame).float()
