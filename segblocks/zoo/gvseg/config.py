"""What a GvSeg model is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from segblocks.nn.shape_position import Reading
from segblocks.text.vocabulary import Vocabulary, get_vocabulary
from segblocks.tracking.object_propagation import check_propagation
from segblocks.zoo.clip_config import ClipConfig


@dataclass(frozen=True, kw_only=True)
class GvSegConfig(ClipConfig):
    """The numbers of a GvSeg model; defaults are the paper's, with ResNet-50.

    The fields that all models have are described at
    :class:`~segblocks.zoo.clip_config.ClipConfig`.

    Args:
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
        query_hidden_dim: of the networks that make queries of features.
        short_side: of frames at inference, in pixels (720 for OVIS, VSPW and VIPSeg; 360 for
            YouTube-VIS and YouTube-VOS with ResNet-50, 480 with Swin).
        propagation: share of the masks of hinted objects that is propagated by looks at inference,
            see :class:`~segblocks.zoo.gvseg.GvSegPolicy`; not in the paper.

    Raises:
        ValueError: numbers that are not positive, or an unknown vocabulary or reading.
    """

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
    query_hidden_dim: int = 1024
    short_side: int = 720
    propagation: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_propagation("GvSegConfig", self.propagation)
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
