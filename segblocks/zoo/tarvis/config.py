"""What a TarViS model is made of."""

from __future__ import annotations

from dataclasses import dataclass

from segblocks.text import OwnVocabulary, as_vocabulary
from segblocks.tracking.object_propagation import check_propagation
from segblocks.zoo.clip_config import ClipConfig

FINETUNE_VOCABULARIES = ("cityscapes_vps", "kitti_step", "ovis", "vipseg", "youtube_vis_2021")
PRETRAIN_VOCABULARIES = ("ade20k", "cityscapes", "coco_panoptic", "mapillary")


@dataclass(frozen=True, kw_only=True)
class TarViSConfig(ClipConfig):
    """The numbers of a TarViS model; defaults are those of the released ResNet-50 checkpoints.

    The fields that all models have are described at
    :class:`~segblocks.zoo.clip_config.ClipConfig`.

    Args:
        vocabularies: each has one semantic query a class, in this order: known names, or for one's
            own a tuple of a name, the class names and, where some are stuff, the indices of the
            things. The released checkpoints come with ``FINETUNE_VOCABULARIES`` (227 classes) or
            ``PRETRAIN_VOCABULARIES`` (382).
        cells: side of a temporal cell at strides 32, 16 and 8, in pixels of that level; None
            leaves a level out (the paper's text leaves out stride 8, the official code does not),
            no cells at all switch temporal attention off.
        encoder_layers: refinements of the object encoder.
        encoder_hidden_dim: of its feed-forward blocks.
        background_grid: rows and columns of the object encoder's background queries.
        num_instance_queries: at most so many objects a clip in VIS and VPS.
        queries_per_object: of a mask object, in training and at inference (paper: 4; the official
            code doubles it at inference).
        max_points: pixels that a query of the object encoder keeps, in training and at inference;
            None keeps all, which costs little here. Official: 2048 and 16384, at random.
        size_multiple: frames are padded at the right and the lower border to multiples of it.
        padding_value: of padded pixels, on the scale of 0..255, before normalisation.
        short_side: to which frames are resized at inference where nothing else is asked for; None
            takes that of the official configuration for the task.
        clip_length: frames of a clip at inference, likewise; half of them overlap the next clip.
        propagation: share of the masks of hinted objects that is propagated by looks at inference,
            see :class:`~segblocks.zoo.tarvis.policy.TarViSPolicy`; not in the paper.

    Raises:
        ValueError: numbers that are not positive, vocabularies that are no tuple of names, or cells
            that are not one a stride.
    """

    vocabularies: tuple[str | OwnVocabulary, ...] = FINETUNE_VOCABULARIES
    cells: tuple[int | None, ...] = (2, 4, 8)
    encoder_layers: int = 4
    encoder_hidden_dim: int = 2048
    background_grid: tuple[int, int] = (4, 4)
    num_instance_queries: int = 128
    queries_per_object: tuple[int, int] = (4, 8)
    max_points: tuple[int | None, int | None] = (2048, None)
    size_multiple: int = 64
    padding_value: float = 128.0
    short_side: int | None = None
    clip_length: int | None = None
    propagation: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_propagation("TarViSConfig", self.propagation)
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
