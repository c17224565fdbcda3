"""What all datasets have in common."""

from __future__ import annotations

from typing import Protocol

from segblocks.data.sample import VideoSample
from segblocks.text.vocabulary import Vocabulary


class VideoDataset(Protocol):
    """Videos by index, found once and read lazily; picklable, so that workers can have it.

    Attributes:
        name: of the dataset, as ``open_dataset`` knows it.
        task: what it is made for: "vis", "vps", "vss", "vos", "pet" or "refvos".
        vocabulary: of its classes, or None.
        names: of the videos, in order.
    """

    name: str
    task: str
    vocabulary: Vocabulary | None

    @property
    def names(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> VideoSample: ...
