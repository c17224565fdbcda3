"""The text encoders of CLIP, through open_clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks._optional import require


class CLIPEncoder:
    """Encode sentences with the text part of a CLIP model.

    Args:
        model: of open_clip: ``encode_text(tokens (N, L)) -> (N, d)``.
        tokenizer: sentences -> tokens.
        name: "open_clip/<model>/<weights>".

    Example:
        >>> class Lengths(torch.nn.Module):
        ...     def encode_text(self, tokens):
        ...         return tokens.float()
        >>> def count(sentences):
        ...     return torch.tensor([[len(s), 1] for s in sentences])
        >>> CLIPEncoder(Lengths(), count, "open_clip/example/none")(["a dog"]).norm(dim=-1)
        tensor([1.])
    """

    def __init__(self, model: Any, tokenizer: Callable[[list[str]], Tensor], name: str) -> None:
        self._model = model.eval()
        self._tokenizer = tokenizer
        self.name = name
        self.dim = int(self(["a"]).shape[-1])

    @classmethod
    def load(cls, model: str, weights: str) -> Self:
        """Make an encoder by the names of open_clip.

        Args:
            model: such as "RN50", which TMT-VIS most likely uses (1024 dimensions).
            weights: a tag of open_clip such as "openai", which is downloaded, or a file.

        Raises:
            ImportError: open_clip is missing.
        """
        open_clip = require("open_clip", "text")
        loaded = open_clip.create_model(model, pretrained=weights)
        # The image part is the larger one, and is not needed.
        loaded.visual = None
        return cls(loaded, open_clip.get_tokenizer(model), f"open_clip/{model}/{weights}")

    @torch.no_grad()
    def __call__(self, sentences: Sequence[str]) -> Tensor:
        """Encode N sentences as (N, d)."""
        tokens = self._tokenizer(list(sentences))
        return F.normalize(self._model.encode_text(tokens).float(), dim=-1)
