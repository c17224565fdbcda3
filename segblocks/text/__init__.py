"""Class lists of the datasets, their colours, and one label space over several."""

from __future__ import annotations

from segblocks.text.colors import class_colors
from segblocks.text.union import VocabularyUnion, canonical_name, unite
from segblocks.text.vocabulary import Vocabulary, get_vocabulary, list_vocabularies

__all__ = [
    "Vocabulary",
    "VocabularyUnion",
    "canonical_name",
    "class_colors",
    "get_vocabulary",
    "list_vocabularies",
    "unite",
]
