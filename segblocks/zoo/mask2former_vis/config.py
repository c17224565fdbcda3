"""What a Mask2Former-VIS model is made of."""

from __future__ import annotations

from dataclasses import dataclass

from segblocks.text.vocabulary import Vocabulary, get_vocabulary
from segblocks.zoo.clip_config import ClipConfig


@dataclass(frozen=True, kw_only=True)
class Mask2FormerVISConfig(ClipConfig):
    """The numbers of a Mask2Former-VIS model; defaults are those of the ResNet-50 checkpoints.

    The fields that all models have are described at
    :class:`~segblocks.zoo.clip_config.ClipConfig`.

    Args:
        vocabulary: the classes of the classifier, a known name or the class names themselves.
        num_queries: at most so many objects a clip (official: 100, with Swin-L 200).
        short_side: of frames at inference, in pixels (official: 360 with ResNet-50, 480 with Swin).

    Raises:
        ValueError: numbers that are not positive, or a vocabulary that is not known.
    """

    vocabulary: str | tuple[str, ...] = "youtube_vis_2021"
    num_queries: int = 100
    short_side: int = 360

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.vocabulary, str):
            object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
        self.resolve()

    def resolve(self) -> Vocabulary:
        """Return the classes of the classifier."""
        if isinstance(self.vocabulary, str):
            return get_vocabulary(self.vocabulary)
        return Vocabulary("classes", self.vocabulary)
