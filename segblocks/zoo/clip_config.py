"""The numbers that the models of the zoo share."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """What :class:`~segblocks.zoo.clip_model.ClipModel` and a decoder over its clips are made of.

    Defaults are Mask2Former's with ResNet-50. The config of a system derives from it.

    Args:
        backbone: a name that :class:`~segblocks.nn.TimmBackbone` knows.
        embed_dim: C.
        num_heads: M, everywhere.
        neck_layers: of deformable attention.
        neck_hidden_dim: of the neck's feed-forward blocks.
        num_points: points that deformable attention samples a level.
        decoder_layers: rounds of the decoder.
        decoder_hidden_dim: of the decoder's feed-forward blocks.
        drop_path: of a Swin backbone in training.
        size_multiple: frames are padded at the right and the lower border to multiples of it.
        padding_value: of padded pixels on the scale of 0..255, before normalisation; None is the
            mean colour, as in the official code of Mask2Former, which pads with 0 after it.
        pixel_mean: RGB, 0..255.
        pixel_std: RGB, 0..255.

    Raises:
        ValueError: a number that has to be whole and positive, and is not.
    """

    backbone: str = "resnet50"
    embed_dim: int = 256
    num_heads: int = 8
    neck_layers: int = 6
    neck_hidden_dim: int = 1024
    num_points: int = 4
    decoder_layers: int = 9
    decoder_hidden_dim: int = 2048
    drop_path: float = 0.3
    size_multiple: int = 32
    padding_value: float | None = None
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            # Annotations are text here and in all configs.
            if field.type == "int" and (not isinstance(value, int) or value < 1):
                raise ValueError(
                    f"{type(self).__name__}: {field.name} must be a whole number from 1, "
                    f"got {value!r}"
                )
