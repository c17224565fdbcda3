"""What UniVS is trained for: against its definition, and how prompts are made."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks.data.clips import ClipDataset, ClipRule, ClipSource, ClipTransform, TrainingClip
from segblocks.data.sampler import Draw
from segblocks.data.synthetic import SyntheticWorld, world_config
from segblocks.losses import PointMaskLoss
from segblocks.matching import MatchingCost, linear_assignment
from segblocks.matching import points as matching_points
from segblocks.tasks import VOS, HintTask, RefVOS
from segblocks.training.criteria import UniVSCriterion
from segblocks.training.step import TrainingStep
from segblocks.training.univs_prompts import PromptRule, with_entities
from segblocks.training.univs_step import UniVSStep
from segblocks.zoo.univs import UniVS, UniVSConfig
from segblocks.zoo.univs.state import ClassPrompts

SLIM = UniVSConfig(
    backbone="test_resnet",
    num_queries=9,
    embed_dim=32,
    num_heads=4,
    neck_layers=1,
    neck_hidden_dim=32,
    decoder_layers=2,
    decoder_hidden_dim=32,
    text_encoder="hash/16",
    text_templates="name",
    text_dim=16,
    tokens_per_prompt=4,
)
POINTS = 24
TASKS = ("vis", "vps", "vss", "evs", "refvos")


@functools.cache
def model() -> UniVS:
    torch.manual_seed(0)
    return UniVS(SLIM).train()


@functools.cache
def clip(task: str, frames: int = 3, video: int = 0) -> TrainingClip:
    config = world_config("refvos", size=(56, 90), num_frames=7, num_objects=(3, 4))
    rule = ClipRule(num_frames=frames, reach=6, box_share=0.3)
    source = ClipSource(
        SyntheticWorld(config, length=3),
        rule,
        ClipTransform(flip=0.0, colors=None),
        tasks=dict.fromkeys(TASKS, 1.0),
    )
    return ClipDataset([source])[Draw(0, video, task, 0)]


@pytest.fixture
def fixed_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the same points everywhere."""

    def uniform(shape: tuple[int, ...], count: int, generator: object, device: object) -> Tensor:
        drawn = torch.rand(count, 2, generator=torch.Generator().manual_seed(count))
        return drawn.expand(*shape, count, 2)

    monkeypatch.setattr(matching_points, "_uniform", uniform)


def by_hand(output: Any, given: TrainingClip, rows: list[int]) -> dict[str, Tensor]:
    """Masks and classes from their definitions, one prediction after the other."""
    cost = MatchingCost(
        class_weight=3.0, num_points=POINTS, probability=lambda x: (5 * x.sigmoid()).softmax(-1)
    )
    mask_loss = PointMaskLoss(num_points=POINTS, importance=0.5)
    features, masks = output.mask_features[0], F.pad(given.masks, (0, 6, 0, 8))
    labels = given.labels
    assert labels is not None
    first = output.groups["learnable"]
    names = [f"{s}{n}" for s in ("", "prompt_") for n in ("mask", "dice", "class")]
    sums = dict.fromkeys(names, torch.tensor(0.0))
    for p in output.predictions:
        all_logits = p.class_logits[0]
        (match,) = linear_assignment(
            [cost(p.mask_embeddings[0, first], features, masks, all_logits[first], labels)]
        )
        streams = {
            "": (match.queries, match.targets, first),
            "prompt_": (torch.arange(len(rows)) + first.stop, torch.tensor(rows), None),
        }
        for prefix, (queries, targets, part) in streams.items():
            losses = mask_loss(p.mask_embeddings[0, queries], features, masks, targets)
            count = len(queries) * masks.shape[1]
            sums[f"{prefix}mask"] = sums[f"{prefix}mask"] + losses.cross_entropy.sum() / count
            sums[f"{prefix}dice"] = sums[f"{prefix}dice"] + losses.dice.sum() / count
            logits = all_logits[queries if part is None else part]
            place = torch.arange(len(queries)) if part is None else queries
            wanted = torch.zeros_like(logits)
            wanted[place, labels[targets]] = 1
            probability = logits.sigmoid()
            right = torch.where(wanted > 0, probability, 1 - probability)
            focal = (-0.5 * (1 - right) ** 2 * right.log()).sum()
            entropy = -logits.log_softmax(-1)[place, labels[targets]].sum()
            sums[f"{prefix}class"] = sums[f"{prefix}class"] + (focal + entropy) / len(queries)
    return {name: 5 * 0.5 * value for name, value in sums.items()}


