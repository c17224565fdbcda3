from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from segblocks.nn.clip_output import ClipOutput, Prediction
from segblocks.results import FrameResult
from segblocks.tasks import PET, VIS, VOS, VPS, Task
from segblocks.text.vocabulary import Vocabulary
from segblocks.zoo.tarvis.policy import TarViSPolicy

SIZE = (16, 16)
MASK = np.ones((1, *SIZE), bool)
STREET = Vocabulary("street", ("road", "car", "sky"), things={1})


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        (VIS("youtube_vis_2021"), (12, 6, 448)),
        (VIS("ovis", classes=["Person"]), (12, 6, 576)),
        (VPS("kitti_step"), (6, 3, None)),
        (VPS("cityscapes_vps"), (10, 5, None)),
        (VPS("vipseg"), (12, 6, 576)),
        (VIS(["cat", "dog"]), (12, 6, 512)),
        (VOS(MASK), (12, 6, None)),
        (PET([(1, 1)]), (8, 4, 512)),
        ([VIS("ovis"), PET([(1, 1)]), VOS(MASK)], (8, 4, 512)),
        ([VOS(MASK), VIS("ovis")], (12, 6, None)),
    ],
)
def test_clips_are_those_of_the_official_configuration(
    tasks: Task | list[Task], expected: tuple[int, int, int | None]
) -> None:
    policy = TarViSPolicy(tasks)
    assert (policy.clip_length, policy.overlap, policy.short_side) == expected
    assert policy.long_side == 1333


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"clip_length": 5}, (5, 2, 448)),
        ({"overlap": 11}, (12, 11, 448)),
        ({"clip_length": 5, "overlap": 0, "short_side": 0}, (5, 0, None)),
        ({"short_side": 100}, (12, 6, 100)),
        ({"clip_length": 1}, (1, 0, 448)),
    ],
)
def test_settings_can_be_overridden(
    given: dict[str, int], expected: tuple[int, int, int | None]
) -> None:
    policy = TarViSPolicy(VIS("youtube_vis_2021"), **given)  # type: ignore[arg-type]
    assert (policy.clip_length, policy.overlap, policy.short_side) == expected


@pytest.mark.parametrize("given", [{"overlap": 12}, {"overlap": -1}, {"clip_length": 0}])
def test_clips_that_do_not_go_forward_are_refused(given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="overlap must be from 0 to clip_length - 1"):
        TarViSPolicy(VIS("youtube_vis_2021"), **given)  # type: ignore[arg-type]


def test_a_negative_short_side_is_refused() -> None:
    with pytest.raises(ValueError, match="short_side must be positive"):
        TarViSPolicy(VIS("ovis"), short_side=-1)


def test_hinted_objects_need_shared_frames() -> None:
    with pytest.raises(ValueError, match="at least 1 for tasks with hints"):
        TarViSPolicy([VIS("ovis"), VOS(MASK)], overlap=0)


def output(
    class_logits: Tensor | None, instances: Tensor, semantic: Tensor, num_frames: int = 2
) -> ClipOutput:
    """A clip of 16x16 frames in which query ``n`` has the same logit map (4, 4) in each frame."""
    maps = torch.cat([instances, semantic])
    embeddings = torch.eye(len(maps))[None]
    features = maps[None, None].expand(1, num_frames, -1, 4, 4)
    groups = {
        "instance": slice(0, len(instances)),
        "semantic": slice(len(instances), len(maps)),
    }
    predictions = (Prediction(embeddings, embeddings, class_logits, "instance"),)
    return ClipOutput(predictions, features, groups, SIZE, tuple(range(num_frames)))


def everywhere(*values: float) -> Tensor:
    return torch.tensor(values)[:, None, None].expand(-1, 4, 4)


def scores(*rows: Sequence[float]) -> Tensor:
    return torch.tensor([rows]).log()


