"""The synthetic world: an endless row of videos, each known exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from operator import index as as_integer

import numpy as np
from numpy.typing import NDArray

from segblocks.data.sample import IGNORE, Frame, ObjectInfo, Truth, VideoSample, numbered_names
from segblocks.data.synthetic.config import WorldConfig
from segblocks.data.synthetic.expressions import describe
from segblocks.data.synthetic.plan import plan_scene
from segblocks.data.synthetic.points import inner_point
from segblocks.data.synthetic.render import Renderer
from segblocks.data.synthetic.scene import Scene, Thing
from segblocks.text.vocabulary import Vocabulary

_TASKS = ("vis", "vps", "vss", "vos", "pet", "refvos")


class SyntheticWorld:
    """Make videos by rule, for training, tests and ablations.

    Video ``i`` depends on the configuration, the seed and ``i`` alone. It is planned when asked
    for; each frame is drawn when read, on its own. Every sample carries the truth of every task.

    Args:
        config: what the videos are like; the default preset where it is left out.
        seed: the same number gives the same videos, at least 0.
        length: how many videos there are, or None for no end; ``len`` and ``names`` then raise.
        task: what a reader should take it for: "vis", "vps", "vss", "vos", "pet" or "refvos".

    Raises:
        ValueError: a negative seed or length, or an unknown task.

    Example:
        >>> from segblocks.data.synthetic import world_config
        >>> world = SyntheticWorld(world_config("tiny"), seed=1)
        >>> world[7].read_frame(0).shape
        (48, 64, 3)
    """

    def __init__(
        self,
        config: WorldConfig | None = None,
        seed: int = 0,
        *,
        length: int | None = None,
        task: str = "vis",
    ) -> None:
        if seed < 0:
            raise ValueError(f"SyntheticWorld: seed must be at least 0, got {seed}")
        if length is not None and length < 0:
            raise ValueError(f"SyntheticWorld: length must be at least 0 or None, got {length}")
        if task not in _TASKS:
            raise ValueError(f"SyntheticWorld: task must be one of {_TASKS}, got {task!r}")
        self.config = config or WorldConfig()
        self.seed = seed
        self.length = length
        self.task = task
        self.name = self.config.name
        self.vocabulary: Vocabulary | None = self.config.vocabulary

    @property
    def names(self) -> tuple[str, ...]:
        """Of all videos, in order."""
        return tuple(self._name(i) for i in range(len(self)))

    def __len__(self) -> int:
        if self.length is None:
            raise TypeError(f"{self.name} is endless; SyntheticWorld(length=...) gives it an end")
        return self.length

    def __getitem__(self, index: int) -> VideoSample:
        index = as_integer(index)
        if index < 0 or (self.length is not None and index >= self.length):
            last = "on" if self.length is None else f"to {self.length - 1}"
            raise IndexError(f"{self.name}: videos are numbered from 0 {last}, got {index}")
        rng = np.random.default_rng([self.seed, index])
        renderer = Renderer(plan_scene(self.config, rng, self._name(index)))
        shown = _first_seen(renderer)
        renderer.scene = scene = _number(renderer.scene, shown)
        shown = {scene.things[k].id: t for k, t in shown.items()}
        return self._sample(_Video(renderer, self.config), shown, rng)

    def __iter__(self) -> Iterator[VideoSample]:
        index = 0
        while self.length is None or index < self.length:
            yield self[index]
            index += 1

    def __repr__(self) -> str:
        return f"SyntheticWorld({self.name!r}, seed={self.seed}, length={self.length})"

    def _name(self, index: int) -> str:
        return f"{self.name}_{self.seed}_{index:06d}"

    def _sample(
        self, video: _Video, shown: dict[int, int], rng: np.random.Generator
    ) -> VideoSample:
        config, scene = self.config, video.scene
        points: dict[int, dict[int, tuple[float, float]]] = {}
        for number, t in sorted(shown.items(), key=lambda item: item[1]):
            truth_mask = video.mask(t, number)
            points.setdefault(t, {})[number] = inner_point(truth_mask, rng)
        return VideoSample(
            name=scene.name,
            num_frames=scene.num_frames,
            size=scene.size,
            read_frame=video.frame,
            read_truth=video.truth,
            annotated=tuple(range(scene.num_frames)),
            objects=tuple(_info(config, thing) for thing in scene.things if thing.id),
            vocabulary=self.vocabulary,
            expressions=describe(
                scene, rng, config.expressions,
                plural=config.plural_expressions, names=dict(config.names),
            ),
            points=points,
            hint_frames=dict(sorted(shown.items())),
            frame_names=numbered_names(scene.num_frames),
            fps=config.fps,
        )  # fmt: skip


class _Video:
    """Reads frames and truth of one scene; picklable."""

    def __init__(self, renderer: Renderer, config: WorldConfig) -> None:
        self.renderer = renderer
        # By owner: the number of a thing (0: none) and its class, IGNORE where it has none.
        things = renderer.scene.things
        self.ids = np.array([0, *[thing.id for thing in things]], np.int32)
        labels = [
            config.things.index(t.look.shape) if t.look.shape in config.things else IGNORE
            for t in things
        ]
        self.labels = np.array([IGNORE, *labels], np.int16)
        self.stuff_from = len(config.things)

    @property
    def scene(self) -> Scene:
        return self.renderer.scene

    def frame(self, t: int) -> Frame:
        return self.renderer.frame(t)

    def truth(self, t: int) -> Truth:
        owner = self.renderer.owner(t)
        counts = np.bincount(owner.ravel(), minlength=len(self.ids))
        seen = [int(k) for k in np.flatnonzero(counts) if self.ids[k]]
        seen.sort(key=lambda k: self.ids[k])
        masks = np.stack([owner == k for k in seen]) if seen else np.zeros((0, *owner.shape), bool)
        semantic = self.labels[owner]
        ground = owner == 0
        semantic[ground] = self.renderer.stuff(t)[ground].astype(np.int16) + self.stuff_from
        return Truth(tuple(int(self.ids[k]) for k in seen), masks, semantic)

    def mask(self, t: int, number: int) -> NDArray[np.bool_]:
        return self.renderer.owner(t) == int(np.flatnonzero(self.ids == number)[0])


def _first_seen(renderer: Renderer) -> dict[int, int]:
    """For each annotated thing (by its place in the scene) the first frame that shows any of it."""
    scene = renderer.scene
    waiting = {k for k, thing in enumerate(scene.things) if thing.id}
    found: dict[int, int] = {}
    height, width = scene.size
    boxes = [(scene.on_screen(thing), thing.reach) for thing in scene.things]
    for t in range(scene.num_frames):
        unit = scene.pixels_per_unit(t)
        # Drawing a frame is only worth it where one of them may be in it.
        near = [
            k for k in waiting
            if (abs(boxes[k][0][t] - np.array([width - 1, height - 1]) / 2)
                <= np.array([width, height]) / 2 + boxes[k][1][t] * unit).all()
        ]  # fmt: skip
        if near:
            shown = {int(k) - 1 for k in np.unique(renderer.owner(t))}
            found |= dict.fromkeys(waiting & shown, t)
            waiting -= shown
        if not waiting:
            break
    return dict(sorted(found.items()))


def _number(scene: Scene, shown: dict[int, int]) -> Scene:
    """Number the things that are ever seen from 1; what never is, is not annotated."""
    new = {scene.things[k].id: number for number, k in enumerate(shown, 1)}
    things = tuple(
        replace(t, id=new.get(t.id, 0) if t.id else 0, twin=new.get(t.twin, 0))
        for t in scene.things
    )
    return replace(scene, things=things)


def _info(config: WorldConfig, thing: Thing) -> ObjectInfo:
    attributes: dict[str, object] = {
        "shape": thing.look.shape,
        "color": thing.look.color,
        "pattern": thing.look.pattern,
        "motion": thing.motion,
        "depth": thing.depth,
    }
    if thing.twin:
        attributes["twin"] = thing.twin
    return ObjectInfo(thing.id, config.things.index(thing.look.shape), attributes=attributes)
