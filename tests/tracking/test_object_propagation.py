"""What hinted objects looked like, blended with what a decoder finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segblocks.nn.clip_output import ClipOutput, Prediction
from segblocks.ops import LabelledCells, describe_cells, propagate_labels
from segblocks.tracking import ObjectPropagation

# Not a multiple of 8, in frames that are padded to 64x96: 7 x 11 cells of 8 x 12.
SIZE = (52, 82)
CELLS = (7, 11)
FIRST = {0: (1, 2)}


def video(num_frames: int, seed: int = 0, channels: int = 6) -> tuple[Tensor, Tensor]:
    """Features at stride 4 and 16."""
    rng = torch.Generator().manual_seed(seed)
    fine = torch.randn(1, num_frames, channels, 16, 24, generator=rng)
    return fine, torch.randn(1, num_frames, channels, 4, 6, generator=rng)


def clip(levels: Sequence[Tensor], frames: slice) -> ClipOutput:
    fine, coarse = (level[:, frames] for level in levels)
    z = torch.zeros(1, 2, fine.shape[2])
    return ClipOutput(
        (Prediction(z, z),),
        fine,
        {"object": slice(0, 2)},
        SIZE,
        tuple(range(levels[0].shape[1]))[frames],
        object_slices=(slice(0, 1), slice(1, 2)),
        object_ids=(1, 2),
        frame_features={16: coarse, 32: torch.full_like(coarse, torch.nan)},
    )


def described(levels: Sequence[Tensor], t: int) -> Tensor:
    cells = describe_cells([level[0, t : t + 1] for level in levels], (8, 12))
    return cells[0, :, : CELLS[0], : CELLS[1]]


def mask(seed: int) -> NDArray[np.bool_]:
    """Blocks of 8 x 8 pixels, so that each cell is of one kind."""
    blocks = np.random.default_rng(seed).random(CELLS) < 0.5
    return blocks.repeat(8, 0).repeat(8, 1)[: SIZE[0], : SIZE[1]]


def coverage(of: NDArray[np.bool_]) -> Tensor:
    """The share of each pixel of stride 4, (14, 22)."""
    padded = F.pad(torch.from_numpy(of).float(), (0, 6, 0, 4))
    return F.avg_pool2d(padded[None], 4)[0]


def labelled(levels: Sequence[Tensor], t: int, share: Tensor, reach: int) -> LabelledCells:
    return LabelledCells(described(levels, t), F.pixel_unshuffle(share[None], 2), reach)


def propagated(levels: Sequence[Tensor], t: int, *known: LabelledCells) -> Tensor:
    share = F.pixel_shuffle(propagate_labels(described(levels, t), known), 2)[0]
    return torch.logit(share, eps=0.02)


def logits(num_frames: int, **of: float) -> dict[int, Tensor]:
    return {int(name[1:]): torch.full((num_frames, 16, 24), value) for name, value in of.items()}


def test_a_given_mask_is_blended_on_its_frame_and_carried_to_the_next() -> None:
    levels, share = video(3), coverage(mask(0))
    output = clip(levels, slice(0, 3))
    found = ObjectPropagation(0.75).blend(output, logits(3, _1=-1.0), FIRST, {0: {1: mask(0)}})[1]
    found = found[:, :14, :22]
    torch.testing.assert_close(found[0], 0.75 * torch.logit(share, eps=0.02) - 0.25)
    # Of 7 rows, 0.25 is two cells and 0.08 is one. What is known of the first frame is the mask,
    # not what it was blended to; of the second, what it was blended to.
    far, near = (labelled(levels, 0, share, reach) for reach in (2, 1))
    torch.testing.assert_close(found[1], 0.75 * propagated(levels, 1, far, near) - 0.25)
    near = labelled(levels, 1, found[1].sigmoid(), 1)
    torch.testing.assert_close(found[2], 0.75 * propagated(levels, 2, far, near) - 0.25)


def test_the_padding_is_the_decoders() -> None:
    output = clip(video(2), slice(0, 2))
    found = ObjectPropagation(1.0).blend(output, logits(2, _1=3.0), FIRST, {0: {1: mask(0)}})[1]
    inside = torch.zeros(16, 24, dtype=torch.bool)
    inside[:14, :22] = True
    assert (found[:, ~inside] == 3).all()
    assert (found[:, inside] != 3).all()


@pytest.mark.parametrize(
    ("hinted", "given"),
    [
        ({0: (1, 2)}, {0: {1: 0, 2: 1}}),
        ({0: (1,), 3: (1, 2)}, {0: {1: 0}, 3: {1: 2}}),
        ({0: (1,), 1: (2,), 2: (1,)}, {0: {1: 0}}),
    ],
)
def test_clips_that_share_frames_go_on_where_the_first_was(
    hinted: dict[int, tuple[int, ...]], given: dict[int, dict[int, int]]
) -> None:
    """With the decoder's logits alike in both, the shared frames come out alike."""
    levels = video(6)
    rng = torch.Generator().manual_seed(1)
    of_video = {1: torch.randn(6, 16, 24, generator=rng), 2: torch.randn(6, 16, 24, generator=rng)}

    def run(*clips: slice) -> dict[int, Tensor]:
        propagation, frames = ObjectPropagation(0.5), dict[int, list[Tensor]]()
        for part in clips:
            found = propagation.blend(
                clip(levels, part),
                {i: of[part] for i, of in of_video.items()},
                {t - part.start: ids for t, ids in hinted.items() if part.start <= t},
                {
                    t - part.start: {i: mask(seed) for i, seed in by_id.items()}
                    for t, by_id in given.items()
                    if part.start <= t
                },
            )
            for i, of in found.items():
                frames[i] = [*frames.get(i, [])[: part.start], *of]
        return {i: torch.stack(of) for i, of in frames.items()}

    whole, parts = run(slice(0, 6)), run(slice(0, 4), slice(2, 6))
    for i in of_video:
        torch.testing.assert_close(parts[i], whole[i])


