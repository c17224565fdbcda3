"""Every system that follows hinted objects can carry their masks by looks."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from segblocks import segment
from segblocks.results import VideoSegmentation
from segblocks.tasks import PET, VOS
from tests.zoo.small_systems import SIZE, make_system

HINTED = ("tarvis", "gvseg", "univs")


def still_video(num_frames: int = 9) -> NDArray[np.uint8]:
    frame = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), np.uint8)
    return frame.repeat(num_frames, 0)


def two_masks() -> NDArray[np.bool_]:
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 8:24, 8:32] = True
    masks[1, 16:32, 32:56] = True
    return masks


def shown(result: VideoSegmentation, t: int, i: int) -> NDArray[np.bool_]:
    frame = result.frame(t)
    return dict(zip(frame.ids, frame.masks, strict=True)).get(i, np.zeros(SIZE, bool))


@pytest.mark.parametrize("name", HINTED)
@pytest.mark.parametrize("first", [0, 4])
def test_masks_stay_where_nothing_moves(name: str, first: int) -> None:
    """With all the weight on looks, whatever the model's own weights find."""
    model, masks = make_system(name).eval(), two_masks()
    settings = {"min_consistency": -1.0} if name == "univs" else {}
    result = segment(
        model, still_video(), VOS({first: masks}), propagation=1.0, short_side=0, **settings
    )
    for t in range(9):
        for i, mask in enumerate(masks, 1):
            # Up to the interpolation between cells of 4 x 4 pixels.
            expected = mask if t >= first else np.zeros_like(mask)
            assert (shown(result, t, i) != expected).mean() < 0.03


@pytest.mark.parametrize("name", HINTED)
def test_what_a_point_found_stays_too(name: str) -> None:
    model = make_system(name).eval()
    settings = {"min_consistency": -1.0} if name == "univs" else {}
    task = PET([(12, 12)])
    result = segment(model, still_video(), task, propagation=1.0, short_side=0, **settings)
    first, *others = [shown(result, t, 1) for t in range(9)]
    assert first.any()
    assert all((other != first).mean() < 0.03 for other in others)


@pytest.mark.parametrize("name", HINTED)
@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_from_0_to_1(name: str, share: float) -> None:
    with pytest.raises(ValueError, match=f"Policy: propagation must be from 0 to 1, got {share}"):
        segment(make_system(name).eval(), still_video(), VOS(two_masks()), propagation=share)
