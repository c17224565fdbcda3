"""Where the videos of recipes come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from segblocks.data import open_dataset
from segblocks.data.clips.composites import CompositeVideos
from segblocks.data.dataset import VideoDataset
from segblocks.data.frame_transform import RandomPose
from segblocks.data.pseudo_video import PseudoVideos
from segblocks.data.synthetic import SyntheticWorld, world_config
from segblocks.training.recipes.stills import open_stills

_ENDLESS = 1_000_000


@dataclass(frozen=True)
class DatasetVideos:
    """Open a dataset that ``open_dataset`` knows.

    Args:
        dataset: its name; with another one, another dataset takes the place of the recipe's.
        split: which part.
        options: of its reader.
    """

    dataset: str
    split: str = "train"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, root: Path | None) -> VideoDataset:
        """Open the dataset in a folder."""
        assert root is not None
        return open_dataset(self.dataset, root, split=self.split, **self.options)


@dataclass(frozen=True)
class StillsFolder:
    """Open a folder of stills in COCO's panoptic layout, see :func:`open_stills`.

    Args:
        part: "coco" for pictures whose every pixel is annotated in COCO's classes, "parts" for all
            others, whose masks have no classes, "people" for the whole persons of the latter.
    """

    part: Literal["coco", "parts", "people"]

    def __call__(self, root: Path | None) -> VideoDataset:
        """Open the folder."""
        assert root is not None
        return open_stills(root, self.part)


@dataclass(frozen=True)
class StillVideos:
    """Make videos of a dataset of still pictures, see :class:`PseudoVideos`.

    Args:
        stills: opens the pictures.
        size: (H, W) of the frames.
        num_frames: of a video.
        same_crop: cut the same window in all frames.
        first_resize: (short side, greatest long side) of large pictures, before all else.
        scale: least and greatest factor.
        angle: greatest turn to either side, in degrees.
        shear: greatest shear to either side, in degrees.
        seed: of all chance.
    """

    stills: Callable[[Path | None], VideoDataset]
    size: tuple[int, int] = (512, 512)
    num_frames: int = 3
    same_crop: bool = False
    first_resize: tuple[int, int] | None = None
    scale: tuple[float, float] = (0.9, 1.1)
    angle: float = 20.0
    shear: float = 10.0
    seed: int = 0

    def __call__(self, root: Path | None) -> VideoDataset:
        """Open the pictures in a folder."""
        pose = RandomPose(
            self.size,
            scale=self.scale,
            angle=self.angle,
            shear=self.shear,
            same_crop=self.same_crop,
        )
        return PseudoVideos(
            self.stills(root),
            num_frames=self.num_frames,
            pose=pose,
            first_resize=self.first_resize,
            seed=self.seed,
        )


@dataclass(frozen=True)
class CompositesOfStills:
    """Make videos of objects that are cut out of stills, see :class:`CompositeVideos`.

    Args:
        stills: opens the pictures that objects are cut from.
        backgrounds: opens those that they are pasted onto; None takes the same.
        size: (H, W) of the frames.
        num_frames: of a video.
        num_objects: least and most.
        object_size: least and greatest longer side, in shorter sides of the frame.
        travel: greatest way of an object, in shorter sides of the frame.
        occlusion: chance that an object is put near another.
        twins: chance that an object looks like another.
        keep_background: keep the annotation behind the objects, and so the classes.
        seed: of all chance.
    """

    stills: Callable[[Path | None], VideoDataset]
    backgrounds: Callable[[Path | None], VideoDataset] | None = None
    size: tuple[int, int] = (512, 512)
    num_frames: int = 3
    num_objects: tuple[int, int] = (2, 5)
    object_size: tuple[float, float] = (0.2, 0.7)
    travel: float = 0.5
    occlusion: float = 0.4
    twins: float = 0.0
    keep_background: bool = False
    seed: int = 0

    def __call__(self, root: Path | None) -> VideoDataset:
        """Open the pictures in a folder."""
        return CompositeVideos(
            self.stills(root),
            None if self.backgrounds is None else self.backgrounds(root),
            num_frames=self.num_frames,
            size=self.size,
            num_objects=self.num_objects,
            object_size=self.object_size,
            travel=self.travel,
            occlusion=self.occlusion,
            twins=self.twins,
            keep_background=self.keep_background,
            seed=self.seed,
        )


@dataclass(frozen=True)
class WorldVideos:
    """Make videos of the synthetic world.

    Args:
        preset: of ``world_config``.
        size: (H, W) of the frames; None takes the preset's.
        num_frames: of a video; None takes the preset's.
        length: how many videos there are.
        seed: of all chance.
        changes: of further fields of ``WorldConfig``.
    """

    preset: str = "default"
    size: tuple[int, int] | None = None
    num_frames: int | None = None
    length: int = _ENDLESS
    seed: int = 0
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, root: Path | None) -> VideoDataset:
        """Make the world; it needs no folder."""
        given = {"size": self.size, "num_frames": self.num_frames}
        changes = {name: value for name, value in given.items() if value is not None}
        config = world_config(self.preset, **changes, **self.changes)
        world: Any = SyntheticWorld(config, self.seed, length=self.length)
        return world
