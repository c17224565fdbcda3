"""Choose what happens in a video."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from segblocks.data.synthetic.config import WorldConfig
from segblocks.data.synthetic.ground import TILE, plan_ground
from segblocks.data.synthetic.motion import (
    DIRECTIONS,
    KINDS,
    Stage,
    plan_camera,
    plan_crossing,
    plan_path,
)
from segblocks.data.synthetic.palette import COLORS
from segblocks.data.synthetic.scene import Look, Scene, Series, Thing

_TRIES = 8  # paths drawn for each thing, of which one is taken by how much it overlaps the others


@dataclass(frozen=True)
class _Role:
    """A thing before it has a path.

    Args:
        look: in words.
        unlike: it must move unlike the others of this kind, which look the same.
        placed: it keeps to its place, by which it is told from one that looks the same.
        twin: number of its pair of twins, or -1.
    """

    look: Look
    unlike: bool = False
    placed: bool = False
    twin: int = -1


def plan_scene(config: WorldConfig, rng: np.random.Generator, name: str) -> Scene:
    """Choose all of a video; things are numbered from 1, in no order of depth or size.

    Args:
        config: the knobs.
        rng: draws everything.
        name: of the video.
    """
    camera = plan_camera(
        rng, config.num_frames,
        pan=config.camera_pan, zoom=config.camera_zoom, shake=config.camera_shake,
    )  # fmt: skip
    ground = plan_ground(rng, config.stuff, config.stuff_regions, config.texture)
    half_view = camera.half_view(config.size)
    stage = Stage(camera, half_view, config.speed * max(config.num_frames - 1, 1))
    things = _place(config, rng, stage, _cast(config, rng))
    drift = rng.uniform(-1, 1) * np.sin(np.pi * (stage.phase + rng.uniform(0, 2)))
    return Scene(
        name, config.size, config.num_frames, things, camera, ground,
        light=1 + config.lighting * drift, noise=config.noise,
        noise_seed=int(rng.integers(2**31)), texture=config.texture,
    )  # fmt: skip


def _cast(config: WorldConfig, rng: np.random.Generator) -> list[_Role]:
    """Decide which things there are."""
    least = max(config.num_objects[0], 2 * config.twins)
    count = int(rng.integers(least, config.num_objects[1] + 1))
    shapes = (*config.things, *config.unlabelled_things)

    def any_look() -> Look:
        return Look(
            str(rng.choice(shapes)),
            str(rng.choice(config.colors)),
            str(rng.choice(config.patterns)),
        )

    roles: list[_Role] = []
    for pair in range(config.twins):
        look = replace(any_look(), shape=str(rng.choice(config.things)))
        roles += [_Role(look, twin=pair), _Role(look, twin=pair)]
    if config.distractors:
        looks = [replace(any_look(), shape=str(rng.choice(config.things))) for _ in range(2)]
        placed = [_Role(looks[1], placed=True)] * 2
        moving = _alike(config, rng, looks[0])
        roles += placed + moving if rng.uniform() < 0.3 else moving + placed
        roles = roles[:count]
    roles += [_Role(any_look()) for _ in range(count - len(roles))]
    return [roles[k] for k in rng.permutation(count)]


def _alike(config: WorldConfig, rng: np.random.Generator, look: Look) -> list[_Role]:
    """Two that look the same, one of another colour, one of another shape."""
    others = [c for c in config.colors if c != look.color] or [look.color]
    shapes = [s for s in config.things if s != look.shape] or [look.shape]
    return [
        _Role(look, unlike=True),
        _Role(look, unlike=True),
        _Role(replace(look, color=str(rng.choice(others)))),
        _Role(replace(look, shape=str(rng.choice(shapes)))),
    ]


def _place(
    config: WorldConfig, rng: np.random.Generator, stage: Stage, roles: list[_Role]
) -> tuple[Thing, ...]:
    depths = rng.permutation(len(roles))
    things: list[Thing] = []
    taken: list[str] = []
    pairs: dict[int, tuple[Thing, Series]] = {}
    for number, role in enumerate(roles):
        thing = _body(config, rng, stage, role, int(depths[number]), number + 1)
        if role.twin in pairs:
            other, path = pairs[role.twin]
            thing = _as_twin(config, rng, thing, other, path)
        elif role.twin >= 0:
            reach = thing.reach.max()
            first, second, _ = plan_crossing(rng, stage, reach)
            thing = replace(thing, motion="cross", path=first)
            pairs[role.twin] = thing, second
        else:
            kind = _kind(config, rng, stage, role, taken)
            thing = _choose_path(config, rng, stage, thing, kind, things)
        things.append(thing)
    known = [t.twin for t in things]
    things = [replace(t, twin=known.index(t.id) + 1) if t.id in known else t for t in things]
    return tuple(t if t.look.shape in config.things else replace(t, id=0) for t in things)


def _kind(
    config: WorldConfig, rng: np.random.Generator, stage: Stage, role: _Role, taken: list[str]
) -> str:
    if role.unlike:  # told apart by motion, so by motions that a word describes
        kind = str(rng.choice([k for k in (*DIRECTIONS, "still") if k not in taken]))
        taken.append(kind)
        return kind
    if role.placed:
        return "still"
    if stage.num_frames >= 5 and rng.uniform() < config.leave:
        return "excursion"
    return str(rng.choice(KINDS))


def _body(
    config: WorldConfig,
    rng: np.random.Generator,
    stage: Stage,
    role: _Role,
    depth: int,
    number: int,
) -> Thing:
    phase = stage.phase
    growth = rng.uniform(1, config.scale_change)
    shape_of_growth = rng.choice(4)
    exponent = (0 * phase, phase - 0.5, 0.5 - phase, 0.5 * np.sin(2 * np.pi * phase))
    low, high = np.log(config.object_size)
    radius = np.exp(rng.uniform(low, high)) * growth ** exponent[shape_of_growth]
    spin = rng.choice([0, 0, 1, -1]) * rng.uniform(0.3, 1) * 2 * np.pi * config.turns
    wave = np.sin(2 * np.pi * (phase * rng.uniform(0.5, 2) + rng.uniform()))
    stretch = np.exp(rng.uniform(-0.15, 0.15)) * (1 + config.wobble * rng.uniform() * wave)
    rgb = np.clip(np.array(COLORS[role.look.color]) + rng.normal(0, 7, 3), 0, 255)
    return Thing(
        number, role.look, (float(rgb[0]), float(rgb[1]), float(rgb[2])),
        (int(rng.integers(TILE)), int(rng.integers(TILE))), depth, "still",
        np.zeros((len(phase), 2)), radius,
        rng.uniform(0, 2 * np.pi) + spin * (phase - 0.5), stretch,
    )  # fmt: skip


def _as_twin(
    config: WorldConfig, rng: np.random.Generator, thing: Thing, other: Thing, path: Series
) -> Thing:
    """Take over what the other twin looks like, but for a trace."""
    rgb = np.clip(np.array(other.rgb) + rng.normal(0, 1.5, 3), 0, 255)
    return replace(
        thing, rgb=(float(rgb[0]), float(rgb[1]), float(rgb[2])), grain=other.grain, motion="cross",
        path=path, radius=other.radius, angle=other.angle,
        stretch=other.stretch * (1 + config.twin_difference), twin=other.id,
    )  # fmt: skip


def _choose_path(
    config: WorldConfig, rng: np.random.Generator, stage: Stage, thing: Thing, kind: str,
    others: list[Thing],
) -> Thing:  # fmt: skip
    """Take the path whose overlap with the others' has the rank that ``occlusion`` asks for."""
    reach = float(thing.reach.max())
    tries = [
        replace(thing, motion=kind, path=plan_path(kind, rng, stage, reach)) for _ in range(_TRIES)
    ]
    tries.sort(key=lambda candidate: _overlap(candidate, others))
    return tries[round(config.occlusion * (_TRIES - 1))]


def _overlap(thing: Thing, others: list[Thing]) -> float:
    """How deep its disc lies in the others', at worst, plus a little for the mean."""
    if not others:
        return 0.0
    paths = np.stack([other.path for other in others])
    reaches = np.stack([other.reach for other in others]) + thing.reach
    apart = np.linalg.norm(paths - thing.path, axis=2) / reaches
    depth = np.clip(1 - apart, 0, 1)
    return float(depth.max() + depth.mean())
