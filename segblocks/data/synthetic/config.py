"""What a synthetic world is like: its classes and how hard it is."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from segblocks.data.synthetic.ground import STUFF
from segblocks.data.synthetic.palette import COLORS
from segblocks.data.synthetic.shapes import SHAPES
from segblocks.data.synthetic.skin import PATTERNS
from segblocks.text.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """Set what the videos of a world show and how hard they are.

    Lengths are fractions of the frame's shorter side, so that a world looks alike in all sizes.

    Args:
        name: of the world and its vocabulary.
        size: (H, W) of the frames, each at least 16.
        num_frames: T.
        num_objects: least and most things in a video.
        things: classes of things that are annotated; the first classes of the vocabulary.
        stuff: classes of the ground; the classes after the things.
        unlabelled_things: classes that also appear but are not in the vocabulary, as in datasets
            that share a world but not a label space; ``IGNORE`` in semantic maps.
        names: what the vocabulary calls a class, where it is not the class's own name.
        colors: words of :data:`~segblocks.data.synthetic.palette.COLORS`.
        patterns: of "plain", "striped", "dotted", "checked".
        object_size: least and most radius.
        scale_change: the most by which a thing's size changes over the video, 1 for none.
        turns: the most full turns of a thing over the video.
        wobble: the most by which a thing stretches and recovers, 0 for rigid ones.
        speed: of a typical thing, a frame.
        occlusion: 0 keeps things apart as far as a few tries allow, 1 brings them together.
        leave: probability that a thing leaves the frame whole and returns.
        twins: pairs of near-identical things that swap their places; they count as objects.
        twin_difference: by how much the outline of a twin is stretched against the other's.
        camera_pan: the most that the camera travels over the video.
        camera_zoom: the most by which it zooms, as a factor.
        camera_shake: standard deviation of its tremble.
        stuff_regions: least and most classes of stuff in a video.
        texture: strength of textures and patterns, 0 for flat colours.
        noise: standard deviation of sensor noise in grey levels.
        lighting: the most by which brightness drifts over the video.
        expressions: the most sentences of a video.
        distractors: make motion, place, colour and shape each decide some sentence: things come
            with others that look the same but move or lie otherwise, or that differ in colour or
            in shape alone.
        plural_expressions: also describe groups of things ("all red stars").
        fps: what the videos claim.

    Raises:
        ValueError: a value out of range, or an unknown class, colour or pattern.

    Example:
        >>> WorldConfig(things=("star", "ring"), stuff=("sand",), names={"star": "sun"}).vocabulary
        Vocabulary('synthetic', 3 classes, 2 things)
    """

    name: str = "synthetic"
    size: tuple[int, int] = (384, 640)
    num_frames: int = 24
    num_objects: tuple[int, int] = (3, 8)
    things: tuple[str, ...] = tuple(SHAPES)
    stuff: tuple[str, ...] = tuple(STUFF)
    unlabelled_things: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    colors: tuple[str, ...] = tuple(COLORS)
    patterns: tuple[str, ...] = PATTERNS
    object_size: tuple[float, float] = (0.08, 0.17)
    scale_change: float = 1.7
    turns: float = 0.6
    wobble: float = 0.1
    speed: float = 0.02
    occlusion: float = 0.5
    leave: float = 0.2
    twins: int = 0
    twin_difference: float = 0.06
    camera_pan: float = 0.3
    camera_zoom: float = 1.15
    camera_shake: float = 0.003
    stuff_regions: tuple[int, int] = (2, 4)
    texture: float = 1.0
    noise: float = 3.0
    lighting: float = 0.1
    expressions: int = 8
    distractors: bool = False
    plural_expressions: bool = False
    fps: float = 10.0

    def __post_init__(self) -> None:
        _check_names("things", self.things, SHAPES)
        _check_names("stuff", self.stuff, STUFF)
        _check_names("unlabelled_things", self.unlabelled_things, SHAPES)
        _check_names("colors", self.colors, COLORS)
        _check_names("patterns", self.patterns, PATTERNS)
        _check_names("names", tuple(self.names), (*self.things, *self.stuff))
        if not (self.things and self.stuff and self.colors and self.patterns):
            raise ValueError("WorldConfig: things, stuff, colors and patterns must not be empty")
        if shared := set(self.things) & set(self.unlabelled_things):
            raise ValueError(
                f"WorldConfig: unlabelled_things must not be things, got {sorted(shared)}"
            )
        for knob, least, most in _RANGES:
            value = getattr(self, knob)
            values = value if isinstance(value, tuple) else (value,)
            if not all(least <= v <= most for v in values) or list(values) != sorted(values):
                raise ValueError(
                    f"WorldConfig: {knob} must be from {least} to {most}, ascending, got {value}"
                )
        if min(self.size) < 16:
            raise ValueError(f"WorldConfig: size must be at least (16, 16), got {self.size}")
        if 2 * self.twins > self.num_objects[1]:
            raise ValueError(
                f"WorldConfig: {self.twins} pairs of twins need num_objects up to at least "
                f"{2 * self.twins}, got {self.num_objects}"
            )

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes as the annotation counts them: things, then stuff."""
        classes = tuple(self.names.get(c, c) for c in (*self.things, *self.stuff))
        return Vocabulary(self.name, classes, frozenset(range(len(self.things))))


