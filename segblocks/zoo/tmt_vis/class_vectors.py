"""The vectors of class names that a model holds, and makes when it lacks one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from segblocks.text.embeddings import TextEmbeddings, embed_names
from segblocks.text.encoder import get_text_encoder
from segblocks.text.prompts import get_templates


class ClassVectors:
    """Hold the vectors of class names; those of new names are made by the text encoder.

    Not a module: vectors are no weights, and lie beside them in a file of their own.

    Args:
        encoder: name of the text encoder.
        dim: d, of its vectors.
        templates: sentences for names.

    Attributes:
        table: what was made or read so far, None at first.

    Example:
        >>> vectors = ClassVectors("hash/8", 8, "photo")
        >>> vectors.rows(("dog", "cat"), torch.zeros(1)).shape, vectors.table.names
        (torch.Size([2, 8]), ('dog', 'cat'))
    """

    def __init__(self, encoder: str, dim: int, templates: str | Sequence[str]) -> None:
        self.encoder = encoder
        self.dim = dim
        self.templates = get_templates(templates)
        self.table: TextEmbeddings | None = None
        self._latest: tuple[tuple[str, ...], Tensor] | None = None

    def use(self, table: TextEmbeddings) -> None:
        """Take vectors that were made before.

        Raises:
            ValueError: of another encoder, length, or other templates.
        """
        want = (self.encoder, self.dim, self.templates)
        got = (table.encoder, table.dim, table.templates)
        if got != want:
            raise ValueError(
                "ClassVectors: embeddings must be of the model's text encoder, length and "
                f"templates, {want}, got {got}"
            )
        self.table = table
        self._latest = None

    def embed(self, names: Sequence[str]) -> TextEmbeddings:
        """Make the vectors of names that have none yet; returns all.

        Raises:
            ImportError: the text encoder is not installed.
            ValueError: it makes vectors of another length.
        """
        missing = tuple(dict.fromkeys(names if self.table is None else self.table.missing(names)))
        if self.table is not None and not missing:
            return self.table
        encoder = get_text_encoder(self.encoder)
        if encoder.dim != self.dim:
            raise ValueError(
                f"ClassVectors: {self.encoder} makes vectors of {encoder.dim} numbers, and the "
                f"model's text_dim is {self.dim}"
            )
        # Vectors made within inference mode could not be trained with later.
        with torch.inference_mode(False), torch.autocast("cpu", enabled=False):
            if self.table is None:
                self.table = embed_names(missing, encoder, self.templates)
            else:
                self.table = self.table.extended(missing, encoder)
        return self.table

    def rows(self, names: Sequence[str], like: Tensor) -> Tensor:
        """Return the vectors of names, (n, d), on the device and in the dtype of a tensor."""
        key = tuple(names)
        if self._latest is not None:
            known, rows = self._latest
            if known == key and (rows.device, rows.dtype) == (like.device, like.dtype):
                return rows
        table = self.embed(key)
        with torch.inference_mode(False):
            rows = table.rows(key).to(like.device, like.dtype)
        self._latest = (key, rows)
        return rows
