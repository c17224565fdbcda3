"""The Mask2Former-VIS model and its policy; a slim one, since the full one has parity tests."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from segblocks.inference import segment, stream
from segblocks.nn import ClipOutput, Prediction
from segblocks.results import FrameResult
from segblocks.tasks import VIS, VOS, VPS
from segblocks.text.vocabulary import get_vocabulary
from segblocks.zoo import create_model, from_pretrained
from segblocks.zoo.mask2former_vis import (
    Mask2FormerVIS,
    Mask2FormerVISConfig,
    Mask2FormerVISPolicy,
)
from segblocks.zoo.mask2former_vis.classes import narrow_classes
from segblocks.zoo.rule_weights import fill_by_rule

CLASSES = ("cat", "dog", "fish", "hare", "ibis")
SLIM = Mask2FormerVISConfig(
    vocabulary=CLASSES,
    num_queries=6,
    embed_dim=32,
    num_heads=4,
    neck_layers=1,
    neck_hidden_dim=32,
    decoder_layers=3,
    decoder_hidden_dim=32,
)
HEIGHT, WIDTH = 50, 70


@functools.cache
def slim() -> Mask2FormerVIS:
    model = Mask2FormerVIS(SLIM).eval()
    fill_by_rule(model)
    return model


def frames(batch: int = 1, count: int = 3, height: int = HEIGHT) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    shape = (batch, count, 3, height, WIDTH)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@torch.no_grad()
def run(video: Tensor, task: VIS | None = None, **options: object) -> ClipOutput:
    return slim()(video, task or VIS(CLASSES), **options)


def assert_alike(got: ClipOutput, wanted: ClipOutput) -> None:
    for a, b in zip(got.predictions, wanted.predictions, strict=True):
        torch.testing.assert_close(a.queries, b.queries, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(a.class_logits, b.class_logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got.mask_logits, wanted.mask_logits, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("count", "height"), [(1, 32), (1, 33), (4, 50)])
def test_any_size_and_number_of_frames(count: int, height: int) -> None:
    output = run(frames(count=count, height=height))
    padded = (-(-height // 32) * 8, 24)
    assert output.mask_logits.shape == (1, 6, count, *padded)
    assert output.model_size == (height, WIDTH)
    assert output.class_logits is not None
    assert output.class_logits.shape == (1, 6, 6)
    assert output.groups == {"instance": slice(0, 6)}
    assert len(output.auxiliary) == 3
    assert output.frame_indices == tuple(range(count))


def test_the_padding_is_the_mean_colour() -> None:
    mean = torch.tensor(SLIM.pixel_mean).view(3, 1, 1).expand(1, 3, 3, 64, 96).clone()
    mean[..., :HEIGHT, :WIDTH] = frames().float()
    padded, whole = run(frames()), run(mean)
    assert torch.equal(padded.mask_logits, whole.mask_logits)


def test_clips_of_a_batch_do_not_mix() -> None:
    video = frames(batch=2)
    both = run(video)
    alone = run(video[1:])
    torch.testing.assert_close(both.queries[-1][1:], alone.queries[-1], atol=1e-4, rtol=1e-4)


def test_frames_of_a_clip_do() -> None:
    video = frames()
    changed = video.clone()
    changed[:, 2] = 255 - changed[:, 2]
    assert not torch.allclose(run(video).queries[-1], run(changed).queries[-1], atol=1e-3)
    order = [2, 0, 1]
    assert not torch.allclose(run(video).queries[-1], run(video[:, order]).queries[-1], atol=1e-3)


def test_cached_features_and_indices_change_nothing() -> None:
    with torch.no_grad():
        pyramid = slim().extract(frames())
    output = run(frames(), features=pyramid, frame_indices=[4, 5, 6])
    assert torch.equal(output.mask_logits, run(frames()).mask_logits)
    assert output.frame_indices == (4, 5, 6)
    assert output.state.next_start == 4


def test_clips_with_tasks_of_their_own_come_out_as_alone() -> None:
    video = frames(batch=2)
    tasks = [VIS(CLASSES), VIS(CLASSES, classes=["ibis", "cat"])]
    with torch.no_grad():
        outputs = slim().forward_clips(video, [[tasks[0]], tasks[1]])
    for b, output in enumerate(outputs):
        assert_alike(output, run(video[b : b + 1], tasks[b]))
        assert output.state is None
    with pytest.raises(ValueError, match="tasks must be 2, one a clip, got 1"):
        slim().forward_clips(video, tasks[:1])


def test_training_and_evaluation_are_one_path() -> None:
    model = Mask2FormerVIS(SLIM)
    fill_by_rule(model)
    assert model.training
    output = model(frames(), VIS(CLASSES))
    assert_alike(output, run(frames()))
    (output.mask_logits.square().mean() + output.class_logits.square().mean()).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert not missing


def test_some_classes_keep_their_probabilities() -> None:
    whole, some = run(frames()), run(frames(), VIS(CLASSES, classes=["hare", "cat"]))
    assert whole.class_logits is not None
    assert some.class_logits is not None
    expected = whole.class_logits.softmax(-1)[..., [3, 0]]
    torch.testing.assert_close(some.class_logits.softmax(-1)[..., :2], expected)
    assert torch.equal(some.mask_logits, whole.mask_logits)
    same = torch.randn(2, 6)
    assert narrow_classes(same, [0, 1, 2, 3, 4]) is same


def test_wrong_arguments_are_named() -> None:
    mask = np.ones((1, HEIGHT, WIDTH), bool)
    with pytest.raises(ValueError, match=r"task must be one of vis, got vos, which .*tarvis"):
        slim()(frames(), VOS(mask))
    with pytest.raises(ValueError, match="task must be one of vis, got vps"):
        slim()(frames(), VPS(CLASSES))
    with pytest.raises(ValueError, match=r"vocabulary must be classes.*lacks person, giant_panda"):
        slim()(frames(), VIS("youtube_vis_2019"))
    with pytest.raises(ValueError, match="num_queries must be a whole number from 1, got 0"):
        Mask2FormerVISConfig(num_queries=0)
    with pytest.raises(ValueError, match="did you mean 'ovis'"):
        Mask2FormerVISConfig(vocabulary="ovi")


@pytest.mark.parametrize(
    ("name", "queries", "side"),
    [("resnet50", 100, 360), ("swin_tiny", 100, 480), ("swin_base", 100, 480),
     ("swin_large", 200, 480)],
)  # fmt: skip
def test_variants_are_those_of_the_official_configurations(
    name: str, queries: int, side: int
) -> None:
    with torch.device("meta"):
        model = create_model(f"mask2former_vis_{name}")
    assert isinstance(model, Mask2FormerVIS)
    assert len(model.query_content) == queries
    assert model.vocabulary == get_vocabulary("youtube_vis_2021")
    policy = model.video_policy(VIS("youtube_vis_2021"))
    assert (policy.short_side, policy.long_side, policy.overlap) == (side, 1333, 0)
    assert policy.clip_length > 10**9, "the whole video is one clip"
    assert policy.resizing == "pillow"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"clip_length": 4, "overlap": 4}, "overlap must be from 0 to clip_length - 1"),
        ({"short_side": -1}, "short_side must be positive"),
        ({"max_instances": 0}, "max_instances must be at least 1"),
    ],
)
def test_settings_are_checked(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mask2FormerVISPolicy(VIS(CLASSES), **given)
    with pytest.raises(ValueError, match="tasks must be one VIS task"):
        Mask2FormerVISPolicy(VOS(np.ones((1, 4, 4), bool)))


def test_frames_are_resized_as_by_detectron2() -> None:
    asked = []
    model = Mask2FormerVIS(SLIM).eval()
    model.neck.register_forward_pre_hook(lambda _m, inputs: asked.append(inputs[0][4].shape))
    segment(model, np.zeros((1, 48, 86, 3), np.uint8), VIS(CLASSES), short_side=36)
    assert asked == [(1, 1, 256, 16, 24)], "86 * 0.75 is 64.5, and 65 is padded to 96"


def official_result(output: ClipOutput, count: int) -> list[tuple[float, int, np.ndarray]]:
    """The best pairs of query and class with their masks, by loops."""
    assert output.class_logits is not None
    scores = output.class_logits[0].softmax(-1)
    pairs = [(float(scores[q, k]), q, k) for q in range(6) for k in range(len(CLASSES))]
    full = torch.nn.functional.interpolate(output.mask_logits[0], scale_factor=4, mode="bilinear")
    return [
        (score, label, (full[q, :, :HEIGHT, :WIDTH] > 0).numpy())
        for score, q, label in sorted(pairs, key=lambda pair: -pair[0])[:count]
    ]


def test_the_whole_video_is_one_clip_with_the_best_pairs() -> None:
    video = frames(count=5)
    array = video[0].permute(0, 2, 3, 1).numpy()
    options = {"short_side": 0, "official_compat": True}
    result = segment(slim(), array, VIS(CLASSES), **options)
    expected = official_result(run(video), 10)
    assert len(result.tracks) == 10
    for track, (score, label, masks) in zip(result.tracks, expected, strict=True):
        assert track.score == pytest.approx(score, abs=1e-5)
        assert track.label == CLASSES[label]
        assert np.mean(track.masks() != masks) < 1e-3
    seen = segment(slim(), array, VIS(CLASSES), short_side=0).tracks
    assert [t.id for t in seen] == [t.id for t in result.tracks if t.rles]
    few = segment(slim(), array, VIS(CLASSES), short_side=0, max_instances=3)
    assert {t.id for t in few.tracks} <= {1, 2, 3}


def test_clips_are_streamed_and_joined() -> None:
    array = frames(count=7)[0].permute(0, 2, 3, 1).numpy()
    settings = {"short_side": 0, "clip_length": 3, "overlap": 1}
    found = list(stream(slim(), array, VIS(CLASSES), **settings))
    assert [frame.index for frame in found] == list(range(7))
    result = segment(slim(), array, VIS(CLASSES), **settings)
    for t, frame in enumerate(found):
        assert isinstance(frame, FrameResult)
        for number, mask in zip(frame.ids, frame.masks, strict=True):
            assert np.array_equal(result.track(number).mask(t), mask)


def output_of(start: int, logits: list[list[float]], maps: list[list[float]]) -> ClipOutput:
    """A clip of 4x4 frames whose queries have constant masks, ``maps`` a frame."""
    features = torch.tensor(maps).T[None, :, :, None, None]
    embeddings = torch.eye(len(maps))[None]
    prediction = Prediction(embeddings, embeddings, torch.tensor([logits]).log(), "instance")
    indices = tuple(range(start, start + len(maps[0])))
    return ClipOutput((prediction,), features, {"instance": slice(0, len(maps))}, (4, 4), indices)


def test_a_query_in_doubt_comes_twice_with_one_mask() -> None:
    policy = Mask2FormerVISPolicy(VIS(["cat", "dog"]), max_instances=3)
    state = policy.start((4, 4), (4, 4))
    clip = output_of(0, [[0.5, 0.4, 0.1], [0.1, 0.3, 0.6]], [[1.0, -1.0], [-1.0, -2.0]])
    first, second = (frame for (frame,) in policy.merge(clip, state, last=True))
    assert (first.ids, first.labels) == ((1, 2), ("cat", "dog"))
    assert first.scores == pytest.approx((0.5, 0.4))
    assert first.masks.all()
    assert second.ids == ()
    (summaries,) = policy.summary(state)
    assert [(s.id, s.label) for s in summaries] == [(1, 0), (2, 1)]
    assert summaries[0].class_scores == pytest.approx([0.5, 0.4])
    strict = Mask2FormerVISPolicy(VIS(["cat", "dog"]), max_instances=3, official_compat=True)
    assert [s.id for s in strict.summary(state)[0]] == [1, 2, 3]


def test_outputs_that_do_not_belong_are_refused() -> None:
    policy = Mask2FormerVISPolicy(VIS(["cat", "dog"]), clip_length=2)
    state = policy.start((4, 4), (4, 4))
    with pytest.raises(ValueError, match="must have 2 classes of classes and no-object"):
        policy.merge(output_of(0, [[0.5, 0.5]], [[1.0, 1.0]]), state)
    good = [[0.5, 0.4, 0.1]]
    with pytest.raises(ValueError, match="the next clip begins at frame 0"):
        policy.merge(output_of(1, good, [[1.0, 1.0]]), state)
    with pytest.raises(ValueError, match="no clip is skipped, got 2"):
        policy.skip(2, state)
    assert state.next_start == 0
    assert policy.hints(state) == [VIS(["cat", "dog"])]


def test_a_saved_model_comes_back(tmp_path: object) -> None:
    slim().save_pretrained(f"{tmp_path}/slim")
    again = from_pretrained(f"{tmp_path}/slim")
    assert again.config == SLIM
    with torch.no_grad():
        assert torch.equal(again(frames(), VIS(CLASSES)).mask_logits, run(frames()).mask_logits)
