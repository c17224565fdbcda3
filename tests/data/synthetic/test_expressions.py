"""Each sentence is read back by a parser of its own and judged by arithmetic of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from segblocks.data.synthetic import expression_kind
from segblocks.data.synthetic.expressions import KINDS, _Noun
from segblocks.data.synthetic.palette import COLORS
from segblocks.data.synthetic.scene import Scene, Thing
from segblocks.data.synthetic.shapes import SHAPES
from segblocks.data.synthetic.skin import PATTERNS
from tests.data.synthetic.worlds import scene_of, tiny_world

TOWARD = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
PLACES = {" left of ": (-1, 0), " right of ": (1, 0), " above ": (0, -1), " below ": (0, 1)}
MOTIONS = (" moving ", " going ", " drifting ", " staying", " turning", " growing", " shrinking")


def fits(noun: str, thing: Thing) -> bool:
    *properties, shape = noun.removeprefix("the ").split()
    look = {thing.look.color, thing.look.pattern}
    return shape in ("thing", thing.look.shape) and look.issuperset(properties)


def split(text: str) -> tuple[str, str]:
    """The noun phrase, and what is said of it."""
    for word in (*PLACES, *MOTIONS, " leaving"):
        if word in text:
            noun, rest = text.split(word, 1)
            return noun, word + rest
    return text, ""


def on_screen(scene: Scene, thing: Thing) -> tuple[np.ndarray, np.ndarray]:
    """Where it is in shorter sides, and when its centre is in the frame."""
    at = scene.on_screen(thing)
    seen = ((at >= 0) & (at <= np.array(scene.size[::-1]) - 1)).all(1)
    return at / min(scene.size), seen


def strength(scene: Scene, thing: Thing, said: str) -> float:
    """How much of what is said holds for a thing; what it holds for has the most, by far."""
    at, seen = on_screen(scene, thing)
    words = said.split()
    if words[0] in ("moving", "going", "drifting"):
        way = np.array(TOWARD[words[1]])
        return float(min((p[seen][-1] - p[seen][0]) @ way for p in (at, thing.path)))
    if words[0] == "staying":
        return -float(np.ptp(thing.path, axis=0).max())
    if words[0] == "turning":
        return float(np.ptp(thing.angle))
    if words[0] == "leaving":
        return float((~seen).sum())
    sign = {"growing": 1, "shrinking": -1}[words[0]]
    return sign * float(np.log(thing.radius[seen][-1] / thing.radius[seen][0]))


@cache
def sentences() -> list[tuple[Scene, str, tuple[int, ...]]]:
    found = []
    for preset in ("refvos", "default", "twins"):
        world = tiny_world(31, preset, num_frames=20, expressions=10)
        for index in range(25):
            sample = world[index]
            found += [(scene_of(sample), e.text, e.object_ids) for e in sample.expressions]
    return found


def by_id(scene: Scene, number: int) -> Thing:
    return next(thing for thing in scene.things if thing.id == number)


def of_kind(*kinds: str) -> Iterator[tuple[Scene, str, Thing]]:
    for scene, text, ids in sentences():
        if expression_kind(text) in kinds:
            assert len(ids) == 1
            yield scene, text, by_id(scene, ids[0])


def test_all_kinds_are_there() -> None:
    counts = Counter(expression_kind(text) for _, text, _ in sentences())
    assert set(counts) == set(KINDS)
    assert min(counts.values()) > 20


def test_looks_describe_one_thing_with_no_word_too_many() -> None:
    for scene, text, target in of_kind("shape", "color", "pattern"):
        assert [thing for thing in scene.things if fits(text, thing)] == [target]
        *properties, shape = text.removeprefix("the ").split()
        if shape != "thing" and properties:
            assert sum(fits(shape, thing) for thing in scene.things) > 1


def test_motions_are_true_of_one_thing_only() -> None:
    tested = Counter()
    for scene, text, target in of_kind("motion"):
        noun, said = split(text)
        assert fits(noun, target)
        others = [t for t in scene.things if fits(noun, t) and t is not target]
        assert others
        mine = strength(scene, target, said)
        rest = max(strength(scene, t, said) for t in others if on_screen(scene, t)[1].any())
        kind = said.split()[0]
        tested[kind] += 1
        if kind in ("moving", "going", "drifting"):
            assert mine > 0.1
            assert rest < 0.06
        elif kind == "staying":
            assert mine == 0
            assert rest < -0.05
        elif kind == "turning":
            assert mine > np.deg2rad(60)
            assert rest < np.deg2rad(20)
        elif kind == "leaving":
            assert mine >= 1
        else:
            assert mine > np.log(1.3)
            assert rest < np.log(1.15)
    assert {"staying", "turning", "moving", "growing"} <= set(tested)


def test_no_single_frame_answers_a_motion() -> None:
    for scene, text, target in of_kind("motion"):
        noun, _ = split(text)
        seen = [on_screen(scene, t)[1] for t in scene.things if fits(noun, t) and t is not target]
        mine = on_screen(scene, target)[1]
        assert (np.any(seen, axis=0) | ~mine).all()


def test_relations_hold_in_every_frame_and_for_one_thing_only() -> None:
    for scene, text, target in of_kind("relation"):
        place = next(word for word in PLACES if word in text)
        noun, anchor_noun = text.split(place)
        (anchor,) = [thing for thing in scene.things if fits(anchor_noun, thing)]
        there, anchor_seen = on_screen(scene, anchor)
        candidates = [thing for thing in scene.things if fits(noun, thing)]
        assert len(candidates) > 1
        assert target in candidates
        assert anchor not in candidates
        for thing in candidates:
            at, seen = on_screen(scene, thing)
            ahead = ((at - there) @ np.array(PLACES[place]))[seen & anchor_seen]
            assert len(ahead)
            assert (ahead > 0.05).all() if thing is target else (ahead < 0).all()


def test_camera_motion_makes_motions_unclear_not_wrong() -> None:
    world = tiny_world(32, "refvos", num_frames=20, camera_pan=1.5, camera_shake=0.01)
    for index in range(25):
        sample = world[index]
        scene = scene_of(sample)
        for e in sample.expressions:
            noun, said = split(e.text)
            if said.split()[:1] == [] or said.split()[0] not in ("moving", "going", "drifting"):
                continue
            assert strength(scene, by_id(scene, e.object_ids[0]), said) > 0.1
            assert fits(noun, by_id(scene, e.object_ids[0]))


def test_with_distractors_every_video_asks_for_motion_and_chance_is_low() -> None:
    world = tiny_world(33, "refvos", num_frames=20)
    samples = [world[i] for i in range(25)]
    kinds = [{expression_kind(e.text) for e in s.expressions} for s in samples]
    assert sum("motion" in k for k in kinds) >= 24
    assert sum("color" in k for k in kinds) >= 22
    assert sum("relation" in k for k in kinds) >= 8
    assert np.mean([1 / len(s.objects) for s in samples]) < 0.2


def test_plurals_name_all_of_a_look() -> None:
    world = tiny_world(34, "refvos", plural_expressions=True, expressions=50)
    groups = 0
    for index in range(15):
        sample = world[index]
        scene = scene_of(sample)
        for e in sample.expressions:
            if not e.text.startswith("all "):
                continue
            *properties, shape = e.text.removeprefix("all ").split()
            singular = shape.removesuffix("es") if shape == "crosses" else shape.removesuffix("s")
            expected = [t.id for t in scene.things if fits(" ".join([*properties, singular]), t)]
            assert list(e.object_ids) == sorted(expected)
            assert len(expected) > 1
            groups += 1
    assert groups > 5


def test_the_number_of_sentences_is_a_knob() -> None:
    assert tiny_world(35, expressions=0)[0].expressions == ()
    assert max(len(tiny_world(35, expressions=3)[i].expressions) for i in range(9)) == 3
    sample = tiny_world(35, expressions=8)[1]
    assert [e.id for e in sample.expressions] == [str(k) for k in range(len(sample.expressions))]
    assert len({e.text for e in sample.expressions}) == len(sample.expressions)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("the star", "shape"),
        ("the red thing", "color"),
        ("the striped red star", "pattern"),
        ("the striped star growing", "motion"),
        ("the red star left of the dotted ring", "relation"),
        ("the red star drifting left", "motion"),
        ("all red crosses", "color"),
    ],
)
def test_the_kind_shows_in_the_words(text: str, kind: str) -> None:
    assert expression_kind(text) == kind


def test_renamed_classes_keep_their_words() -> None:
    """The same sentences come about whatever the classes are called, and no name is changed."""
    names = {shape: f"moving red {shape}ty" for shape in SHAPES}
    options = {"plural_expressions": True, "expressions": 50}
    plain, renamed = (tiny_world(34, "refvos", **options, **n) for n in ({}, {"names": names}))
    kinds: Counter[str] = Counter()
    for index in range(12):
        for ours, theirs in zip(renamed[index].expressions, plain[index].expressions, strict=True):
            kind = expression_kind(theirs.text)
            kinds[kind] += theirs.text.startswith("all ") or kind in ("motion", "relation")
            assert expression_kind(ours.text, names.values()) == kind
            words = ours.text.replace("moving red ", "").split()
            expected = theirs.text.split()
            singular = [w if w in names else w.removesuffix("s") for w in expected]
            singular = ["cross" if w == "crosse" else w for w in singular]
            plural = expected[0] == "all"
            assert words == [
                (f"{s}ties" if plural else f"{s}ty") if s in names else w
                for s, w in zip(singular, expected, strict=True)
            ]
            assert ours.object_ids == theirs.object_ids
    assert min(kinds["motion"], kinds["relation"], kinds["color"] + kinds["shape"]) > 3


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("star", "stars"),
        ("cross", "crosses"),
        ("brush", "brushes"),
        ("puppy", "puppies"),
        ("toy", "toys"),
        ("fox", "foxes"),
        ("torch", "torches"),
    ],
)
def test_plurals(one: str, many: str) -> None:
    assert _Noun("star", "red").text({"star": one}, plural=True) == f"red {many}"


def test_words_do_not_clash() -> None:
    assert (
        len({*SHAPES, *COLORS, *PATTERNS, "thing"}) == len(SHAPES) + len(COLORS) + len(PATTERNS) + 1
    )
