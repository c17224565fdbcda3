"""Videos of cut-out objects that move over other stills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segblocks.data.clips.clip_arrays import ClipArrays
from segblocks.data.clips.clip_transform import resize_clip
from segblocks.data.clips.cutouts import Cutout, Layer, cut_objects, make_layer
from segblocks.data.clips.linear_colors import LinearColors
from segblocks.data.clips.paste import paste_layers
from segblocks.data.clips.paths import (
    CameraPath,
    ObjectPath,
    draw_camera_path,
    draw_object_path,
)
from segblocks.data.dataset import VideoDataset
from segblocks.data.pseudo_video import ColorFunction
from segblocks.data.sample import IGNORE, Frame, ObjectInfo, Truth, VideoSample, numbered_names
from segblocks.text.vocabulary import Vocabulary

_ATTEMPTS = 50

# How many stills give objects besides the first, where that has too few.
_MORE_STILLS = 2

_COLORS = LinearColors()


class CompositeVideos:
    """Make videos of objects cut out of stills, endlessly.

    Things of a still, and of up to two more where it has too few, are pasted onto another and move
    over it, each on a bent path of its own, turning and changing size; they cover each other and
    may leave. The still behind is shown by a window that pans and zooms. Masks are what of each
    object is seen, exactly: the pixels that it covers by half or more and no later one does.

    ``videos[index]`` takes objects of still ``index % len(videos)``, for any index from 0. The same
    ``seed`` and ``index`` give the same video everywhere. All frames of a video are painted when it
    is asked for, so that it should have few.

    Args:
        stills: where objects are cut from: videos, of which the first annotated frame is taken.
        backgrounds: what they are pasted onto; None takes the same stills.
        num_frames: T.
        size: (H, W) of the frames.
        num_objects: least and most objects that are pasted; fewer where the stills have fewer.
        object_size: least and greatest longer side of an object's box, in shorter sides of the
            frame. Small cut-outs are enlarged at most twofold.
        min_area: share of its still that an object must fill.
        travel: greatest way of an object over the video, in shorter sides of the frame.
        turn: greatest turn of an object over the video, in degrees, and greatest tilt.
        scale_change: greatest factor by which an object grows or shrinks over the video.
        occlusion: chance that an object is put near the one before it.
        twins: chance that an object looks like the one before it, so that where they are, and how
            they move, is all that tells them apart.
        zoom: least and greatest window of the background, as a share of the largest that fits.
        pan: greatest part of its free way that the window goes over the video.
        colors: how the colours of each cut-out change, or None for not at all.
        keep_background: keep the annotation of the still behind, which tasks by class need, since
            its objects would count as background else. Without it the videos have no classes.
        seed: of all chance.

    Raises:
        ValueError: no stills or frame, a range that is not ascending or positive, or stills and
            backgrounds of different classes.

    Example:
        >>> from segblocks.data.synthetic import SyntheticWorld, world_config
        >>> stills = SyntheticWorld(world_config("tiny", num_frames=1), length=5)
        >>> video = CompositeVideos(stills, size=(32, 48))[7]
        >>> video.read_frame(2).shape, video.read_truth(0).masks.shape[1:]
        ((32, 48, 3), (32, 48))
    """

    def __init__(
        self,
        stills: VideoDataset,
        backgrounds: VideoDataset | None = None,
        *,
        num_frames: int = 3,
        size: tuple[int, int] = (512, 512),
        num_objects: tuple[int, int] = (2, 5),
        object_size: tuple[float, float] = (0.2, 0.7),
        min_area: float = 0.003,
        travel: float = 0.5,
        turn: float = 20.0,
        scale_change: float = 1.4,
        occlusion: float = 0.4,
        twins: float = 0.0,
        zoom: tuple[float, float] = (0.6, 1.0),
        pan: float = 0.3,
        colors: ColorFunction | None = _COLORS,
        keep_background: bool = False,
        seed: int = 0,
    ) -> None:
        backgrounds = stills if backgrounds is None else backgrounds
        if min(len(stills), len(backgrounds), num_frames, *size) < 1:
            raise ValueError(
                "CompositeVideos: stills, backgrounds, num_frames and size must be at least 1, "
                f"got {len(stills)}, {len(backgrounds)}, {num_frames} and {size}"
            )
        for name, (least, most) in (
            ("num_objects", num_objects),
            ("object_size", object_size),
            ("zoom", zoom),
        ):
            if not 0 < least <= most:
                raise ValueError(
                    f"CompositeVideos: {name} must be positive and ascending, got {(least, most)}"
                )
        if zoom[1] > 1 or scale_change < 1 or num_objects[1] > 255:
            raise ValueError(
                "CompositeVideos: zoom must be at most 1, scale_change at least 1 and num_objects "
                f"at most 255, got {zoom}, {scale_change} and {num_objects}"
            )
        if not 0 <= twins <= 1:
            raise ValueError(f"CompositeVideos: twins must lie in [0, 1], got {twins}")
        if keep_background and stills.vocabulary != backgrounds.vocabulary:
            raise ValueError(
                "CompositeVideos: stills and backgrounds must have the same classes where the "
                f"background's are kept, got {stills.vocabulary} and {backgrounds.vocabulary}"
            )
        self.stills, self.backgrounds = stills, backgrounds
        self.num_frames, self.size = num_frames, size
        self.num_objects, self.object_size, self.min_area = num_objects, object_size, min_area
        self.travel, self.turn, self.scale_change = travel, turn, scale_change
        self.occlusion, self.twins, self.zoom, self.pan = occlusion, twins, zoom, pan
        self.colors, self.keep_background, self.seed = colors, keep_background, seed
        self.name = f"composite_{stills.name}"
        self.task = stills.task if keep_background else "vos"
        self.vocabulary: Vocabulary | None = stills.vocabulary if keep_background else None
        self.names: tuple[str, ...] = stills.names

    def __len__(self) -> int:
        return len(self.stills)

    def __getitem__(self, index: int) -> VideoSample:
        """Return video ``index``; there is one for every index from 0.

        Raises:
            IndexError: a negative index.
            ValueError: no still with an object was found.
        """
        if index < 0:
            raise IndexError(f"{self.name}: the index must be 0 or more, got {index}")
        rng = np.random.default_rng([self.seed, index])
        still = index % len(self.stills)
        for _ in range(_ATTEMPTS):
            sample = self.stills[still]
            cutouts = cut_objects(sample, self.min_area)
            if cutouts:
                return self._make(rng, f"{sample.name}_{index}", cutouts)
            still = int(rng.integers(len(self.stills)))
        raise ValueError(
            f"{self.name}: {_ATTEMPTS} stills in a row had no object that fills "
            f"{self.min_area} of them; lower min_area"
        )

    def __iter__(self) -> None:
        raise TypeError(f"{self.name} never ends: take videos[index], or a sampler")

    def _make(self, rng: np.random.Generator, name: str, cutouts: list[Cutout]) -> VideoSample:
        layers, paths = self._draw_objects(rng, cutouts)
        background = self._draw_background(rng)
        t = background.annotated[0] if background.annotated else 0
        camera = draw_camera_path(
            rng, background.size, self.size, self.num_frames, self.zoom, self.pan
        )
        truth = background.read_truth(t) if self.keep_background else None
        behind = _show(background.read_frame(t), truth, camera, self.size)
        painted = [paste_layers(f, layers, paths, t) for t, f in enumerate(behind.frames)]
        infos = [ObjectInfo(i, layer.label) for i, layer in enumerate(layers, 1)]
        if truth is not None:
            known = {info.id: info for info in background.objects}
            infos += [_renumber(known[i], len(infos) + n) for n, i in enumerate(truth.ids, 1)]
        truths = [
            _gather(owner, behind, t, infos, self.keep_background)
            for t, (_, owner) in enumerate(painted)
        ]
        if not self.keep_background:
            infos = [ObjectInfo(info.id) for info in infos]
        return self._sample(rng, name, [frame for frame, _ in painted], truths, infos)

    def _draw_background(self, rng: np.random.Generator) -> VideoSample:
        for _ in range(_ATTEMPTS):
            still = self.backgrounds[int(rng.integers(len(self.backgrounds)))]
            if still.annotated or not self.keep_background:
                return still
        raise ValueError(f"{self.name}: {_ATTEMPTS} backgrounds in a row had no annotation to keep")

    def _draw_objects(
        self, rng: np.random.Generator, cutouts: list[Cutout]
    ) -> tuple[list[Layer], list[ObjectPath]]:
        count = int(rng.integers(self.num_objects[0], self.num_objects[1] + 1))
        for _ in range(_MORE_STILLS):
            if len(cutouts) < count:
                other = self.stills[int(rng.integers(len(self.stills)))]
                cutouts = cutouts + cut_objects(other, self.min_area)
        layers: list[Layer] = []
        paths, near = [], None
        for i in rng.permutation(len(cutouts))[:count].tolist():
            is_twin = self.twins and layers and rng.random() < self.twins
            layers.append(layers[-1] if is_twin else self._draw_layer(rng, cutouts[i]))
            is_near = rng.random() < self.occlusion
            path = draw_object_path(
                rng,
                self.size,
                self.num_frames,
                near if is_near else None,
                travel=self.travel,
                turn=self.turn,
                scale_change=self.scale_change,
            )
            paths.append(path)
            near = path.center
        return layers, paths

    def _draw_layer(self, rng: np.random.Generator, cutout: Cutout) -> Layer:
        least, most = np.log(self.object_size)
        side = min(self.size) * float(np.exp(rng.uniform(least, most)))
        flip = bool(rng.random() < 0.5)
        return make_layer(rng, cutout, side, flip=flip, colors=self.colors)

    def _sample(
        self,
        rng: np.random.Generator,
        name: str,
        frames: Sequence[Frame],
        truths: Sequence[Truth],
        infos: Sequence[ObjectInfo],
    ) -> VideoSample:
        first: dict[int, int] = {}
        for t, truth in enumerate(truths):
            first |= {i: t for i in truth.ids if i not in first}
        objects = tuple(info for info in infos if info.id in first)
        hints = {info.id: first[info.id] for info in objects if not info.is_crowd}
        clip = CompositeClip(tuple(frames), tuple(truths))
        return VideoSample(
            name,
            self.num_frames,
            self.size,
            clip.read_frame,
            clip.read_truth,
            tuple(range(self.num_frames)),
            objects,
            self.vocabulary,
            points=clip.draw_points(rng, hints),
            hint_frames=hints,
            frame_names=numbered_names(self.num_frames),
        )


@dataclass(frozen=True, eq=False)
class CompositeClip:
    """Hold the frames of a composite video and their annotation."""

    frames: tuple[Frame, ...]
    truths: tuple[Truth, ...]

    def read_frame(self, t: int) -> Frame:
        """Return frame ``t``."""
        return self.frames[t]

    def read_truth(self, t: int) -> Truth:
        """Return the annotation of frame ``t``."""
        return self.truths[t]

    def draw_points(
        self, rng: np.random.Generator, hint_frames: dict[int, int]
    ) -> dict[int, dict[int, tuple[float, float]]]:
        """Draw a pixel (x, y) of each object in its hint frame; by frame and object."""
        points: dict[int, dict[int, tuple[float, float]]] = {}
        for identity, t in hint_frames.items():
            mask = self.truths[t].masks[self.truths[t].ids.index(identity)]
            y, x = divmod(int(rng.choice(np.flatnonzero(mask))), mask.shape[1])
            points.setdefault(t, {})[identity] = (float(x), float(y))
        return points


def _show(
    picture: Frame, truth: Truth | None, camera: CameraPath, size: tuple[int, int]
) -> ClipArrays:
    """What the window shows of a still in each frame."""
    if truth is None:
        truth = Truth((), np.zeros((0, *picture.shape[:2]), np.bool_))
    semantic = None if truth.semantic is None else truth.semantic[None]
    ignore = None if truth.ignore is None else truth.ignore[None]
    still = ClipArrays(picture[None], truth.masks[:, None], semantic, ignore)
    shown = []
    for t in range(camera.num_frames):
        rows, columns = camera.window(t)
        part = still.map_truth(
            lambda a, rows=rows, columns=columns: a[..., rows, columns],
            still.frames[:, rows, columns],
        )
        shown.append(resize_clip(part, size))
    return ClipArrays(
        np.concatenate([part.frames for part in shown]),
        np.concatenate([part.masks for part in shown], axis=1),
        None if semantic is None else np.concatenate([part.semantic for part in shown]),
        None if ignore is None else np.concatenate([part.ignore for part in shown]),
    )


def _gather(
    owner: NDArray[np.uint8],
    behind: ClipArrays,
    t: int,
    infos: Sequence[ObjectInfo],
    keep_background: bool,
) -> Truth:
    """The annotation of a frame, the pasted objects before those behind."""
    pasted = len(infos) - len(behind.masks)
    free = owner == 0
    masks = np.concatenate(
        [owner[None] == np.arange(1, pasted + 1)[:, None, None], behind.masks[:, t] & free]
    )
    shown = np.flatnonzero(masks.any(axis=(1, 2)))
    semantic = None
    if behind.semantic is not None:
        labels = [IGNORE if info.label is None else info.label for info in infos[:pasted]]
        semantic = np.array([IGNORE, *labels], np.int16)[owner]
        semantic[free] = behind.semantic[t][free]
    ignore = None if behind.ignore is None else behind.ignore[t] & free
    return Truth(tuple(infos[i].id for i in shown.tolist()), masks[shown], semantic, ignore)


def _renumber(info: ObjectInfo, number: int) -> ObjectInfo:
    return ObjectInfo(number, info.label, info.is_crowd, info.attributes)
