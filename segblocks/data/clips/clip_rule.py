"""Which frames and which objects of a video make a training clip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from segblocks.data.sample import Truth, VideoSample

FrameOrder = Literal["around", "after", "consecutive"]

CATEGORY_TASKS: tuple[str, ...] = ("vis", "vps", "vss")
HINT_TASKS: tuple[str, ...] = ("vos", "pvos", "pet", "evs")
CLIP_TASKS: tuple[str, ...] = (*CATEGORY_TASKS, *HINT_TASKS, "refvos")

# How many frames of a video are looked at for one that shows an object.
_REFERENCES = 8


@dataclass(frozen=True)
class ClipChoice:
    """Say what a rule has taken from a video.

    Args:
        frames: of the video, those of the clip ascending, then others ascending.
        reference: place among them of the frame by which the clip was chosen; hints lie there.
        truths: the annotation of each frame.
        targets: for each target, the ids of the objects that it unites; one but for sentences.
        sentences: of the targets, for RefVOS.
    """

    frames: tuple[int, ...]
    reference: int
    truths: tuple[Truth, ...]
    targets: tuple[tuple[int, ...], ...]
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ClipRule:
    """Choose the frames, objects and hints of a training clip.

    A reference frame that shows an object is drawn, then the others near it. The defaults are those
    with which TarViS is finetuned on YouTube-VIS, OVIS and DAVIS (Athar et al., CVPR 2023, and its
    code); it takes a reach of 6 for KITTI-STEP, 15 for VIPSeg, 9 and a least area of 100 for BURST,
    consecutive frames for Cityscapes-VPS, and at most 8 objects from stills.

    Args:
        num_frames: T.
        reach: greatest distance of a frame from the reference, counted in annotated frames.
        order: "around": the others lie on either side of the reference; "after": behind it;
            "consecutive": they are the next annotated frames. None takes "after" for hints, whose
            frame then comes first, else "around".
        max_objects: of a task with hints or sentences, or None for all that the reference shows;
            the others take what the clip shows.
        vary_objects: draw the number of hinted objects evenly up to ``max_objects``.
        min_area: pixels, of the frame as stored; an object with fewer counts as absent there.
        point_share: chance that a hinted object of VOS or EVS is given by a point.
        box_share: chance that one of EVS is given by a box; all others have masks.
        further: frames from anywhere else in the video that come after those of the clip, fewer
            where there are no more: GvSeg compares objects over whole videos.

    Raises:
        ValueError: a number out of range, or an unknown order.

    Example:
        >>> from segblocks.data.synthetic import SyntheticWorld, world_config
        >>> video = SyntheticWorld(world_config("tiny"))[0]
        >>> choice = ClipRule(num_frames=2).choose(np.random.default_rng(0), video, "vos")
        >>> len(choice.frames), choice.reference
        (2, 0)
    """

    num_frames: int = 3
    reach: int = 22
    order: FrameOrder | None = None
    max_objects: int | None = 4
    vary_objects: bool = False
    min_area: int = 1
    point_share: float = 0.3
    box_share: float = 0.0
    further: int = 0

    def __post_init__(self) -> None:
        if self.num_frames < 1 or self.reach < self.num_frames - 1:
            raise ValueError(
                "ClipRule: num_frames must be at least 1 and reach at least num_frames - 1, "
                f"got {self.num_frames} and {self.reach}"
            )
        if self.order not in (None, "around", "after", "consecutive"):
            raise ValueError(
                "ClipRule: order must be 'around', 'after', 'consecutive' or None, "
                f"got {self.order!r}"
            )
        if self.further < 0:
            raise ValueError(f"ClipRule: further must be at least 0, got {self.further}")
        if self.min_area < 1 or (self.max_objects is not None and self.max_objects < 1):
            raise ValueError(
                "ClipRule: min_area and max_objects must be at least 1, "
                f"got {self.min_area} and {self.max_objects}"
            )
        shares = (self.point_share, self.box_share)
        if min(shares) < 0 or sum(shares) > 1:
            raise ValueError(
                "ClipRule: point_share and box_share must be at least 0 and at most 1 together, "
                f"got {self.point_share} and {self.box_share}"
            )

    def choose(self, rng: np.random.Generator, sample: VideoSample, task: str) -> ClipChoice | None:
        """Choose a clip of a video.

        Args:
            rng: the source of chance.
            sample: the video.
            task: one of ``CLIP_TASKS``.

        Returns:
            What to take, or None where the video has too few annotated frames, or none of the
            frames that were looked at shows an object for the task.
        """
        for reference, others in self._references(rng, sample, task):
            truth = sample.read_truth(sample.annotated[reference])
            targets, sentences = self._targets(rng, sample, truth, task)
            if not targets and task != "vss":
                continue
            count = self.num_frames - 1
            if len(others) > count:
                others = rng.choice(others, count, replace=False)
            places = sorted({reference, *map(int, others)})
            places += self._further(rng, set(places), len(sample.annotated))
            frames = tuple(sample.annotated[place] for place in places)
            truths = tuple(
                truth if place == reference else sample.read_truth(frame)
                for place, frame in zip(places, frames, strict=True)
            )
            if task in ("vis", "vps"):
                seen = {i for each in truths for i in self._shown(each)}
                targets = tuple((i,) for i in sorted(seen & wanted_objects(sample, task)))
            return ClipChoice(frames, places.index(reference), truths, targets, sentences)
        return None

    def _further(self, rng: np.random.Generator, taken: set[int], total: int) -> list[int]:
        """Draw places among the annotated frames that the clip does not take."""
        if not self.further:
            return []
        rest = [place for place in range(total) if place not in taken]
        return sorted(rng.permutation(rest)[: self.further].tolist())

    def _references(
        self, rng: np.random.Generator, sample: VideoSample, task: str
    ) -> Iterator[tuple[int, list[int]]]:
        """Places among the annotated frames, by chance, each with those that may go with it."""
        order = self.order or ("after" if task in HINT_TASKS else "around")
        total = len(sample.annotated)
        reach = self.num_frames - 1 if order == "consecutive" else self.reach
        first = -reach if order == "around" else 0
        found = 0
        for reference in rng.permutation(total).tolist():
            near = range(max(reference + first, 0), min(reference + reach + 1, total))
            if len(near) < self.num_frames:
                continue
            yield reference, [place for place in near if place != reference]
            found += 1
            if found == _REFERENCES:
                return

    def _targets(
        self, rng: np.random.Generator, sample: VideoSample, truth: Truth, task: str
    ) -> tuple[tuple[tuple[int, ...], ...], tuple[str, ...]]:
        """Draw the targets that the reference frame shows, with their sentences."""
        if task == "vss":
            return (), ()
        shown = set(self._shown(truth)) & wanted_objects(sample, task)
        if task == "refvos":
            meant = [e for e in sample.expressions if shown & set(e.object_ids)]
            drawn = [meant[i] for i in self._draw(rng, len(meant))]
            return tuple(e.object_ids for e in drawn), tuple(e.text for e in drawn)
        ids = sorted(shown)
        chosen = self._draw(rng, len(ids)) if task in HINT_TASKS else range(len(ids))
        return tuple((ids[i],) for i in chosen), ()

    def _draw(self, rng: np.random.Generator, count: int) -> list[int]:
        most = count if self.max_objects is None else min(count, self.max_objects)
        if self.vary_objects and most:
            most = int(rng.integers(1, most + 1))
        return rng.permutation(count)[:most].tolist()

    def _shown(self, truth: Truth) -> list[int]:
        areas = truth.masks.sum(axis=(1, 2))
        return [i for i, area in zip(truth.ids, areas, strict=True) if area >= self.min_area]


def wanted_objects(sample: VideoSample, task: str) -> set[int]:
    """Return the ids of the objects that a task may ask for; crowds are none.

    Raises:
        ValueError: an object has no class, which VIS and VPS need.
    """
    wanted = {info.id for info in sample.objects if not info.is_crowd}
    if task not in ("vis", "vps"):
        return wanted
    things = set()
    for info in sample.objects:
        if sample.vocabulary is None or info.label is None:
            raise ValueError(
                f"video {sample.name!r}: object {info.id} has no class, which the task {task!r} "
                "needs"
            )
        if sample.vocabulary.is_thing(info.label):
            things.add(info.id)
    return wanted & things
