from __future__ import annotations

import pickle
from dataclasses import replace
from math import cos, floor, sin

import numpy as np
import pytest
from scipy.ndimage import minimum_filter

from segblocks.data.sample import IGNORE
from segblocks.data.synthetic.ground import draw_ground
from segblocks.data.synthetic.render import Renderer
from segblocks.data.synthetic.scene import Camera, Scene
from segblocks.data.synthetic.shapes import SHAPES
from tests.data.synthetic.test_shapes import INSIDE
from tests.data.synthetic.worlds import scene_of, tiny_world


def owner_by_hand(scene: Scene, t: int) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel's owner by scalar arithmetic, and where the answer hangs on rounding."""
    height, width = scene.size
    side, zoom = min(scene.size), scene.camera.zoom[t]
    owner = np.zeros(scene.size, int)
    doubtful = np.zeros(scene.size, bool)
    nearest_first = sorted(enumerate(scene.things, 1), key=lambda item: -item[1].depth)
    for row in range(height):
        for column in range(width):
            x = (column - (width - 1) / 2) / (side * zoom) + scene.camera.center[t, 0]
            y = (row - (height - 1) / 2) / (side * zoom) + scene.camera.center[t, 1]
            for number, thing in nearest_first:
                dx, dy, angle = x - thing.path[t, 0], y - thing.path[t, 1], thing.angle[t]
                radius, stretch = thing.radius[t], thing.stretch[t]
                u = (dx * cos(angle) + dy * sin(angle)) / (radius * stretch)
                v = (-dx * sin(angle) + dy * cos(angle)) * stretch / radius
                if u * u + v * v > 1.01:
                    continue
                edge = float(SHAPES[thing.look.shape](np.array(u), np.array(v)))
                doubtful[row, column] |= abs(edge) < 1e-4
                if INSIDE[thing.look.shape](u, v):
                    owner[row, column] = number
                    break
    return owner, doubtful


@pytest.mark.parametrize("index", range(4))
def test_owners_equal_a_pixel_by_pixel_oracle(index: int) -> None:
    world = tiny_world(11, num_objects=(4, 7), occlusion=1.0, camera_zoom=1.5, wobble=0.4)
    renderer = Renderer(scene_of(world[index]))
    for t in (0, 5):
        expected, doubtful = owner_by_hand(renderer.scene, t)
        assert doubtful.mean() < 0.01
        assert len(np.unique(expected)) > 3
        np.testing.assert_array_equal(renderer.owner(t)[~doubtful], expected[~doubtful])


def test_frame_and_owner_agree_and_frames_stand_alone() -> None:
    scene = scene_of(tiny_world(2)[0])
    forwards, backwards = Renderer(scene), Renderer(scene)
    frames = [forwards.frame(t) for t in range(scene.num_frames)]
    owners = [forwards.owner(t) for t in range(scene.num_frames)]
    for t in reversed(range(scene.num_frames)):
        np.testing.assert_array_equal(backwards.owner(t), owners[t])
        np.testing.assert_array_equal(backwards.frame(t), frames[t])
        np.testing.assert_array_equal(Renderer(scene).frame(t), frames[t])


def test_what_things_own_shows_their_colour() -> None:
    world = tiny_world(3, texture=0.0, noise=0.0, lighting=0.0, size=(96, 128))
    scene = scene_of(world[1])
    renderer = Renderer(scene)
    frame, owner = renderer.frame(2), renderer.owner(2)
    errors = []
    for number, thing in enumerate(scene.things, 1):
        inner = minimum_filter(owner == number, 3)  # away from smoothed edges
        errors.append(abs(frame[inner].astype(float) - np.array(thing.rgb)).max(1))
    exact = np.concatenate(errors) <= 1
    assert len(exact) > 100
    assert exact.mean() > 0.98  # a tip's smoothed edge reaches a little further


def test_semantic_and_things_cover_every_pixel_once() -> None:
    world = tiny_world(4, unlabelled_things=("arrow", "bar"), things=("star", "ring", "cross"))
    ignored = 0
    for index in range(6):
        sample = world[index]
        scene, labels = scene_of(sample), {o.id: o.label for o in sample.objects}
        renderer = Renderer(scene)
        for t in range(sample.num_frames):
            truth, owner = sample.read_truth(t), renderer.owner(t)
            assert truth.semantic is not None
            assert truth.masks.sum(0).max(initial=0) <= 1
            assert truth.masks.any((1, 2)).all()
            covered = truth.masks.any(0) if len(truth.ids) else np.zeros(sample.size, bool)
            hidden = ~covered & (owner > 0)
            assert (truth.semantic[hidden] == IGNORE).all()
            ignored += int(hidden.sum())
            for number, mask in zip(truth.ids, truth.masks, strict=True):
                assert (truth.semantic[mask] == labels[number]).all()
            ground = truth.semantic[owner == 0]
            assert (ground >= 3).all()
            assert (ground < len(sample.vocabulary or ())).all()
            np.testing.assert_array_equal(ground, renderer.stuff(t)[owner == 0] + 3)
    assert ignored > 100


