"""Vectors of class names, made once and kept in a file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from segblocks._files import expand, write_atomically
from segblocks.text.encoder import TextEncoder
from segblocks.text.prompts import fill_templates, get_templates

_FORMAT = "segblocks text embeddings 1"


@dataclass(frozen=True, eq=False)
class TextEmbeddings:
    """Hold the vectors of class names, with what they were made by.

    Args:
        names: N distinct names.
        vectors: (N, d), float32 on the CPU, of length 1.
        encoder: name of the text encoder.
        templates: the sentences that names were put into.

    Raises:
        ValueError: another number of vectors than names, or a repeated name.

    Example:
        >>> from segblocks.text import HashEncoder
        >>> table = embed_names(["dog", "giant panda"], HashEncoder(8))
        >>> table.rows(["giant panda"]).shape
        torch.Size([1, 8])
    """

    names: tuple[str, ...]
    vectors: Tensor
    encoder: str
    templates: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.vectors.dim() != 2 or len(self.vectors) != len(self.names):
            raise ValueError(
                f"TextEmbeddings: vectors must be ({len(self.names)}, d), "
                f"got {tuple(self.vectors.shape)}"
            )
        if repeated := sorted({n for n in self.names if self.names.count(n) > 1}):
            raise ValueError(f"TextEmbeddings: names must be distinct, got {repeated} again")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def dim(self) -> int:
        """Return d."""
        return self.vectors.shape[1]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    @property
    def hash(self) -> str:
        """Return the SHA-256 of names, encoder, templates and vectors."""
        said = json.dumps([self.names, self.encoder, self.templates])
        digest = hashlib.sha256(said.encode())
        digest.update(self.vectors.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def missing(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return those of the names that have no vector."""
        return tuple(name for name in names if name not in self._index)

    def rows(self, names: Sequence[str]) -> Tensor:
        """Return the vectors of names, in their order, (n, d).

        Raises:
            ValueError: a name has no vector.
        """
        if missing := self.missing(names):
            raise ValueError(
                f"TextEmbeddings: there are no vectors for {list(missing)}; "
                f"{self.encoder} can make them"
            )
        return self.vectors[[self._index[name] for name in names]]

    def extended(self, names: Sequence[str], encoder: TextEncoder) -> TextEmbeddings:
        """Return these vectors and those of further names.

        Args:
            names: those that are there already are left out.
            encoder: the one that these were made by.

        Raises:
            ValueError: another encoder.
        """
        if encoder.name != self.encoder:
            raise ValueError(
                f"TextEmbeddings: encoder must be {self.encoder!r}, which made the vectors that "
                f"are here, got {encoder.name!r}"
            )
        new = embed_names(self.missing(tuple(dict.fromkeys(names))), encoder, self.templates)
        return TextEmbeddings(
            self.names + new.names,
            torch.cat((self.vectors, new.vectors)),
            self.encoder,
            self.templates,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table to a safetensors file.

        Raises:
            OSError: the file cannot be written.
        """
        metadata = {
            "format": _FORMAT,
            "names": json.dumps(self.names),
            "encoder": self.encoder,
            "templates": json.dumps(self.templates),
            "hash": self.hash,
        }
        tensors = {"vectors": self.vectors.contiguous()}
        write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no such file, or was changed or damaged since it was written.
        """
        path = expand(path)
        if not path.is_file():
            raise FileNotFoundError(f"TextEmbeddings: no such file: {path}")
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != _FORMAT:
                    raise ValueError(f"{path}: not written by TextEmbeddings.save")
                vectors = file.get_tensor("vectors")
        except SafetensorError as error:
            raise ValueError(f"{path}: damaged or no safetensors file: {error}") from error
        names, templates = (tuple(json.loads(metadata[key])) for key in ("names", "templates"))
        table = cls(names, vectors, metadata["encoder"], templates)
        if table.hash != metadata["hash"]:
            raise ValueError(f"{path}: damaged: its content is not what its hash says")
        return table


def embed_names(
    names: Sequence[str], encoder: TextEncoder, templates: str | Sequence[str] = "photo"
) -> TextEmbeddings:
    """Encode class names: the mean over templates, brought to length 1 again (CLIP section 3.1.4).

    Args:
        names: distinct.
        encoder: of sentences.
        templates: see :func:`~segblocks.text.prompts.get_templates`.

    Example:
        >>> from segblocks.text import HashEncoder
        >>> embed_names(["dog"], HashEncoder(8), "video").vectors.norm(dim=-1)
        tensor([1.])
    """
    sentences = get_templates(templates)
    filled = [sentence for name in names for sentence in fill_templates(name, sentences)]
    vectors = torch.zeros(0, encoder.dim)
    if filled:
        vectors = F.normalize(encoder(filled).unflatten(0, (-1, len(sentences))).mean(1), dim=-1)
    return TextEmbeddings(tuple(names), vectors, encoder.name, sentences)
