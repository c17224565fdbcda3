"""What a GvSeg model is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from segblocks.nn.shape_position import Reading
from segblocks.text.vocabulary import Vocabulary, get_vocabulary


@dataclass(frozen=True)
class GvSegConfig:
    """The numbers of a GvSeg model; defaults are the paper's, with ResNet-50.

    Args:
        backbone: a name that :class:`~segblocks.nn.TimmBackbone` knows.
        vocabulary: the classes, a known name or the class names themselves. Hinted objects are of a
            class of their own beside them.
        things: with class names of one's own, the indices of the things; None for all.
        num_queries: at most so many things a clip; hinted objects and what stands for the rest
            share them (100, with Swin-L 200).
        grid_cells: S of the grid that things begin from; None takes two more than needed.
        reading: of the shape-position descriptor, "recommended" or "literal".
        angles: u of the descriptor.
        radii: v of the descriptor.
        anchors: M of the descriptor.
        injection: whether the decoder adds descriptors to the queries.
        min_thing_score: of a query that gets one at inference (the paper does not say).
        class_momentum: of the queries that stand for classes (the paper does not say).
        embed_dim: C.
        num_heads: M, everywhere.
        neck_layers: of deformable attention.
        neck_hidden_dim: of the neck's feed-forward blocks.
        num_points: points that deformable attention samples a level.
        decoder_layers: rounds of attention, injection and feed-forward.
        decoder_hidden_dim: of the decoder's feed-forward blocks.
        query_hidden_dim: of the networks that make queries of features.
        drop_path: of a Swin backbone in training.
        short_side: of frames at inference, in pixels (720 for OVIS, VSPW and VIPSeg; 360 for
            YouTube-VIS and YouTube-VOS with ResNet-50, 480 with Swin).
        size_multiple: frames are padded at the right and the lower border to multiples of it.
        padding_value: of padded pixels on the scale of 0..255; None is the mean colour.
        pixel_mean: RGB, 0..255.
        pixel_std: RGB, 0..255.

    Raises:
        ValueError: numbers that are not positive, or an unknown vocabulary or reading.
    """

    backbone: str = "resnet50"
    vocabulary: str | tuple[str, ...] = "vipseg"
    things: tuple[int, ...] | None = None
    num_queries: int = 100
    grid_cells: int | None = None
    reading: Reading = "recommended"
    angles: int = 36
    radii: int = 12
    anchors: int = 200
    injection: bool = True
    min_thing_score: float = 0.1
    class_momentum: float = 0.99
    embed_dim: int = 256
    num_heads: int = 8
    neck_layers: int = 6
    neck_hidden_dim: int = 1024
    num_points: int = 4
    decoder_layers: int = 9
    decoder_hidden_dim: int = 2048
    query_hidden_dim: int = 1024
    drop_path: float = 0.3
    short_side: int = 720
    size_multiple: int = 32
    padding_value: float | None = None
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            kind = GvSegConfig.__annotations__[name]
            if kind == "int" and (not isinstance(value, int) or value < 1):
                raise ValueError(
                    f"GvSegConfig: {name} must be a whole number from 1, got {value!r}"
                )
        if self.reading not in get_args(Reading):
            raise ValueError(
                f"GvSegConfig: reading must be one of {get_args(Reading)}, got {self.reading!r}"
            )
        for name in ("vocabulary", "things"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        self.resolve()

    def resolve(self) -> Vocabulary:
        """Return the classes, without that of hinted objects."""
        if isinstance(self.vocabulary, str):
            return get_vocabulary(self.vocabulary)
        return Vocabulary("classes", self.vocabulary, self.things)
