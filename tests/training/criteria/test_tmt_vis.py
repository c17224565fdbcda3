"""What Mask2Former-VIS and TMT-VIS are trained for, from the losses of every prediction."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segblocks.data.clips import TrainingClip
from segblocks.losses import LossSum, PointMaskLoss
from segblocks.matching import MatchingCost, linear_assignment
from segblocks.matching import points as matching_points
from segblocks.tasks import VIS
from segblocks.text import Vocabulary
from segblocks.training.criteria import Mask2FormerVISCriterion, TMTVISCriterion
from segblocks.training.step import TrainingStep
from segblocks.zoo.tmt_vis import TMTVIS, TMTVISConfig

ANIMALS = ("animals", ("dog", "cat", "bird", "fish"))
STREET = ("street", ("car", "person", "Dog"))
SLIM = TMTVISConfig(
    backbone="resnet18",
    vocabularies=(ANIMALS, STREET),
    text_encoder="hash/16",
    text_dim=16,
    num_selected=2,
    num_queries=5,
    embed_dim=32,
    num_heads=4,
    neck_layers=1,
    neck_hidden_dim=32,
    decoder_layers=2,
    decoder_hidden_dim=32,
)
POINTS = 24
HEIGHT, WIDTH = 56, 90


@functools.cache
def model(**overrides: Any) -> TMTVIS:
    torch.manual_seed(0)
    return TMTVIS(dataclasses.replace(SLIM, **overrides)).train()


def clip(vocabulary: tuple, labels: list[int], seed: int = 0, frames: int = 2) -> TrainingClip:
    generator = torch.Generator().manual_seed(seed)
    shape = (frames, 3, HEIGHT, WIDTH)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    masks = torch.zeros(len(labels), frames, HEIGHT, WIDTH, dtype=torch.bool)
    for n, mask in enumerate(masks):
        mask[:, 5 + 9 * n : 40, 10 + 20 * n : 70] = True
    known = Vocabulary(*vocabulary)
    return TrainingClip(
        f"clip {seed}",
        pixels,
        (VIS(known),),
        masks,
        torch.tensor(labels, dtype=torch.int64),
        None,
        None,
        known,
        tuple(range(frames)),
        (7, seed),
    )


CLIPS = [clip(ANIMALS, [2, 0], 0), clip(STREET, [2], 1), clip(ANIMALS, [], 2)]


@pytest.fixture
def fixed_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the same points everywhere."""

    def uniform(shape: tuple[int, ...], count: int, generator: object, device: object) -> Tensor:
        drawn = torch.rand(count, 2, generator=torch.Generator().manual_seed(count))
        return drawn.expand(*shape, count, 2)

    monkeypatch.setattr(matching_points, "_uniform", uniform)


def by_hand(outputs: Any, clips: list[TrainingClip]) -> dict:
    """The losses from their definitions: one prediction, one clip at a time."""
    cost, mask_loss = MatchingCost(num_points=POINTS), PointMaskLoss(num_points=POINTS)
    entropy: dict[tuple[str, int], list] = {}
    sums = {"mask": 0.0, "dice": 0.0}
    presence = [0.0, 0]
    for output, one in zip(outputs, clips, strict=True):
        features = output.mask_features[0]
        masks = nn.functional.pad(one.masks, (0, 96 - WIDTH, 0, 64 - HEIGHT))
        counts = {"prediction": 0, "taxonomy": 0}
        for prediction in output.predictions:
            embeddings, logits = prediction.mask_embeddings[0], prediction.class_logits[0]
            costs = cost(embeddings, features, masks, logits, one.labels)
            (match,) = linear_assignment([costs])
            classes = torch.full((5,), logits.shape[1] - 1)
            classes[match.queries] = one.labels[match.targets]
            weights = torch.where(classes == logits.shape[1] - 1, 0.1, 1.0)
            each = -logits.log_softmax(-1)[torch.arange(5), classes] * weights
            key = (prediction.name, counts[prediction.name])
            counts[prediction.name] += 1
            row = entropy.setdefault(key, [0.0, 0.0])
            row[0] += each.sum()
            row[1] += weights.sum()
            if prediction.name == "prediction" and len(masks):
                losses = mask_loss(embeddings[match.queries], features, masks, match.targets)
                sums["mask"] += losses.cross_entropy.sum()
                sums["dice"] += losses.dice.sum()
        scores = output.taxonomy.logits[0]
        there = torch.zeros(len(scores))
        there[one.labels] = 1
        presence[0] += nn.functional.binary_cross_entropy_with_logits(
            scores, there, reduction="sum"
        )
        presence[1] += len(scores)
    total = sum(len(one.masks) for one in clips)
    losses = {name: 5 * value / total for name, value in sums.items()}
    for name, kind, weight in (("class", "prediction", 2.0), ("taxonomy", "taxonomy", 0.5)):
        losses[name] = weight * sum(s / w for (k, _), (s, w) in entropy.items() if k == kind)
    return losses | {"presence": presence[0] / presence[1]}