def run(policy: TarViSPolicy, outputs: Sequence[ClipOutput]) -> tuple[list[FrameResult], Any]:
    state = policy.start(SIZE, SIZE)
    frames = [
        frame
        for n, clip in enumerate(outputs)
        for (frame,) in policy.merge(
            replace(clip, frame_indices=(state.next_start, state.next_start + 1)),
            state,
            last=n == len(outputs) - 1,
        )
    ]
    return frames, policy.summary(state)[0]


def test_panoptic_counts_only_confident_things() -> None:
    # A car, a road that instance queries claim, an unsure car, a car that a clip does not see.
    sure, road = [0.1, 0.7, 0.1, 0.1], [0.7, 0.1, 0.1, 0.1]
    unsure, absent = [0.2, 0.45, 0.2, 0.15], [0.1, 0.1, 0.1, 0.7]
    clip = output(
        scores(sure, road, unsure, absent),
        everywhere(1.0, 1.0, 1.0, 1.0),
        everywhere(1.0, 9.0, 2.0),
    )
    frames, summaries = run(TarViSPolicy(VPS(STREET)), [clip])
    assert [frame.labels for frame in frames] == [("car", None)] * 2
    assert (frames[0].semantic == 2).all(), "things take no part in the semantic map"
    assert [(s.id, s.label) for s in summaries] == [(1, 1)]
    assert summaries[0].score == pytest.approx(0.7)
    np.testing.assert_allclose(summaries[0].class_scores, sure[:3], rtol=1e-6)


def test_panoptic_drops_a_track_that_later_clips_cast_doubt_on() -> None:
    car, sky = scores([0.1, 0.7, 0.1, 0.1]), scores([0.1, 0.1, 0.7, 0.1])
    clips = [output(c, everywhere(1.0), everywhere(1.0, 9.0, 2.0)) for c in (car, sky)]
    policy = TarViSPolicy(VPS(STREET), clip_length=2, overlap=1)
    frames, summaries = run(policy, clips)
    assert [frame.labels for frame in frames] == [("car",), (None,), (None,)]
    assert frames[1].scores[0] == pytest.approx(0.07**0.5 / (2 * 0.07**0.5 + 0.2))
    assert summaries == []


def test_a_vocabulary_of_things_leaves_the_semantic_map_void() -> None:
    clip = output(scores([0.9, 0.1]), everywhere(1.0), everywhere(5.0))
    frames, _ = run(TarViSPolicy(VPS(["cat"])), [clip])
    assert (frames[0].semantic == -1).all()
    assert frames[0].panoptic.segments[0].label == "cat"


def test_labels_and_scores_follow_what_is_known_so_far() -> None:
    first = output(scores([0.8, 0.1, 0.1]), everywhere(1.0), everywhere(0.0, 0.0))
    second = output(scores([0.01, 0.98, 0.01]), everywhere(1.0), everywhere(0.0, 0.0))
    policy = TarViSPolicy(VIS(["cat", "dog"]), clip_length=2, overlap=1)
    frames, (summary,) = run(policy, [first, second])
    assert [frame.labels for frame in frames] == [("cat",), ("dog",), ("dog",)]
    mean = np.exp(np.log([[0.8, 0.1, 0.1], [0.01, 0.98, 0.01]]).mean(axis=0))
    assert summary.score == pytest.approx(mean[1] / mean.sum())


def test_vis_takes_the_ten_best_and_keeps_only_what_is_seen() -> None:
    chances = [[0.01 * n, 1 - 0.01 * n] for n in range(1, 13)]
    clip = output(scores(*chances), everywhere(*[1.0] * 11, -1.0), everywhere(0.0))
    frames, summaries = run(TarViSPolicy(VIS(["cat"])), [clip])
    assert len(frames[0].ids) == len(summaries) == 9
    assert max(s.score for s in summaries) == pytest.approx(0.11)


