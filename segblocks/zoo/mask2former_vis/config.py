"""What a Mask2Former-VIS model is made of."""

from __future__ import annotations

from dataclasses import dataclass

from segblocks.text.vocabulary import Vocabulary, get_vocabulary


@dataclass(frozen=True)
class Mask2FormerVISConfig:
    """The numbers of a Mask2Former-VIS model; defaults are those of the ResNet-50 checkpoints.

    Args:
        backbone: a name that :class:`~segblocks.nn.TimmBackbone` knows.
        vocabulary: the classes of the classifier, a known name or the class names themselves.
        num_queries: at most so many objects a clip (official: 100, with Swin-L 200).
        embed_dim: C.
        num_heads: M, everywhere.
        neck_layers: of deformable attention.
        neck_hidden_dim: of the neck's feed-forward blocks.
        num_points: points that deformable attention samples a level.
        decoder_layers: rounds of cross-attention, self-attention and feed-forward.
        decoder_hidden_dim: of the decoder's feed-forward blocks.
        drop_path: of a Swin backbone in training.
        short_side: of frames at inference, in pixels (official: 360 with ResNet-50, 480 with Swin).
        size_multiple: frames are padded at the right and the lower border to multiples of it.
        padding_value: of padded pixels on the scale of 0..255; None is the mean colour, as in the
            official code, which pads with 0 after normalisation.
        pixel_mean: RGB, 0..255.
        pixel_std: RGB, 0..255.

    Raises:
        ValueError: numbers that are not positive, or a vocabulary that is not known.
    """

    backbone: str = "resnet50"
    vocabulary: str | tuple[str, ...] = "youtube_vis_2021"
    num_queries: int = 100
    embed_dim: int = 256
    num_heads: int = 8
    neck_layers: int = 6
    neck_hidden_dim: int = 1024
    num_points: int = 4
    decoder_layers: int = 9
    decoder_hidden_dim: int = 2048
    drop_path: float = 0.3
    short_side: int = 360
    size_multiple: int = 32
    padding_value: float | None = None
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            kind = Mask2FormerVISConfig.__annotations__[name]
            if kind == "int" and (not isinstance(value, int) or value < 1):
                raise ValueError(
                    f"Mask2FormerVISConfig: {name} must be a whole number from 1, got {value!r}"
                )
        if not isinstance(self.vocabulary, str):
            object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
        self.resolve()

    def resolve(self) -> Vocabulary:
        """Return the classes of the classifier."""
        if isinstance(self.vocabulary, str):
            return get_vocabulary(self.vocabulary)
        return Vocabulary("classes", self.vocabulary)