@pytest.mark.usefixtures("fixed_points")
def test_every_loss_is_what_it_is_defined_as() -> None:
    criterion = TMTVISCriterion(num_points=POINTS)
    with torch.no_grad():
        outputs = model().forward_clips(
            torch.stack([one.frames for one in CLIPS]), [one.tasks for one in CLIPS]
        )
        got, want = criterion(outputs, CLIPS), by_hand(outputs, CLIPS)
    assert got.keys() == want.keys()
    for name in want:
        torch.testing.assert_close(got[name], torch.as_tensor(want[name]), atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("fixed_points")
def test_without_taxonomy_it_is_mask2former() -> None:
    plain, full = Mask2FormerVISCriterion(num_points=POINTS), TMTVISCriterion(num_points=POINTS)
    off = TMTVISCriterion(num_points=POINTS, taxonomy_weight=0.0, presence_weight=0.0)
    with torch.no_grad():
        losses = {
            name: TrainingStep(model(), criterion)(CLIPS)
            for name, criterion in {"plain": plain, "full": full, "off": off}.items()
        }
        never = TrainingStep(model(injection="never"), full)(CLIPS)
    assert losses["plain"].keys() == losses["off"].keys() == {"mask", "dice", "class"}
    assert never.keys() == losses["plain"].keys()
    for name, value in losses["plain"].items():
        assert torch.equal(value, losses["full"][name])
        assert torch.equal(value, losses["off"][name])


@pytest.mark.usefixtures("fixed_points")
def test_masks_weigh_more_in_longer_clips() -> None:
    criterion = Mask2FormerVISCriterion(num_points=POINTS)
    with torch.no_grad():
        (short,) = model().forward_clips(CLIPS[0].frames[None, :1], [CLIPS[0].tasks])
    twice = dataclasses.replace(short, mask_features=short.mask_features.repeat(1, 2, 1, 1, 1))
    still = dataclasses.replace(CLIPS[0], masks=CLIPS[0].masks[:, :1].repeat(1, 2, 1, 1))
    one = dataclasses.replace(CLIPS[0], masks=CLIPS[0].masks[:, :1])
    a, b = criterion([short], [one]), criterion([twice], [still])
    torch.testing.assert_close(b["mask"], 2 * a["mask"])
    torch.testing.assert_close(b["dice"], 2 * a["dice"])
    torch.testing.assert_close(b["class"], a["class"])


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_presence_loss_alone_teaches_the_score(weight: float) -> None:
    torch.manual_seed(0)
    fresh = TMTVIS(SLIM)
    step = TrainingStep(fresh, TMTVISCriterion(num_points=POINTS, presence_weight=weight))
    sum(step(CLIPS).values()).backward()
    assert (fresh.compiler.score.weight.grad is None) == (weight == 0)
    trained = [n for n, p in fresh.named_parameters() if p.grad is None]
    assert trained == ([] if weight else ["compiler.score.weight", "compiler.score.bias"])
    head = fresh.decoder.steps[0].class_head.linear.weight
    assert head.grad.abs().amax(-1).min() > 0


def test_one_dataset_teaches_its_own_classes_alone() -> None:
    torch.manual_seed(0)
    fresh = TMTVIS(SLIM)
    sum(TrainingStep(fresh, TMTVISCriterion(num_points=POINTS))([CLIPS[1]]).values()).backward()
    moved = fresh.decoder.steps[0].class_head.linear.weight.grad.abs().amax(-1) > 0
    known = [c in ("car", "person", "dog") for c in fresh.vocabulary.classes]
    assert moved.tolist() == [*known, True]


def test_clips_without_classes_are_named() -> None:
    bare = dataclasses.replace(CLIPS[0], labels=None)
    with pytest.raises(ValueError, match="TMTVISCriterion: clip 'clip 0' has no labels for vis"):
        TrainingStep(model(), TMTVISCriterion(num_points=POINTS))([bare])


def test_terms_are_sums() -> None:
    criterion = TMTVISCriterion(num_points=POINTS)
    (output,) = model().forward_clips(CLIPS[0].frames[None], [CLIPS[0].tasks])
    terms = criterion.clip_terms(output, CLIPS[0])
    assert [t.name for t in terms] == [
        "mask", "dice", *["class"] * 3, *["taxonomy"] * 2, "presence"
    ]  # fmt: skip
    assert all(isinstance(t.loss, LossSum) for t in terms)