def test_objects_do_not_disturb_each_other() -> None:
    """Their masks are given on different frames, so that each has another memory."""
    output = clip(video(4), slice(0, 4))
    hinted, given = {0: [1], 2: [2]}, {0: {1: mask(0)}, 2: {2: mask(1)}}
    of_both = logits(4, _1=0.5, _2=-0.5)
    both = ObjectPropagation(0.5).blend(output, of_both, hinted, given)
    for i in (1, 2):
        alone = ObjectPropagation(0.5).blend(output, {i: of_both[i]}, hinted, given)
        torch.testing.assert_close(alone[i], both[i])
    # Before it was given, nothing is known of the second.
    assert (both[2][:2] == -0.5).all()
    assert (both[2][2:, :14, :22] != -0.5).all()


def test_the_first_and_the_latest_mask_are_remembered() -> None:
    levels = video(5)
    masks = {t: {1: mask(t)} for t in range(3)}
    propagation = ObjectPropagation(0.5)
    propagation.blend(
        clip(levels, slice(0, 3)), logits(3, _1=0.0), dict.fromkeys(masks, (1,)), masks
    )
    found = propagation.blend(clip(levels, slice(3, 5)), logits(2, _1=0.0), {}, {})[1]
    seen = [coverage(mask(0)), coverage(mask(2)), coverage(mask(2))]
    places = zip((0, 2, 2), seen, (2, 2, 1), strict=True)
    known = [labelled(levels, t, share, reach) for t, share, reach in places]
    torch.testing.assert_close(found[0, :14, :22], propagated(levels, 3, *known) / 2)


def test_what_is_remembered_does_not_grow() -> None:
    propagation, levels = ObjectPropagation(0.5), video(12)
    for t in range(12):
        given = {0: {1: mask(t)}}
        propagation.blend(clip(levels, slice(t, t + 1)), logits(1, _1=0.0), {0: [1]}, given)
    assert sorted(propagation._frames) == [0, 11]
    assert sorted(propagation._last_clip) == [11]


