"""The text encoders of CLIP, through open_clip."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks._optional import require
from segblocks.text.vocabulary import close_matches


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
        self.model = model.eval()
        self.tokenizer = tokenizer
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
            ValueError: it knows no such model, or no such weights of it; close matches are listed.
            OSError: the weights cannot be downloaded.
        """
        open_clip = require("open_clip", "text")
        if model not in (known := open_clip.list_models()):
            raise ValueError(f"open_clip has no model {model!r}{close_matches(model, known)}")
        tags = open_clip.list_pretrained_tags_by_model(model)
        if weights not in tags and not os.path.isfile(weights):
            raise ValueError(
                f"weights of {model} must be a file or one of {', '.join(tags)}, got {weights!r}"
            )
        try:
            loaded = open_clip.create_model(model, pretrained=weights)
        except RuntimeError as error:
            if weights not in tags:
                raise
            raise OSError(
                f"the weights {weights} of {model} cannot be had: {error}. Without a network, put "
                "them into the cache of the hub, or use vectors of names that were made elsewhere "
                "(segblocks.text.TextEmbeddings)"
            ) from error
        # The image part is the larger one, and is not needed.
        loaded.visual = None
        return cls(loaded, open_clip.get_tokenizer(model), f"open_clip/{model}/{weights}")

    @torch.no_grad()
    def __call__(self, sentences: Sequence[str]) -> Tensor:
        """Encode N sentences as (N, d)."""
        tokens = self.tokenizer(list(sentences))
        return F.normalize(self.model.encode_text(tokens).float(), dim=-1)
