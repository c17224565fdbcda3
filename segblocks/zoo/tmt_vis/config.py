"""What a TMT-VIS model is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from segblocks.nn.taxonomy_injection import Aggregation, Norm
from segblocks.text.prompts import get_templates
from segblocks.text.union import VocabularyUnion, unite
from segblocks.text.vocabulary import OwnVocabulary, as_vocabulary
from segblocks.zoo.clip_config import ClipConfig

Injections = Literal["every_layer", "once", "never"]
VOCABULARIES = ("youtube_vis_2019", "ovis", "uvo")


@dataclass(frozen=True, kw_only=True)
class TMTVISConfig(ClipConfig):
    """The numbers of a TMT-VIS model; defaults are the paper's, with ResNet-50.

    The fields that all models have are described at
    :class:`~segblocks.zoo.clip_config.ClipConfig`.

    Args:
        vocabularies: of the datasets that it is trained on: known names, or for one's own a tuple
            of a name, the class names and, where some are stuff, the indices of the things. Their
            classes, joined by what they mean, are those of the classifier.
        text_encoder: of class names, see :func:`~segblocks.text.get_text_encoder`. The paper says
            CLIP; the published code reads vectors of 1024 numbers, which is its RN50.
        text_dim: d, of that encoder.
        templates: sentences for class names, see :func:`~segblocks.text.get_templates`.
        num_selected: classes that a clip's taxonomy has (10).
        compiler_strides: the level that each layer of the compiler attends to; the paper has two
            layers and does not name the levels.
        bottleneck_dim: of the compiler's adapter, lower than ``text_dim``.
        injection: of the taxonomy before every layer (equation 6), before the first alone, or
            never, which leaves Mask2Former-VIS.
        aggregation: how queries take it in (table 7), see :class:`~segblocks.nn.TaxonomyInjection`.
        injection_norm: "post" as in the rest of the decoder, or "pre".
        unseen_temperature: of the softmax by which the score of a class that the classifier does
            not have is put together from those that it has, by the likeness of their names.
        num_queries: at most so many objects a clip (100, with Swin-L 200).
        short_side: of frames at inference, in pixels (360 with ResNet-50, 480 with Swin).

    Raises:
        ValueError: numbers that are not positive, or an unknown vocabulary, template or choice.
    """

    vocabularies: tuple[str | OwnVocabulary, ...] = VOCABULARIES
    text_encoder: str = "open_clip/RN50/openai"
    text_dim: int = 1024
    templates: str | tuple[str, ...] = "photo"
    num_selected: int = 10
    compiler_strides: tuple[int, ...] = (32, 16)
    bottleneck_dim: int = 256
    injection: Injections = "every_layer"
    aggregation: Aggregation = "cross_attention"
    injection_norm: Norm = "post"
    unseen_temperature: float = 0.05
    num_queries: int = 100
    short_side: int = 360

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.injection not in get_args(Injections):
            raise ValueError(
                f"TMTVISConfig: injection must be one of {get_args(Injections)}, "
                f"got {self.injection!r}"
            )
        if self.unseen_temperature <= 0:
            raise ValueError(
                f"TMTVISConfig: unseen_temperature must be positive, got {self.unseen_temperature}"
            )
        if isinstance(self.vocabularies, str):
            raise ValueError(
                f"TMTVISConfig: vocabularies must be a tuple of names, got {self.vocabularies!r}"
            )
        get_templates(self.templates)
        self.union()

    def union(self) -> VocabularyUnion:
        """Join the vocabularies."""
        return unite([as_vocabulary(v) for v in self.vocabularies])
