"""From what is shown or said to queries, and the tokens that they attend to."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segblocks.nn import DecoderContext, LanguageToImageAttention, Memory
from segblocks.tracking.prompt_memory import PromptMemory
from segblocks.zoo.clip_model import STRIDES
from segblocks.zoo.univs.config import UniVSConfig

PROMPT_STRIDE = 8
PROMPT_TYPES = ("visual", "category", "grounding")


class Prompts(NamedTuple):
    """The queries of prompts of one kind, (B, Q, T, C), and the tokens that they attend to."""

    content: Tensor
    position: Tensor
    memory: Memory


class PromptEncoder(nn.Module):
    """Make the queries of prompts: of objects that are shown, and of classes and expressions.

    Args:
        config: the numbers.
    """

    no_decay_names = ("types",)

    def __init__(self, config: UniVSConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.mask_blank = config.mask_blank
        self.types = nn.ParameterDict({kind: torch.randn(1, dim) for kind in PROMPT_TYPES})
        self.text_projection = nn.Sequential(
            nn.LayerNorm(config.text_dim), nn.Linear(config.text_dim, dim)
        )
        self.language_to_image = (
            LanguageToImageAttention(dim, config.num_heads) if config.language_to_image else None
        )

    def visual(self, memory: PromptMemory, start: int, num_frames: int) -> Prompts:
        """Make the queries of the objects in a memory: the mean of their tokens in each frame.

        Args:
            memory: that has the clip's frames and at least one object.
            start: index in the video of the clip's first frame.
            num_frames: T.
        """
        here, everything = memory.clip(start, num_frames), memory.tokens()
        content, position = (_mean_of_filled(tokens) for tokens in here)
        shown = (everything.features != 0).any(dim=-1)[None] if self.mask_blank else None
        return Prompts(
            (content + self.types["visual"])[None],
            position[None],
            Memory(everything.features[None], everything.positions[None], shown),
        )

    def spoken(
        self, features: Tensor, context: DecoderContext, kind: str, *, known: Tensor | None = None
    ) -> Prompts:
        """Make the queries of prompts in words.

        Args:
            features: (N, L, text_dim) of N prompts, the first of the L of the whole, the others of
                its words.
            context: of the clip.
            kind: "category" or "grounding".
            known: (N, L - 1) bool, the words that a prompt has; None for all.
        """
        batch, frames = context.levels[STRIDES[0]].tokens.shape[:2]
        given = features.to(self.types[kind])
        tokens = self.text_projection(given).flatten(0, 1)[None].expand(batch, -1, -1)
        if self.language_to_image is not None:
            levels = [context.levels[stride] for stride in STRIDES]
            tokens = self.language_to_image(tokens, levels)
        else:
            tokens = tokens[:, :, None].expand(-1, -1, frames, -1)
        tokens = tokens.unflatten(1, features.shape[:2]).transpose(2, 3)
        whole = tokens[..., 0, :]
        mask = None
        if known is not None:
            there = F.pad(known.to(tokens.device), (1, 0), value=True)
            mask = there[None].expand(batch, -1, -1)
        return Prompts(whole + self.types[kind], whole, Memory(tokens, mask=mask))


def _mean_of_filled(tokens: Tensor) -> Tensor:
    """The mean (O, T, C) of those of R tokens that are not 0."""
    filled = (tokens != 0).any(dim=-1).sum(dim=2, keepdim=True)
    return tokens.sum(dim=2) / filled.clamp(min=1)
