"""What turns sentences into vectors: one protocol, and the encoders by name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class TextEncoder(Protocol):
    """Turn sentences into unit vectors.

    Attributes:
        name: with which :func:`get_text_encoder` makes an equal encoder.
        dim: d.
    """

    @property
    def name(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def __call__(self, sentences: Sequence[str]) -> Tensor:
        """Encode N sentences as (N, d), float32 on the CPU, of length 1."""
        ...


class HashEncoder:
    """Give every sentence a direction of its own, which says nothing about its meaning.

    For tests, and as what text embeddings are compared with: the vectors are the same on every
    machine and with every version, and need no package and no file.

    Args:
        dim: d.

    Example:
        >>> encoder = HashEncoder(8)
        >>> encoder(["a dog", "a cat"]).shape, encoder.name
        (torch.Size([2, 8]), 'hash/8')
    """

    def __init__(self, dim: int = 256) -> None:
        if dim < 2:
            raise ValueError(f"HashEncoder: dim must be at least 2, got {dim}")
        self.dim = dim

    @property
    def name(self) -> str:
        """Such as "hash/256"."""
        return f"hash/{self.dim}"

    def __call__(self, sentences: Sequence[str]) -> Tensor:
        """Encode N sentences as (N, d)."""
        rows = np.stack([self._row(sentence) for sentence in sentences])
        return torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True)).float()

    def _row(self, sentence: str) -> np.ndarray:
        digest = hashlib.shake_256(sentence.encode()).digest(4 * self.dim)
        # Sums of uniform bytes are close enough to normal, and their directions to uniform.
        return np.frombuffer(digest, np.uint8).reshape(self.dim, 4).sum(1) - 510.0


def get_text_encoder(name: str) -> TextEncoder:
    """Make the text encoder of a name.

    Args:
        name: "hash/<dim>"; "minilm", from its own package; or "open_clip/<model>/<weights>", such
            as "open_clip/RN50/openai" (TMT-VIS), whose weights are downloaded unless they are a
            file.

    Raises:
        ValueError: no such encoder.
        ImportError: the packages of the extra ``text`` are missing.

    Example:
        >>> get_text_encoder("hash/16").dim
        16
    """
    kind, _, rest = name.partition("/")
    if kind == "hash" and rest.isdecimal():
        return HashEncoder(int(rest))
    if name == "minilm":
        from segblocks.text.minilm import MiniLMEncoder

        return MiniLMEncoder()
    if kind == "open_clip":
        model, _, weights = rest.partition("/")
        if model and weights:
            from segblocks.text.clip import CLIPEncoder

            return CLIPEncoder.load(model, weights)
    raise ValueError(
        "get_text_encoder: name must be 'hash/<dim>', 'minilm' or 'open_clip/<model>/<weights>', "
        f"got {name!r}"
    )
