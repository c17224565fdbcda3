"""What given masks teach the embeddings of their objects."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segblocks.nn.clip_output import ClipOutput, Prediction
from segblocks.ops import fit_mask_embeddings
from segblocks.tracking import GivenMasks

# Not a multiple of 4, in frames that are padded to 16x24.
SIZE = (14, 22)


def clip(first: int = 0, num_frames: int = 3, objects: int = 2, seed: int = 0) -> ClipOutput:
    """Two embeddings an object, after one of something else."""
    rng = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(1, 1 + 2 * objects, 5, generator=rng)
    early, last = (Prediction(embeddings, x) for x in (embeddings + 1, embeddings))
    return ClipOutput(
        (early, last),
        torch.randn(1, num_frames, 5, 4, 6, generator=rng),
        {"object": slice(1, 1 + 2 * objects)},
        SIZE,
        tuple(range(first, first + num_frames)),
        object_slices=tuple(slice(1 + 2 * n, 3 + 2 * n) for n in range(objects)),
        object_ids=tuple(range(1, objects + 1)),
    )


def mask(column: int) -> NDArray[np.bool_]:
    made = np.zeros(SIZE, bool)
    made[:, column:] = True
    return made


def coverage(of: NDArray[np.bool_]) -> Tensor:
    return F.avg_pool2d(F.pad(torch.from_numpy(of).float(), (0, 2, 0, 2))[None], 4)[0]


def test_embeddings_are_fitted_to_the_mask_on_its_frame_alone() -> None:
    given, output = GivenMasks(), clip()
    given.remember(output, {1: {2: mask(7)}})
    fitted = given.fitted(output, output.object_ids)
    before = output.mask_embeddings[-1][0]
    expected = before.clone()
    expected[3:5] = fit_mask_embeddings(
        before[3:5], output.mask_features[0, 1:2], coverage(mask(7))[None]
    )
    torch.testing.assert_close(fitted.mask_embeddings[-1][0], expected)
    assert torch.equal(fitted.mask_embeddings[0], output.mask_embeddings[0])
    assert fitted.object_slices == output.object_slices


def test_later_clips_know_the_first_mask_and_the_latest() -> None:
    given, clips = GivenMasks(), [clip(4 * n, 4, objects=1, seed=n) for n in range(3)]
    given.remember(clips[0], {0: {1: mask(4)}, 2: {1: mask(9)}})
    given.remember(clips[1], {3: {1: mask(12)}})
    # A frame that two clips share is taken in once, from the first of them.
    given.remember(clip(4, 4, objects=1, seed=9), {3: {1: mask(1)}})
    start = clips[2].mask_embeddings[-1][0, 1:3]
    features = torch.stack([clips[0].mask_features[0, 0], clips[1].mask_features[0, 3]])
    targets = torch.stack([coverage(mask(4)), coverage(mask(12))])
    fitted = given.fitted(clips[2], (1,)).mask_embeddings[-1][0, 1:3]
    torch.testing.assert_close(fitted, fit_mask_embeddings(start, features, targets))


def test_what_is_in_the_padding_does_not_count() -> None:
    output = clip(objects=1)
    padded = torch.cat([output.mask_features, torch.full((1, 3, 5, 4, 2), 1e3)], dim=-1)
    other = ClipOutput(**{**vars(output), "mask_features": padded})
    fitted = []
    for each in (output, other):
        given = GivenMasks()
        given.remember(each, {0: {1: mask(7)}})
        fitted.append(given.fitted(each, (1,)).mask_embeddings[-1])
    assert torch.equal(*fitted)


@pytest.mark.parametrize("masks", [{}, {0: {}}, {0: {1: np.zeros(SIZE, bool)}}])
def test_without_a_mask_nothing_changes(
    masks: dict[int, dict[int, NDArray[np.bool_]]],
) -> None:
    given, output = GivenMasks(), clip()
    given.remember(output, masks)
    fitted = given.fitted(output, output.object_ids)
    assert torch.equal(fitted.mask_embeddings[-1], output.mask_embeddings[-1])


def test_what_is_remembered_does_not_hold_the_clip() -> None:
    given, output = GivenMasks(), clip(objects=1)
    given.remember(output, {0: {1: mask(7)}})
    (known,) = given._known[1]
    assert known.features.untyped_storage().nbytes() == known.features.numel() * 4
