"""Class lists of the datasets."""

from __future__ import annotations

from segblocks.text.vocabulary import Vocabulary, get_vocabulary, list_vocabularies

__all__ = ["Vocabulary", "get_vocabulary", "list_vocabularies"]
