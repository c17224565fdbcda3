"""What a TarViS model is made of."""

from __future__ import annotations

from dataclasses import dataclass

from segblocks.text import OwnVocabulary, as_vocabulary

FINETUNE_VOCABULARIES = ("cityscapes_vps", "kitti_step", "ovis", "vipseg", "youtube_vis_2021")
PRETRAIN_VOCABULARIES = ("ade20k", "cityscapes", "coco_panoptic", "mapillary")


@dataclass(frozen=True)
class TarViSConfig:
    """The numbers of a TarViS model; defaults are those of the released ResNet-50 checkpoints.

    Args:
        backbone: a name that :class:`~segblocks.nn.TimmBackbone` knows.
        vocabularies: each has one semantic query a class, in this order: known names, or for one's
            own a tuple of a name, the class names and, where some are stuff, the indices of the
            things. The released checkpoints come with ``FINETUNE_VOCABULARIES`` (227 classes) or
            ``PRETRAIN_VOCABULARIES`` (382).
        embed_dim: C.
        num_heads: M, everywhere.
        neck_layers: pairs of deformable and temporal layers.
        neck_hidden_dim: of the neck's feed-forward blocks.
        num_points: points that deformable attention samples a level.
        cells: side of a temporal cell at strides 32, 16 and 8, in pixels of that level; None
            leaves a level out (the paper's text leaves out stride 8, the official code does not),
            no cells at all switch temporal attention off.
        decoder_layers: rounds of cross-attention, self-attention and feed-forward.
        decoder_hidden_dim: of the decoder's feed-forward blocks.
        encoder_layers: refinements of the object encoder.
        encoder_hidden_dim: of its feed-forward blocks.
        background_grid: rows and columns of the object encoder's background queries.
        num_instance_queries: at most so many objects a clip in VIS and VPS.
        queries_per_object: of a mask object, in training and at inference (paper: 4; the official
            code doubles it at inference).
        max_points: pixels that a query of the object encoder keeps, in training and at inference;
            None keeps all, which costs little here. Official: 2048 and 16384, at random.
        drop_path: of a Swin backbone in training.
        size_multiple: frames are padded at the right and the lower border to multiples of it.
        padding_value: of padded pixels, on the scale of 0..255, before normalisation.
        short_side: to which frames are resized at inference where nothing else is asked for; None
            takes that of the official configuration for the task.
        clip_length: frames of a clip at inference, likewise; half of them overlap the next clip.
        pixel_mean: RGB, 0..255.
        pixel_std: RGB, 0..255.

    Raises:
        ValueError: numbers that are not positive, vocabularies that are no tuple of names, or cells
            that are not one a stride.
    """

    backbone: str = "resnet50"
    vocabularies: tuple[str | OwnVocabulary, ...] = FINETUNE_VOCABULARIES
    embed_dim: int = 256
    num_heads: int = 8
    neck_layers: int = 6
    neck_hidden_dim: int = 1024
    num_points: int = 4
    cells: tuple[int | None, ...] = (2, 4, 8)
    decoder_layers: int = 9
    decoder_hidden_dim: int = 2048
    encoder_layers: int = 4
    encoder_hidden_dim: int = 2048
    background_grid: tuple[int, int] = (4, 4)
    num_instance_queries: int = 128
    queries_per_object: tuple[int, int] = (4, 8)
    max_points: tuple[int | None, int | None] = (2048, None)
    drop_path: float = 0.3
    size_multiple: int = 64
    padding_value: float = 128.0
    short_side: int | None = None
    clip_length: int | None = None
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)

    def __post_init__(self) -> None:
        _check_counts(self)
        if isinstance(self.vocabularies, str):
            raise ValueError(
                f"TarViSConfig: vocabularies must be a tuple of names, got {self.vocabularies!r}"
            )
        for vocabulary in self.vocabularies:
            as_vocabulary(vocabulary)
        sides = self.cells if isinstance(self.cells, tuple | list) else None
        if sides is None or len(sides) not in (0, 3) or any(s is not None and s < 1 for s in sides):
            raise ValueError(
                "TarViSConfig: cells must be the sides of a cell at strides 32, 16 and 8, or () "
                f"for no temporal attention, got {self.cells!r}"
            )


def _check_counts(config: TarViSConfig) -> None:
    for name, value in vars(config).items():
        kind = TarViSConfig.__annotations__[name]
        if kind == "int" and (not isinstance(value, int) or value < 1):
            raise ValueError(f"TarViSConfig: {name} must be a whole number from 1, got {value!r}")