@pytest.mark.usefixtures("fixed_points")
def test_masks_and_classes_are_what_they_are_defined_as() -> None:
    rule = PromptRule(visual_share=1.0)
    asked = rule.ask(clip("vis"), np.random.default_rng(0))
    with torch.no_grad():
        (output,) = model().forward_clips(asked.frames[None], [asked.tasks])
        got = UniVSCriterion(num_points=POINTS)([output], [asked])
        want = by_hand(output, asked, list(asked.rows))
    for name, value in want.items():
        torch.testing.assert_close(got[name], value, atol=1e-4, rtol=1e-4)


def test_every_task_has_its_terms_and_reaches_every_weight() -> None:
    torch.manual_seed(0)
    fresh = UniVS(SLIM)
    masks = {"mask", "dice", "reid", "reid_auxiliary", "across"}
    masks |= {f"prompt_{name}" for name in masks if name != "across"}
    classes = {"class", "prompt_class"}
    want = {
        ("vis", 1.0): masks | classes | {"across_auxiliary"},
        ("vps", 0.0): masks | classes | {"prompt_semantic"},
        ("vss", 0.0): masks | classes | {"prompt_semantic"},
        ("evs", 0.0): masks | {"across_auxiliary"},
        ("refvos", 0.0): masks | {"across_auxiliary"},
    }
    for (task, share), names in want.items():
        step = UniVSStep(fresh, UniVSCriterion(num_points=POINTS), visual_share=share)
        losses = step([clip(task)])
        assert losses.keys() == names, task
        torch.stack(list(losses.values())).sum().backward()
    assert [n for n, p in fresh.named_parameters() if p.grad is None] == []
    assert all(p.grad is not None and p.grad.isfinite().all() for p in fresh.parameters())


def test_a_plain_step_trains_what_clips_ask_for() -> None:
    step = TrainingStep(model(), UniVSCriterion(num_points=POINTS))
    alone = step([clip("vis")])
    assert alone.keys() == {"mask", "dice", "class", "reid", "reid_auxiliary"}
    both = step([clip("vis"), clip("evs")])
    assert "prompt_mask" in both


def test_stuff_is_found_by_queries_too() -> None:
    panoptic, semantic = with_entities(clip("vps")), with_entities(clip("vss"))
    assert panoptic.labels is not None
    assert panoptic.vocabulary is not None
    assert semantic.labels is not None
    things = [panoptic.vocabulary.is_thing(int(k)) for k in panoptic.labels]
    count = len(clip("vps").masks)
    assert things == [True] * count + [False] * (len(things) - count)
    assert not all(things)
    truth = clip("vss").semantic
    assert truth is not None
    for mask, label in zip(semantic.masks, semantic.labels, strict=True):
        assert torch.equal(mask, truth == label)
    assert with_entities(panoptic) is panoptic
    with pytest.raises(ValueError, match="has no semantic map for vps"):
        with_entities(dataclasses.replace(clip("vps"), semantic=None))


def test_prompts_show_or_name_targets() -> None:
    kinds = set()
    for seed in range(12):
        asked = PromptRule(visual_share=1.0).ask(clip("vis"), np.random.default_rng(seed))
        hints = [task for task in asked.tasks if isinstance(task, HintTask)]
        ids = [i - 1 for task in hints for i in task.object_ids]
        assert ids == list(asked.rows)
        for task in hints:
            ((frame, given),) = task.hints.items()
            kinds.add(given.kind)
            for i, value in zip(given.ids, given.values, strict=True):
                truth = asked.masks[i - 1, frame].numpy()
                if given.kind == "mask":
                    np.testing.assert_array_equal(value, truth)
                elif given.kind == "point":
                    x, y = (int(side) for side in value)
                    assert truth[y, x]
    assert kinds == {"mask", "point", "box"}
    named = PromptRule(visual_share=0.0, absent_classes=2).ask(
        clip("vis"), np.random.default_rng(0)
    )
    (classes,) = (task for task in named.tasks if isinstance(task, ClassPrompts))
    assert named.vocabulary is not None
    assert named.labels is not None
    asked_for = {named.vocabulary.index(name) for name in classes.vocabulary.classes}
    present = set(named.labels.tolist())
    assert present <= asked_for
    assert len(asked_for - present) == 2