_INFINITY = float("inf")
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("num_frames", 1, _INFINITY),
    ("num_objects", 1, 250),
    ("object_size", 0.01, 0.5),
    ("scale_change", 1, 10),
    ("turns", 0, _INFINITY),
    ("wobble", 0, 0.5),
    ("speed", 0, 1),
    ("occlusion", 0, 1),
    ("leave", 0, 1),
    ("twins", 0, 100),
    ("twin_difference", 0, 1),
    ("camera_pan", 0, 4),
    ("camera_zoom", 1, 4),
    ("camera_shake", 0, 0.2),
    ("stuff_regions", 1, len(STUFF)),
    ("texture", 0, 2),
    ("noise", 0, 40),
    ("lighting", 0, 0.8),
    ("expressions", 0, _INFINITY),
)

_STILL: dict[str, Any] = {"camera_pan": 0.0, "camera_zoom": 1.0, "camera_shake": 0.0}
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "tiny": {"size": (48, 64), "num_frames": 5, "num_objects": (2, 4), "stuff_regions": (2, 3)},
    "easy": {
        **_STILL, "num_objects": (1, 3), "object_size": (0.12, 0.2), "occlusion": 0.0, "leave": 0.0,
        "scale_change": 1.2, "texture": 0.6, "noise": 0.0, "lighting": 0.0,
    },
    "hard": {
        "num_objects": (6, 14), "occlusion": 0.9, "leave": 0.35, "twins": 1, "camera_pan": 0.5,
        "camera_zoom": 1.3, "camera_shake": 0.006, "object_size": (0.05, 0.2), "noise": 5.0,
        "lighting": 0.25, "wobble": 0.2, "speed": 0.03,
    },
    "twins": {"num_objects": (4, 6), "twins": 2, "leave": 0.0, "occlusion": 0.6},
    "refvos": {"num_objects": (5, 8), "distractors": True, "leave": 0.1, "occlusion": 0.3},
    "long": {"num_frames": 120, "num_objects": (4, 8), "leave": 0.5, "speed": 0.012},
    "stuff": {"num_objects": (1, 3), "stuff_regions": (3, 6), "camera_pan": 0.6},
}  # fmt: skip


def world_config(preset: str = "default", **changes: Any) -> WorldConfig:
    """Return a named setting of the knobs, with some changed.

    Args:
        preset: one of ``PRESETS``: "default", "tiny" (for tests), "easy", "hard", "twins",
            "refvos" (distractors for every sentence), "long", "stuff".
        changes: fields of :class:`WorldConfig`.

    Raises:
        ValueError: no such preset, or no such field; close matches are listed.

    Example:
        >>> world_config("twins", num_frames=12).twins
        2
    """
    _check_names("world_config: presets", (preset,), PRESETS, prefix="")
    known = [f.name for f in fields(WorldConfig)]
    _check_names("fields", tuple(changes), known)
    return replace(WorldConfig(), **{**PRESETS[preset], **changes})


def _check_names(
    what: str, names: tuple[str, ...], known: Any, prefix: str = "WorldConfig: "
) -> None:
    if isinstance(names, str) or len(set(names)) != len(names):
        raise ValueError(f"{prefix}{what} must be distinct names in a tuple, got {names!r}")
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
            raise ValueError(f"{prefix}{what} has no {name!r}{hint} (known are {', '.join(known)})")