def test_outputs_that_do_not_belong_are_refused() -> None:
    policy = TarViSPolicy(VIS(["cat", "dog"]), clip_length=2)
    state = policy.start(SIZE, SIZE)
    other = output(scores([0.5, 0.5]), everywhere(1.0), everywhere(1.0))
    with pytest.raises(ValueError, match="2 classes of classes and no-object, got"):
        policy.merge(other, state)
    with pytest.raises(ValueError, match="got None"):
        policy.merge(output(None, everywhere(1.0), everywhere(1.0)), state)
    good = output(scores([0.5, 0.3, 0.2]), everywhere(1.0), everywhere(1.0, 1.0))
    for frames in ((1, 2), (0,)):
        with pytest.raises(
            ValueError, match=r"begins at frame 0 .* more than 1 frames; got frames"
        ):
            policy.merge(replace(good, frame_indices=frames), state)
    assert (state.next_start, state.finished) == (0, 0)
    policy.merge(good, state)


def test_each_clip_is_asked_for_the_category_task_and_for_hints_of_its_own() -> None:
    vis = VIS(["cat"])
    policy = TarViSPolicy([VOS({5: MASK, 9: MASK}), vis], clip_length=4, overlap=2)
    state = policy.start(SIZE, SIZE)
    assert state.next_start == 0
    assert policy.hints(state) == [vis]
    state.next_start = 2
    category, hinted = policy.hints(state) or (None, None)
    assert category is vis
    assert list(hinted.hints) == [3]  # type: ignore[attr-defined]
    assert policy.hints(state, num_frames=3) == [vis]


def test_without_a_category_task_clips_begin_at_the_first_hint() -> None:
    policy = TarViSPolicy([VOS({5: MASK}), PET({3: [(1, 1)]})], clip_length=4, overlap=2)
    state = policy.start(SIZE, SIZE)
    assert state.next_start == 3
    before = [frame for _ in range(3) for frame in policy.skip(1, state)]
    assert [[result.index for result in frame] for frame in before] == [[0, 0], [1, 1], [2, 2]]
    assert [result.masks.shape for result in before[0]] == [(1, *SIZE)] * 2
    assert policy.hints(state) is not None
    assert [frame[0].index for frame in policy.skip(4, state)] == [3, 4]
    assert state.next_start == 5
    state.next_start = state.finished = 20
    assert policy.hints(state) is None
    assert [frame[0].index for frame in policy.skip(3, state, last=True)] == [20, 21, 22]


def test_a_policy_remembers_nothing_of_a_video() -> None:
    policy = TarViSPolicy(VIS(["cat"]))
    clip = output(scores([0.9, 0.1]), everywhere(1.0), everywhere(0.0))
    assert run(policy, [clip])[0][0].ids == run(policy, [clip])[0][0].ids == (1,)


def test_masks_are_propagated_where_that_is_asked_for() -> None:
    """An object that the model sees nowhere is shown where it was given, and after."""
    features = torch.zeros(1, 2, 2, 4, 4)
    features[:, :, 0, :, :2] = 1.0
    features[:, :, 1, :, 2:] = 1.0
    embeddings = -torch.ones(1, 1, 2)
    clip = ClipOutput(
        (Prediction(embeddings, embeddings),),
        features,
        {"object": slice(0, 1)},
        SIZE,
        (0, 1),
        object_slices=(slice(0, 1),),
        object_ids=(1,),
    )
    task = VOS(np.arange(SIZE[1])[None, None].repeat(SIZE[0], 1) < SIZE[1] // 2)
    shown = {}
    for share in (0.0, 0.75):
        policy = TarViSPolicy(task, clip_length=2, overlap=1, propagation=share)
        frames, _ = run(policy, [clip, replace(clip, frame_indices=(1, 2))])
        shown[share] = [frame.masks[0].mean() for frame in frames]
    assert shown == {0.0: [0.0] * 3, 0.75: [0.5] * 3}


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_of_propagation_is_from_0_to_1(share: float) -> None:
    with pytest.raises(ValueError, match=f"propagation must be from 0 to 1, got {share}"):
        TarViSPolicy(VOS(MASK), propagation=share)