def test_sentences_about_one_object_are_one_target() -> None:
    spoken = clip("refvos")
    masks = spoken.masks[:1].repeat(2, 1, 1, 1)
    twice = dataclasses.replace(spoken, masks=masks, tasks=(RefVOS(["a star", "the star"]),))
    (output,) = model().forward_clips(twice.frames[None], [twice.tasks])
    for merge, count in ((True, 1), (False, 2)):
        criterion = UniVSCriterion(num_points=POINTS, merge_repeated=merge)
        _, stream = criterion.clip_terms(output, twice, torch.Generator().manual_seed(0))
        assert stream.rows.shape[1] == count
        assert not stream.ids.any()


@pytest.mark.parametrize(
    ("length", "shown", "starts"), [(5, 0, [0]), (5, 6, [2]), (3, 3, [3]), (5, 3, [0, 2])]
)
def test_clips_of_a_video_show_an_object(length: int, shown: int, starts: list[int]) -> None:
    video = clip("evs", 7)
    masks = torch.zeros_like(video.masks)
    masks[:, shown] = True
    step = UniVSStep(model(), UniVSCriterion(num_points=POINTS), clip_length=length)
    parts = step.windows(dataclasses.replace(video, masks=masks), length)
    assert [start for start, _ in parts] == starts
    assert all(part.tasks and part.rows for _, part in parts)


def test_a_video_is_two_clips_of_which_the_second_remembers() -> None:
    step = UniVSStep(model(), UniVSCriterion(num_points=POINTS), clip_length=5)
    for task in TASKS:
        losses = step([clip(task, 7)])
        assert {"mask", "between_clips", "between_clips_auxiliary"} <= losses.keys()
    (start, first), (later, second) = step.windows(clip("evs", 7), 5)
    assert (start, later) == (0, 2)
    assert torch.equal(first.masks[:, 2:], second.masks[:, :3])
    assert first.seed != second.seed
    assert torch.equal(second.frames, clip("evs", 7).frames[2:])
    short = step([clip("evs")])
    assert "between_clips" not in short


def test_prompts_without_a_target_are_named() -> None:
    hinted = clip("evs")
    mask = np.zeros((1, 56, 90), bool)
    mask[:, 10:30, 10:30] = True
    more = dataclasses.replace(hinted, tasks=(*hinted.tasks, VOS(mask)))
    step = TrainingStep(model(), UniVSCriterion(num_points=POINTS))
    with pytest.raises(ValueError, match=r"clip '.*' has \d targets for \d prompts"):
        step([more])


def test_the_same_clip_gives_the_same_losses() -> None:
    step = UniVSStep(model(), UniVSCriterion(num_points=POINTS))
    torch.manual_seed(1)
    one = step([clip("vis"), clip("refvos")])
    torch.manual_seed(2)
    two = step([clip("vis"), clip("refvos")])
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_rules_are_checked() -> None:
    with pytest.raises(ValueError, match=r"visual_share must lie in 0\.\.1, got 2"):
        PromptRule(visual_share=2.0)
    with pytest.raises(ValueError, match="max_prompts must be at least 1"):
        PromptRule(max_prompts=0)
    with pytest.raises(ValueError, match="point_share and box_share"):
        PromptRule(point_share=0.9)
    with pytest.raises(ValueError, match="clip_length must be at least 1, got 0"):
        UniVSStep(model(), UniVSCriterion(), clip_length=0)


def test_a_few_steps_lower_every_loss_of_a_clip() -> None:
    torch.manual_seed(0)
    fresh = UniVS(SLIM).train()
    step = UniVSStep(fresh, UniVSCriterion(num_points=256), visual_share=1.0)
    optimizer = torch.optim.AdamW(fresh.parameters(), lr=2e-3, weight_decay=0.0)
    clips = [clip("vis", 2), clip("refvos", 2)]
    history: list[dict[str, float]] = []
    for i in range(30):
        # Other points every time.
        losses = step([dataclasses.replace(c, seed=(i, n)) for n, c in enumerate(clips)])
        history.append({name: float(value.detach()) for name, value in losses.items()})
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(fresh.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    for name, limit in {"mask": 0.5, "dice": 0.8, "class": 0.3, "prompt_class": 0.4}.items():
        assert history[-1][name] < limit * history[0][name], name
    assert history[-1]["prompt_mask"] < 0.8 * history[0]["prompt_mask"]
