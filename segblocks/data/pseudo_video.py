"""Videos made from still pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as F

from segblocks.data.color_jitter import RandomColors
from segblocks.data.dataset import VideoDataset
from segblocks.data.frame_transform import FrameTransform, RandomPose, fit_sides
from segblocks.data.sample import IGNORE, Frame, Mask, Truth, VideoSample, numbered_names
from segblocks.text.vocabulary import Vocabulary

_ATTEMPTS = 50

_COLORS = RandomColors()

ColorFunction = Callable[[np.random.Generator, Frame], Frame]


class PseudoVideos:
    """Make videos of still pictures, endlessly.

    The colours of a still are jittered and it is mirrored or not, once; then each frame shows it in
    a pose of its own (TarViS, Athar et al., CVPR 2023, and its code). Masks and semantic maps take
    the nearest pixel of the very geometry of the picture, ids are the same in all frames, and what
    lies outside the still is ignored. An annotation with things and stuff serves all tasks: a video
    also has hint frames, and a point on each object.

    ``videos[index]`` takes still ``index % len(videos)``, for any index from 0: later rounds show
    the stills otherwise. The same ``seed`` and ``index`` give the same video everywhere.

    Args:
        stills: the pictures: videos, of which the first annotated frame is taken.
        num_frames: T.
        pose: how the frames show the still.
        colors: how its colours change, or None for not at all.
        flip: chance of mirroring.
        first_resize: (short side, greatest long side) to which large pictures are resized before
            all else, as TarViS does with Mapillary, (800, 1333); None leaves them.
        min_objects: of how many objects, crowds aside, something must be seen; other stills are
            taken in place of those that show fewer.
        seed: of all chance.

    Raises:
        ValueError: no stills, or no frame.

    Example:
        >>> from segblocks.data.sample import ObjectInfo
        >>> frame, mask = np.zeros((40, 60, 3), np.uint8), np.ones((1, 40, 60), bool)
        >>> still = VideoSample("still", 1, (40, 60), lambda t: frame, lambda t: Truth((1,), mask),
        ...                     annotated=(0,), objects=(ObjectInfo(1),))
        >>> class Stills(list):
        ...     name, task, vocabulary, names = "stills", "vis", None, ("still",)
        >>> video = PseudoVideos(Stills([still]), pose=RandomPose((32, 32)))[5]
        >>> video.read_truth(2).masks.shape
        (1, 32, 32)
    """

    def __init__(
        self,
        stills: VideoDataset,
        *,
        num_frames: int = 3,
        pose: RandomPose | None = None,
        colors: ColorFunction | None = _COLORS,
        flip: float = 0.5,
        first_resize: tuple[int, int] | None = None,
        min_objects: int = 1,
        seed: int = 0,
    ) -> None:
        if len(stills) == 0 or num_frames < 1:
            raise ValueError(
                "PseudoVideos: there must be at least one still and one frame, "
                f"got {len(stills)} and {num_frames}"
            )
        self.stills = stills
        self.num_frames = num_frames
        self.pose = RandomPose() if pose is None else pose
        self.colors = colors
        self.flip = flip
        self.first_resize = first_resize
        self.min_objects = min_objects
        self.seed = seed
        self.name = f"pseudo_{stills.name}"
        self.task = stills.task
        self.vocabulary: Vocabulary | None = stills.vocabulary
        self.names: tuple[str, ...] = stills.names

    def __len__(self) -> int:
        return len(self.stills)

    def __getitem__(self, index: int) -> VideoSample:
        """Return video ``index``; there is one for every index from 0.

        Raises:
            IndexError: a negative index.
            ValueError: no still with enough objects was found.
        """
        if index < 0:
            raise IndexError(f"{self.name}: the index must be 0 or more, got {index}")
        rng = np.random.default_rng([self.seed, index])
        still = index % len(self.stills)
        for _ in range(_ATTEMPTS):
            sample = self.stills[still]
            if sample.annotated:
                video = self._make(rng, sample, index)
                if sum(not info.is_crowd for info in video.objects) >= self.min_objects:
                    return video
            still = int(rng.integers(len(self.stills)))
        raise ValueError(
            f"{self.name}: {_ATTEMPTS} stills in a row showed fewer than {self.min_objects} "
            "objects; lower min_objects"
        )

    def __iter__(self) -> None:
        raise TypeError(f"{self.name} never ends: take videos[index], or a sampler")

    def _make(self, rng: np.random.Generator, still: VideoSample, index: int) -> VideoSample:
        t = still.annotated[0]
        picture, truth = still.read_frame(t), still.read_truth(t)
        if self.first_resize is not None:
            size = fit_sides(still.size, *self.first_resize)
            if min(size) < min(still.size):
                picture, truth = _shrink(picture, truth, size)
        if self.colors is not None:
            picture = self.colors(rng, picture)
        if rng.random() < self.flip:
            picture, truth = _mirror(picture, truth)
        size = (picture.shape[0], picture.shape[1])
        poses = self.pose(rng, size, self.num_frames)
        clip = PseudoClip(picture, truth, poses, tuple(p.source_pixels(size) for p in poses))
        visible = clip.find_visible()
        first = {
            identity: int(np.argmax(shown))
            for identity, shown in zip(truth.ids, visible.T, strict=True)
            if shown.any()
        }
        objects = tuple(info for info in still.objects if info.id in first)
        hints = {info.id: first[info.id] for info in objects if not info.is_crowd}
        return VideoSample(
            f"{still.name}_{index}",
            self.num_frames,
            self.pose.size,
            clip.read_frame,
            clip.read_truth,
            tuple(range(self.num_frames)),
            objects,
            still.vocabulary,
            points=clip.draw_points(rng, hints),
            hint_frames=hints,
            frame_names=numbered_names(self.num_frames),
        )


@dataclass(frozen=True)
class PseudoClip:
    """A still and the poses in which frames show it.

    Args:
        picture: (h, w, 3) uint8.
        truth: its annotation, (O, h, w) and so on.
        poses: one a frame.
        sources: of each frame, which pixel of the picture each of its pixels shows, -1 for none.
    """

    picture: Frame
    truth: Truth
    poses: tuple[FrameTransform, ...]
    sources: tuple[NDArray[np.int32], ...]

    def read_frame(self, t: int) -> Frame:
        """Return frame ``t``."""
        return self.poses[t].apply(self.picture)

    def read_truth(self, t: int) -> Truth:
        """Return the annotation of frame ``t``."""
        source = self.sources[t]
        outside = source < 0
        masks = _sample(self.truth.masks, source) & ~outside
        shown = np.flatnonzero(masks.reshape(len(masks), source.size).any(axis=1))
        semantic, ignore = None, outside
        if self.truth.semantic is not None:
            semantic = np.where(outside, np.int16(IGNORE), self.truth.semantic.ravel()[source])
            ignore = semantic == IGNORE
        if self.truth.ignore is not None:
            ignore = ignore | self.truth.ignore.ravel()[source]
        ids = tuple(self.truth.ids[i] for i in shown.tolist())
        return Truth(ids, masks[shown], semantic, ignore)

    def find_visible(self) -> NDArray[np.bool_]:
        """Return (T, O): whether frame t shows object o."""
        flat = self.truth.masks.reshape(len(self.truth.ids), self.picture[..., 0].size)
        visible = []
        for source in self.sources:
            used = np.zeros(flat.shape[1], np.bool_)
            used[source[source >= 0]] = True
            visible.append((flat & used).any(axis=1))
        return np.array(visible)

    def draw_points(
        self, rng: np.random.Generator, hint_frames: dict[int, int]
    ) -> dict[int, dict[int, tuple[float, float]]]:
        """Draw a pixel (x, y) of each object in its hint frame; by frame and object."""
        points: dict[int, dict[int, tuple[float, float]]] = {}
        flat = dict(zip(self.truth.ids, self.truth.masks, strict=True))
        for identity, t in hint_frames.items():
            source = self.sources[t]
            pixels = np.flatnonzero((source >= 0) & flat[identity].ravel()[source])
            y, x = divmod(int(rng.choice(pixels)), source.shape[1])
            points.setdefault(t, {})[identity] = (float(x), float(y))
        return points


def _mirror(picture: Frame, truth: Truth) -> tuple[Frame, Truth]:
    semantic = None if truth.semantic is None else np.fliplr(truth.semantic).copy()
    ignore = None if truth.ignore is None else np.fliplr(truth.ignore).copy()
    # Copies, since the mirrored views would be copied whenever they are sampled.
    masks = truth.masks[:, :, ::-1].copy()
    return np.fliplr(picture).copy(), Truth(truth.ids, masks, semantic, ignore)


def _shrink(picture: Frame, truth: Truth, size: tuple[int, int]) -> tuple[Frame, Truth]:
    """Resize a picture, and its annotation by the nearest pixel."""
    tensor = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)
    small = F.resize(tensor, list(size), antialias=True).permute(1, 2, 0).numpy()
    still = FrameTransform(0.0, 1.0, 0.0, size, (0, 0), size)
    source = still.source_pixels((picture.shape[0], picture.shape[1]))
    masks = _sample(truth.masks, source)
    semantic = None if truth.semantic is None else truth.semantic.ravel()[source]
    ignore = None if truth.ignore is None else truth.ignore.ravel()[source]
    return np.ascontiguousarray(small), Truth(truth.ids, masks, semantic, ignore)


def _sample(masks: Mask, source: NDArray[np.int32]) -> Mask:
    """Take pixels of all masks by their number, row * w + column."""
    count, height, width = masks.shape
    return masks.reshape(count, height * width)[:, source]
