"""What one task found in one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segblocks.panoptic import Panoptic, paint_panoptic
from segblocks.text.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class FrameResult:
    """Hold what one task found in one frame.

    Args:
        index: of the frame in the video.
        ids: the O objects, each once.
        masks: (O, H, W), boolean; objects may overlap and may be empty.
        labels: class name of each object as known so far, None where the task has no classes.
        scores: of each object as known so far, or None.
        semantic: (H, W), the index of each pixel's class in the vocabulary, for VPS (stuff only)
            and VSS; negative where there is none.
        vocabulary: of the task, None for tasks without classes.

    Raises:
        ValueError: lengths or shapes that do not agree, or a repeated id.
    """

    index: int
    ids: tuple[int, ...]
    masks: NDArray[np.bool_]
    labels: tuple[str | None, ...]
    scores: tuple[float | None, ...]
    semantic: NDArray[np.int32] | None = None
    vocabulary: Vocabulary | None = None

    def __post_init__(self) -> None:
        num = len(self.ids)
        if self.masks.ndim != 3 or len(self.masks) != num or self.masks.dtype != np.bool_:
            raise ValueError(
                f"FrameResult: masks must be boolean (O, H, W) with O={num} from ids, "
                f"got {self.masks.shape} {self.masks.dtype}"
            )
        if len(self.labels) != num or len(self.scores) != num or len(set(self.ids)) != num:
            raise ValueError(
                f"FrameResult: ids must be distinct, with a label and a score each, "
                f"got {self.ids}, {self.labels}, {self.scores}"
            )
        if self.semantic is not None and self.semantic.shape != self.masks.shape[1:]:
            raise ValueError(
                f"FrameResult: semantic must be {self.masks.shape[1:]} like the masks, "
                f"got {self.semantic.shape}"
            )

    def __repr__(self) -> str:
        semantic = "" if self.semantic is None else ", semantic"
        return f"FrameResult({self.index}, {len(self.ids)} objects{semantic})"

    @property
    def panoptic(self) -> Panoptic:
        """The semantic map with the things painted over it; see :func:`paint_panoptic`.

        Raises:
            ValueError: the task gives no semantic map.
        """
        if self.semantic is None or self.vocabulary is None:
            raise ValueError("panoptic: this frame has no semantic map; only VPS and VSS give one")
        objects = zip(self.ids, self.masks, self.labels, self.scores, strict=True)
        return paint_panoptic(self.semantic, self.vocabulary, objects)
