"""Class lists of the datasets, one label space over several, and what makes vectors of names."""

from __future__ import annotations

from segblocks.text.colors import class_colors
from segblocks.text.embeddings import TextEmbeddings, embed_names
from segblocks.text.encoder import HashEncoder, TextEncoder, get_text_encoder
from segblocks.text.prompts import get_templates, list_templates
from segblocks.text.union import VocabularyUnion, canonical_name, unite
from segblocks.text.vocabulary import (
    OwnVocabulary,
    Vocabulary,
    as_vocabulary,
    get_vocabulary,
    list_vocabularies,
)

__all__ = [
    "HashEncoder",
    "OwnVocabulary",
    "TextEmbeddings",
    "TextEncoder",
    "Vocabulary",
    "VocabularyUnion",
    "as_vocabulary",
    "canonical_name",
    "class_colors",
    "embed_names",
    "get_templates",
    "get_text_encoder",
    "get_vocabulary",
    "list_templates",
    "list_vocabularies",
    "unite",
]
