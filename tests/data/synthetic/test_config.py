from __future__ import annotations

import numpy as np
import pytest

from segblocks.data.synthetic import PRESETS, SyntheticWorld, WorldConfig, world_config
from segblocks.data.synthetic.render import Renderer
from segblocks.text.vocabulary import get_vocabulary
from tests.data.synthetic.worlds import scene_of, tiny_world


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_makes_videos(preset: str) -> None:
    world = SyntheticWorld(world_config(preset, size=(32, 48), num_frames=6), 3)
    for index in range(3):
        sample = world[index]
        assert sample.read_frame(5).shape == (32, 48, 3)
        assert sample.objects


def test_the_vocabulary_can_be_had_by_name() -> None:
    assert get_vocabulary("synthetic") == WorldConfig().vocabulary


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"things": ("star", "stern")}, "things has no 'stern'; did you mean 'star'"),
        ({"things": ("star", "star")}, "distinct"),
        ({"things": "star"}, "distinct names in a tuple"),
        ({"things": ()}, "must not be empty"),
        ({"unlabelled_things": ("star",)}, r"unlabelled_things must not be things, got \['star'\]"),
        ({"colors": ("reed",)}, "did you mean 'red'"),
        ({"names": {"moon": "x"}}, "names has no 'moon'"),
        ({"num_objects": (5, 3)}, "num_objects must be from 1 to 250, ascending"),
        ({"num_frames": 0}, "num_frames"),
        ({"occlusion": 1.5}, "occlusion must be from 0 to 1"),
        ({"camera_zoom": 0.5}, "camera_zoom"),
        ({"size": (8, 64)}, "size must be at least"),
        ({"twins": 5}, "5 pairs of twins"),
    ],
)
def test_wrong_knobs_are_named(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WorldConfig(**changes)


def test_wrong_presets_and_fields_are_named() -> None:
    with pytest.raises(ValueError, match="did you mean 'twins'"):
        world_config("twin")
    with pytest.raises(ValueError, match="did you mean 'occlusion'"):
        world_config(oclusion=1.0)


def test_worlds_share_classes_but_not_label_spaces() -> None:
    one = world_config(name="a", things=("star", "ring"), stuff=("sand", "sky"))
    two = world_config(
        name="b", things=("cross", "star"), stuff=("sky",), names={"star": "pentagram"}
    )
    assert one.vocabulary.classes == ("star", "ring", "sand", "sky")
    assert one.vocabulary.thing_ids == (0, 1)
    assert two.vocabulary.classes == ("cross", "pentagram", "sky")
    assert (one.vocabulary.name, two.vocabulary.name) == ("a", "b")
    world = SyntheticWorld(world_config("tiny", things=two.things, names=two.names), 0)
    sample = world[0]
    assert sample.vocabulary is not None
    assert sample.vocabulary.classes[:2] == ("cross", "pentagram")
    for index in range(20):
        for e in world[index].expressions:
            assert " star" not in e.text


def test_numbers_of_objects_and_regions() -> None:
    world = tiny_world(1, num_objects=(2, 4), stuff_regions=(2, 3), leave=0.0)
    counts = [len(scene_of(world[i]).things) for i in range(40)]
    regions = [len(scene_of(world[i]).ground.classes) for i in range(40)]
    assert (min(counts), max(counts)) == (2, 4)
    assert (min(regions), max(regions)) == (2, 3)


def test_sizes_turns_wobble_and_growth() -> None:
    rigid = tiny_world(2, scale_change=1.0, turns=0.0, wobble=0.0, object_size=(0.1, 0.12))
    lively = tiny_world(2, scale_change=3.0, turns=1.0, wobble=0.5)
    for thing in (t for i in range(10) for t in scene_of(rigid[i]).things):
        assert np.ptp(thing.radius) == np.ptp(thing.angle) == np.ptp(thing.stretch) == 0
        assert 0.1 <= thing.radius[0] <= 0.12
    things = [t for i in range(20) for t in scene_of(lively[i]).things]
    assert 1.5 < max(t.radius.max() / t.radius.min() for t in things) <= 3.0 + 1e-9
    assert 0.3 < max(np.ptp(t.angle) for t in things) / (2 * np.pi) <= 1.0
    assert max(t.stretch.max() / t.stretch.min() for t in things) > 1.3


def test_leave_is_a_probability() -> None:
    never = [t.motion for i in range(20) for t in scene_of(tiny_world(3, leave=0.0)[i]).things]
    some = [t.motion for i in range(60) for t in scene_of(tiny_world(3, leave=0.3)[i]).things]
    assert "excursion" not in never
    assert 0.18 < some.count("excursion") / len(some) < 0.42


def test_noise_and_light_change_pixels_as_much_as_they_say() -> None:
    quiet = {"lighting": 0.0, "noise": 0.0}
    clean = Renderer(scene_of(tiny_world(4, **quiet)[0])).frame(3).astype(float)
    noisy = Renderer(scene_of(tiny_world(4, **{**quiet, "noise": 8.0})[0])).frame(3)
    middle = (clean > 40) & (clean < 215)
    assert 7 < (noisy - clean)[middle].std() < 9
    lit = scene_of(tiny_world(4, **{**quiet, "lighting": 0.3})[0])
    assert abs(lit.light - 1).max() <= 0.3
    darkest = int(lit.light.argmin())
    unlit = Renderer(scene_of(tiny_world(4, **quiet)[0])).frame(darkest).astype(float)
    ratio = Renderer(lit).frame(darkest)[unlit > 60] / unlit[unlit > 60]
    assert np.median(ratio) == pytest.approx(lit.light[darkest], abs=0.02)


def test_texture_zero_is_flat() -> None:
    world = tiny_world(5, texture=0.0, noise=0.0, lighting=0.0, camera_zoom=1.0)
    textured = tiny_world(5, texture=1.0, noise=0.0, lighting=0.0, camera_zoom=1.0)
    flat, rich = world[0].read_frame(0), textured[0].read_frame(0)
    assert len(np.unique(flat.reshape(-1, 3), axis=0)) < 0.5 * len(
        np.unique(rich.reshape(-1, 3), axis=0)
    )