def test_ground_is_the_nearest_pixel_of_the_plane() -> None:
    scene = scene_of(tiny_world(5, camera_pan=0.8, camera_zoom=1.6)[2])
    renderer = Renderer(scene)
    height, width = scene.size
    step = 1 / scene.camera.zoom
    middle = scene.camera.center * min(scene.size)
    half = np.array([(width - 1) / 2, (height - 1) / 2])
    low = [floor(min(middle[:, k] - half[k] * step)) - 1 for k in (0, 1)]
    renderer.frame(0)
    plane = renderer._plane
    assert plane is not None
    color, kind = draw_ground(scene.ground, *plane.kind.shape)
    np.testing.assert_array_equal(plane.color, color)
    for t in (0, 3, 7):
        stuff = renderer.stuff(t)
        for row in range(height):
            for column in range(width):
                x = middle[t, 0] + (column - half[0]) * step[t] - low[0]
                y = middle[t, 1] + (row - half[1]) * step[t] - low[1]
                assert stuff[row, column] == kind[round(y), round(x)]


def test_a_pan_by_whole_pixels_moves_ground_and_things_alike() -> None:
    scene = scene_of(tiny_world(6, noise=0.0, lighting=0.0, num_objects=(4, 4))[0])
    shifts = [(0, 0), (5, 0), (-3, 2), (7, -6)]
    count, side = len(shifts), min(scene.size)
    still = tuple(
        replace(
            thing,
            path=np.repeat(thing.path[4:5], count, 0),
            radius=np.repeat(thing.radius[4], count),
            angle=np.repeat(thing.angle[4], count),
            stretch=np.repeat(thing.stretch[4], count),
        )
        for thing in scene.things
    )
    camera = Camera(np.array(shifts) / side, np.ones(count))
    scene = replace(scene, num_frames=count, things=still, camera=camera, light=np.ones(count))
    renderer = Renderer(scene)
    first, owner = renderer.frame(0).astype(int), renderer.owner(0)
    stuff = renderer.stuff(0)
    assert len(np.unique(owner)) > 2
    height, width = scene.size
    for t, (dx, dy) in enumerate(shifts):
        here = np.s_[max(-dy, 0) : height - max(dy, 0), max(-dx, 0) : width - max(dx, 0)]
        there = np.s_[max(dy, 0) : height - max(-dy, 0), max(dx, 0) : width - max(-dx, 0)]
        # Rounding may decide a pixel whose centre lies on an outline.
        assert (renderer.owner(t)[here] != owner[there]).mean() < 0.002
        np.testing.assert_array_equal(renderer.stuff(t)[here], stuff[there])
        assert (abs(renderer.frame(t).astype(int)[here] - first[there]) > 2).mean() < 0.004


def test_zoom_spreads_things_and_makes_them_larger() -> None:
    scene = scene_of(tiny_world(7)[0])
    close = replace(scene, camera=Camera(scene.camera.center, 2 * scene.camera.zoom))
    middle = (np.array(scene.size[::-1]) - 1) / 2
    for thing in scene.things:
        np.testing.assert_allclose(
            close.on_screen(thing) - middle, 2 * (scene.on_screen(thing) - middle)
        )
    assert close.pixels_per_unit(3) == pytest.approx(2 * scene.pixels_per_unit(3))


def test_a_frame_that_is_not_there_is_an_index_error() -> None:
    renderer = Renderer(scene_of(tiny_world()[0]))
    with pytest.raises(IndexError, match="0 to 7, got 8"):
        renderer.frame(8)
    with pytest.raises(IndexError, match="got -1"):
        renderer.owner(-1)


def test_pickles_hold_the_scene_not_the_pictures() -> None:
    renderer = Renderer(scene_of(tiny_world(size=(384, 640))[0]))
    frame = renderer.frame(1)
    packed = pickle.dumps(renderer)
    assert len(packed) < 20_000
    np.testing.assert_array_equal(pickle.loads(packed).frame(1), frame)
