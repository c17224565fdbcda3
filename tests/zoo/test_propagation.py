"""Every system that follows hinted objects can carry their masks by looks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segblocks import segment
from segblocks.results import VideoSegmentation
from segblocks.tasks import PET, VOS
from tests.zoo.small_systems import SIZE, make_system

HINTED = ("tarvis", "gvseg", "univs")
# UniVS leaves out what does not look like itself, which random weights do not see to.
SETTINGS = {"tarvis": {}, "gvseg": {}, "univs": {"min_consistency": -1.0}}


def still_video(num_frames: int = 9) -> NDArray[np.uint8]:
    frame = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), np.uint8)
    return frame.repeat(num_frames, 0)


def two_masks() -> NDArray[np.bool_]:
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 8:24, 8:32] = True
    masks[1, 16:32, 32:56] = True
    return masks


def shown(
    result: VideoSegmentation, t: int, i: int, size: tuple[int, ...] = SIZE
) -> NDArray[np.bool_]:
    frame = result.frame(t)
    return dict(zip(frame.ids, frame.masks, strict=True)).get(i, np.zeros(size, bool))


@pytest.mark.parametrize("name", HINTED)
@pytest.mark.parametrize("first", [0, 4])
def test_masks_stay_where_nothing_moves(name: str, first: int) -> None:
    """With all the weight on looks, whatever the model's own weights find."""
    model, masks = make_system(name).eval(), two_masks()
    result = segment(
        model,
        still_video(),
        VOS({first: masks}),
        propagation=1.0,
        short_side=0,
        **SETTINGS[name],
    )
    for t in range(9):
        for i, mask in enumerate(masks, 1):
            # Up to the interpolation between cells of 4 x 4 pixels.
            expected = mask if t >= first else np.zeros_like(mask)
            assert (shown(result, t, i) != expected).mean() < 0.03


@pytest.mark.parametrize("name", HINTED)
def test_what_a_point_found_stays_too(name: str) -> None:
    model = make_system(name).eval()
    task = PET([(12, 12)])
    result = segment(model, still_video(), task, propagation=1.0, short_side=0, **SETTINGS[name])
    first, *others = [shown(result, t, 1) for t in range(9)]
    assert first.any()
    assert all((other != first).mean() < 0.03 for other in others)


@pytest.mark.parametrize("name", HINTED)
@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_from_0_to_1(name: str, share: float) -> None:
    with pytest.raises(ValueError, match=f"Policy: propagation must be from 0 to 1, got {share}"):
        segment(make_system(name).eval(), still_video(), VOS(two_masks()), propagation=share)


@pytest.mark.parametrize("name", HINTED)
def test_the_configs_share_is_the_default_and_checked(name: str) -> None:
    model, task = make_system(name), VOS(two_masks())
    assert model.video_policy(task).propagation == 0
    model.config = replace(model.config, propagation=0.5)
    assert model.video_policy(task).propagation == 0.5
    assert model.video_policy(task, propagation=None).propagation == 0.5
    assert model.video_policy(task, propagation=0.25).propagation == 0.25
    with pytest.raises(ValueError, match="Config: propagation must be from 0 to 1, got 3"):
        replace(model.config, propagation=3)


@pytest.mark.parametrize(("name", "strides"), [("tarvis", 4), ("gvseg", 4), ("univs", 8)])
def test_models_hand_on_what_frames_are_compared_by(name: str, strides: int) -> None:
    model = make_system(name).eval()
    frames = torch.from_numpy(still_video(2)).movedim(-1, 1)[None]
    with torch.inference_mode():
        output = model(frames, VOS(two_masks()))
    assert min(output.frame_features) == strides
    assert {8, 16} <= output.frame_features.keys()
    for stride, level in output.frame_features.items():
        assert level.shape[:2] == (1, 2)
        assert level.shape[-1] == output.mask_features.shape[-1] * 4 // stride


@pytest.mark.parametrize("name", HINTED)
def test_objects_begin_where_they_are_hinted_whatever_the_size(name: str) -> None:
    model, (first, second) = make_system(name).eval(), two_masks()
    large = still_video().repeat(2, 1).repeat(2, 2)
    hints = {t: mask.repeat(2, 0).repeat(2, 1)[None] for t, mask in ((1, first), (6, second))}
    task = VOS(hints, {1: [1], 6: [2]})
    result = segment(model, large, task, propagation=1.0, short_side=SIZE[0], **SETTINGS[name])
    for t in range(9):
        for i, start, mask in ((1, 1, first), (2, 6, second)):
            found = shown(result, t, i, tuple(2 * side for side in SIZE))[::2, ::2]
            assert (found != (mask if t >= start else np.zeros_like(mask))).mean() < 0.05
