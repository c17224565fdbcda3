"""What GvSeg returns for a clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from segblocks.nn.clip_output import ClipOutput


class QueryLooks(NamedTuple):
    """By what the n queries of a clip are compared with those of others.

    Args:
        embeddings: (n, C).
        first: (n, C), the descriptor of each in the first frame that shows it, zero for none.
        last: (n, C), the same of the last frame.
    """

    embeddings: Tensor
    first: Tensor
    last: Tensor


@dataclass(frozen=True)
class GvSegOutput(ClipOutput):
    """What GvSeg returns for a clip.

    Args:
        embeddings: (B, Q, C), by which queries of two clips are compared.
        shapes: (B, Q, T, C), descriptors of the masks of things, zero for stuff and where there is
            no mask; None in training.
        object_features: (O, C), what was read of the hinted objects, to go on with.
        references: outputs of other moments of the video, in training.
    """

    embeddings: Tensor | None = None
    shapes: Tensor | None = None
    object_features: Tensor | None = None
    references: tuple[GvSegOutput, ...] = ()

    def looks(self, group: slice) -> QueryLooks:
        """By what some queries of the one clip are matched.

        Raises:
            ValueError: the output was made in training, or by another model.
        """
        if self.embeddings is None or self.shapes is None:
            raise ValueError(
                "GvSegOutput: embeddings and shapes must be there, as GvSeg returns them in "
                "evaluation, got None"
            )
        shapes = self.shapes[0, group]
        there = shapes.any(-1).to(torch.int8)
        rows = torch.arange(len(shapes), device=shapes.device)
        end = there.shape[1] - 1
        first, last = there.argmax(1), end - there.flip(1).argmax(1)
        return QueryLooks(
            self.embeddings[0, group].float(), shapes[rows, first], shapes[rows, last]
        )
