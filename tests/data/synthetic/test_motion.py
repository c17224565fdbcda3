from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from segblocks.data.synthetic import world_config
from segblocks.data.synthetic.motion import DIRECTIONS, KINDS, Stage, plan_camera, plan_path
from segblocks.data.synthetic.plan import plan_scene
from segblocks.data.synthetic.render import Renderer
from segblocks.data.synthetic.scene import Scene
from tests.data.synthetic.worlds import scene_of, tiny_world


def stage_of(rng: np.random.Generator, num_frames: int = 20) -> Stage:
    camera = plan_camera(rng, num_frames, pan=0.2, zoom=1.1, shake=0.002)
    return Stage(camera, camera.half_view((384, 640)), 0.4)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 30])
@pytest.mark.parametrize("kind", [*KINDS, "excursion"])
def test_paths_are_finite_and_as_long_as_the_video(kind: str, num_frames: int) -> None:
    rng = np.random.default_rng(0)
    path = plan_path(kind, rng, stage_of(rng, num_frames), 0.1)
    assert path.shape == (num_frames, 2)
    assert np.isfinite(path).all()


@pytest.mark.parametrize("kind", DIRECTIONS)
def test_directed_paths_go_where_they_say(kind: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        path = plan_path(kind, rng, stage_of(rng), 0.1)
        moved = path[-1] - path[0]
        assert moved @ np.array(DIRECTIONS[kind]) > 4 * abs(
            moved @ np.array(DIRECTIONS[kind])[::-1]
        )


def test_a_camera_keeps_to_its_knobs() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        camera = plan_camera(rng, 30, pan=0.4, zoom=1.3, shake=0.0)
        assert np.ptp(camera.center, axis=0).max() <= 0.4 + 1e-9
        assert camera.zoom.max() / camera.zoom.min() <= 1.3 + 1e-9
    still = plan_camera(rng, 30, pan=0.0, zoom=1.0, shake=0.0)
    assert not still.center.any()
    assert (still.zoom == 1).all()


def test_things_leave_whole_and_return_as_themselves() -> None:
    world = tiny_world(8, leave=1.0, num_frames=16, num_objects=(2, 3), camera_pan=0.4)
    left = 0
    for index in range(10):
        sample = world[index]
        seen = [sample.read_truth(t).ids for t in range(16)]
        scene = scene_of(sample)
        sides = np.array(sample.size[::-1])
        for thing in scene.things:
            assert thing.motion == "excursion"
            reach = thing.reach * scene.camera.zoom * min(sample.size)
            at = scene.on_screen(thing)
            out = ((at < -reach[:, None]) | (at > sides - 1 + reach[:, None])).any(1)
            assert out.sum() >= 2
            assert not any(thing.id in ids for ids, gone in zip(seen, out, strict=True) if gone)
            away = np.flatnonzero(out)
            before, after = seen[: away[0]], seen[away[-1] + 1 :]
            back = any(thing.id in ids for ids in before) and any(thing.id in i for i in after)
            left += back
    assert left >= 15


def test_twins_are_near_identical_and_cross() -> None:
    world = tiny_world(9, "twins", size=(96, 160), num_frames=20)
    for index in range(8):
        sample = world[index]
        scene = scene_of(sample)
        by_id = {thing.id: thing for thing in scene.things if thing.id}
        attributes = {o.id: (o.label, o.attributes) for o in sample.objects}
        pairs = [(t, by_id[t.twin]) for t in by_id.values() if t.twin > t.id]
        assert len(pairs) == 2
        for one, two in pairs:
            assert by_id[one.twin].twin == one.id
            assert attributes[one.id][1]["twin"] == two.id
            assert attributes[one.id][0] == attributes[two.id][0]
            assert one.look == two.look
            assert one.grain == two.grain
            assert abs(np.subtract(one.rgb, two.rgb)).max() < 10
            np.testing.assert_array_equal(one.radius, two.radius)
            np.testing.assert_allclose(two.stretch / one.stretch, two.stretch[0] / one.stretch[0])
            assert max(two.stretch[0] / one.stretch[0], one.stretch[0] / two.stretch[0]) < 1.07
            apart = one.path - two.path
            assert apart[0] @ apart[-1] < 0
            assert (np.linalg.norm(apart, axis=1) < one.reach + two.reach).any()
            # Each ends about where the other began.
            assert np.linalg.norm(apart[0] + apart[-1]) < 0.5 * np.linalg.norm(apart[0])


def test_a_still_frame_does_not_tell_which_twin_goes_where() -> None:
    """Of two that look alike, the one further right is as often the one that moves left."""
    config = world_config("refvos", size=(48, 80))
    rng, guesses = np.random.default_rng(3), []
    for index in range(400):
        scene = plan_scene(config, np.random.default_rng(index), "v")
        for axis, (back, forth) in enumerate((("left", "right"), ("up", "down"))):
            going = {t.motion: t for t in scene.things if t.motion in (back, forth)}
            if len(going) == 2 and going[back].look == going[forth].look:
                t = int(rng.integers(scene.num_frames))
                guesses.append(going[back].path[t, axis] > going[forth].path[t, axis])
    assert len(guesses) > 40
    assert abs(np.mean(guesses) - 0.5) < 3 * 0.5 / len(guesses) ** 0.5


def test_occlusion_hides_more_of_things() -> None:
    hidden = []
    for occlusion in (0.0, 0.5, 1.0):
        world = tiny_world(
            10, occlusion=occlusion, num_objects=(5, 5), things=("circle", "square"), leave=0.0
        )
        whole = visible = 0
        for index in range(12):
            scene = scene_of(world[index])
            renderer = Renderer(scene)
            for number in range(1, len(scene.things) + 1):
                alone = Renderer(scene)
                alone.scene = _only(scene, number - 1)
                whole += int((alone.owner(4) > 0).sum())
                visible += int((renderer.owner(4) == number).sum())
        hidden.append(1 - visible / whole)
    assert hidden[0] < 0.06 < hidden[1] < hidden[2]
    assert hidden[2] > 0.15


def _only(scene: Scene, which: int) -> Scene:
    return replace(scene, things=(scene.things[which],))