def test_an_object_that_is_found_again_is_the_decoders() -> None:
    levels, propagation = video(4), ObjectPropagation(0.75)
    given = {0: {1: mask(0)}}
    propagation.blend(clip(levels, slice(0, 1)), logits(1, _1=0.0), FIRST, given)
    propagation.blend(clip(levels, slice(1, 2)), {}, {}, {})
    found = propagation.blend(clip(levels, slice(2, 4)), logits(2, _1=2.0), {}, {})[1]
    assert (found[0] == 2.0).all()
    assert (found[1, :14, :22] != 2.0).all()


def test_what_a_later_point_stands_for_is_the_decoders() -> None:
    levels, propagation = video(3), ObjectPropagation(0.75)
    hinted, given = {0: [1], 1: [1]}, {0: {1: mask(0)}}
    found = propagation.blend(clip(levels, slice(0, 3)), logits(3, _1=2.0), hinted, given)[1]
    assert (found[1] == 2.0).all()
    share = torch.full((14, 22), 2.0).sigmoid()
    far = (labelled(levels, 0, coverage(mask(0)), 2), labelled(levels, 1, share, 2))
    expected = 0.75 * propagated(levels, 2, *far, labelled(levels, 1, share, 1)) + 0.5
    torch.testing.assert_close(found[2, :14, :22], expected)


def test_what_was_found_is_carried_where_no_mask_was_given() -> None:
    """As for an object that a point stands for: its first frame shows what the decoder found."""
    levels = video(3)
    of = {1: torch.randn(3, 16, 24, generator=torch.Generator().manual_seed(0))}
    found = ObjectPropagation(0.5).blend(clip(levels, slice(0, 3)), of, {1: [1]}, {})[1]
    assert torch.equal(found[:2], of[1][:2])
    share = of[1][1, :14, :22].sigmoid()
    far, near = (labelled(levels, 1, share, reach) for reach in (2, 1))
    expected = (propagated(levels, 2, far, near) + of[1][2, :14, :22]) / 2
    torch.testing.assert_close(found[2, :14, :22], expected)


@pytest.mark.parametrize("given", [{}, {0: {}}, {0: {1: np.zeros(SIZE, bool)}}])
def test_a_frame_of_which_nothing_is_known_is_the_decoders(
    given: Mapping[int, Mapping[int, NDArray[np.bool_]]],
) -> None:
    output = clip(video(1), slice(0, 1))
    before = logits(1, _1=2.0)
    found = ObjectPropagation(0.5).blend(output, before, FIRST, given)
    assert torch.equal(found[1], before[1])
    assert found[1].data_ptr() != before[1].data_ptr()


def test_half_precision_is_kept() -> None:
    output = clip([level.bfloat16() for level in video(2)], slice(0, 2))
    of = {1: logits(2, _1=0.5)[1].bfloat16()}
    found = ObjectPropagation(0.5).blend(output, of, FIRST, {0: {1: mask(0)}})[1]
    assert found.dtype == torch.bfloat16
    exact = ObjectPropagation(0.5).blend(
        replace(output, mask_features=output.mask_features.float()),
        logits(2, _1=0.5),
        FIRST,
        {0: {1: mask(0)}},
    )[1]
    torch.testing.assert_close(found.float(), exact, atol=0.02, rtol=0.01)


def test_masks_may_be_mirrored_views_that_nobody_writes_to() -> None:
    output, mirrored = clip(video(2), slice(0, 2)), mask(0)[:, ::-1]
    mirrored.flags.writeable = False
    found = [
        ObjectPropagation(0.5).blend(output, logits(2, _1=0.0), FIRST, {0: {1: of}})[1]
        for of in (mirrored, mirrored.copy())
    ]
    assert torch.equal(*found)


@pytest.mark.parametrize("weight", [0, -0.1, 1.5, float("nan")])
def test_a_weight_that_is_no_share_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="weight must be above 0 and at most 1"):
        ObjectPropagation(weight)
