"""The learned queries of TarViS."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segblocks.text.vocabulary import OwnVocabulary, Vocabulary, as_vocabulary

GROUPS = ("instance", "background", "semantic", "object_background", "object")


class TarViSQueries(nn.Module):
    """Learned content of instance, background and semantic queries, and the type embeddings.

    The type embedding of a group is the position of its queries: one vector for all of them
    (TarViS section 4.1). Object queries and their background take their content from the object
    encoder, and only their type from here.

    Args:
        embed_dim: C.
        num_instances: instance queries (128 in the released models).
        vocabularies: as of :func:`~segblocks.text.as_vocabulary`; their classes follow each other
            in the semantic table.

    Example:
        >>> queries = TarViSQueries(8, num_instances=3, vocabularies=["ovis"])
        >>> queries.semantic.shape, queries.type_embedding("object").shape
        (torch.Size([25, 8]), torch.Size([1, 8]))
    """

    no_decay_names = ("instance", "background", "semantic", "object_background", "types")

    def __init__(
        self,
        embed_dim: int,
        *,
        num_instances: int = 128,
        vocabularies: Sequence[str | OwnVocabulary],
    ) -> None:
        super().__init__()
        self.vocabularies = tuple(as_vocabulary(vocabulary) for vocabulary in vocabularies)
        num_classes = sum(len(vocabulary.classes) for vocabulary in self.vocabularies)
        self.instance = nn.Parameter(torch.randn(num_instances, embed_dim))
        self.background = nn.Parameter(torch.randn(1, embed_dim))
        self.semantic = nn.Parameter(torch.randn(num_classes, embed_dim))
        # No task reads it: the background around objects is encoded from the frame. The official
        # checkpoints hold it, and exporting has to give it back.
        self.object_background = nn.Parameter(torch.randn(1, embed_dim))
        self.types = nn.ParameterDict({name: torch.randn(1, embed_dim) for name in GROUPS})

    def type_embedding(self, group: str) -> Tensor:
        """The type embedding (1, C) of a group."""
        return self.types[group]

    def semantic_rows(self, vocabulary: Vocabulary) -> list[int]:
        """Find the semantic queries of a vocabulary's classes.

        Args:
            vocabulary: a known one, a subset of it, or class names that exactly one of the known
                vocabularies has.

        Returns:
            One row a class, in the order of ``vocabulary``.

        Raises:
            ValueError: no known vocabulary has all the classes, or several have.
        """
        namesakes = [v for v in self.vocabularies if v.name == vocabulary.name]
        wanted = set(vocabulary.classes)
        fitting = [v for v in namesakes or self.vocabularies if wanted <= set(v.classes)]
        if len(fitting) == 1:
            start = self._start(fitting[0])
            return [start + fitting[0].index(name) for name in vocabulary.classes]
        names = ", ".join(v.name for v in fitting or self.vocabularies)
        if fitting:
            raise ValueError(
                f"TarViS: vocabulary must say which of {names} is meant, such as "
                f"VIS({fitting[0].name!r}, classes=[...]); all of them have the classes "
                f"{_abridged(vocabulary.classes)}"
            )
        raise ValueError(
            f"TarViS: vocabulary must be one of {names}, or classes of one of them; "
            f"got {vocabulary.name!r} with classes {_abridged(vocabulary.classes)}"
        )

    def _start(self, vocabulary: Vocabulary) -> int:
        before = self.vocabularies[: self.vocabularies.index(vocabulary)]
        return sum(len(v.classes) for v in before)


def _abridged(names: Sequence[str], limit: int = 5) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, ... ({len(names)})"
