"""What GvSeg is trained for, against a slow transcription that makes whole maps."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from segblocks.data.clips import TrainingClip
from segblocks.data.sample import IGNORE
from segblocks.matching import points as matching_points
from segblocks.nn import ShapePositionDescriptor, descriptor_change
from segblocks.tasks import EVS, PET, VIS, VOS, VPS, VSS, Task
from segblocks.text import Vocabulary
from segblocks.training.criteria import GvSegCriterion
from segblocks.training.criteria.gvseg_targets import targets_of
from segblocks.training.step import TrainingStep
from segblocks.zoo.gvseg import GvSeg, GvSegConfig, GvSegOutput

CLASSES = ("sky", "dog", "cat", "road")
KNOWN = Vocabulary("pets", CLASSES, (1, 2))
SLIM = GvSegConfig(
    backbone="resnet18",
    vocabulary=CLASSES,
    things=(1, 2),
    num_queries=5,
    embed_dim=32,
    num_heads=4,
    neck_layers=1,
    neck_hidden_dim=32,
    decoder_layers=2,
    decoder_hidden_dim=32,
    query_hidden_dim=32,
)
POINTS = 24
HEIGHT, WIDTH = 56, 90
TIMES = (4, 5, 6, 7, 30)


@functools.cache
def model() -> GvSeg:
    torch.manual_seed(0)
    return GvSeg(SLIM).train()


def make_clip(*tasks: Task, seed: int = 0) -> TrainingClip:
    """Three frames, the next one and a distant one. A dog stays; a cat leaves, and is back far off.

    Only the distant frame shows another dog.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (len(TIMES), 3, HEIGHT, WIDTH)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    masks = torch.zeros(3, len(TIMES), HEIGHT, WIDTH, dtype=torch.bool)
    masks[0, :, 5:35, 10:50] = True
    masks[1, :2, 30:56, 50:90] = True
    masks[1, 4, 2:10, 60:88] = True
    masks[2, 4, 40:56, 5:30] = True
    labels = torch.tensor([1, 2, 1])
    semantic = torch.zeros(len(TIMES), HEIGHT, WIDTH, dtype=torch.long)
    semantic[:4, 40:] = 3
    semantic[masks[0]] = 1
    semantic[:, :, :3] = IGNORE
    return TrainingClip(
        f"clip {seed}", frames, tasks, masks, labels, semantic, None, KNOWN, TIMES, (7, seed)
    )  # fmt: skip


def hinted(*tasks: Task, seed: int = 0, objects: int = 2) -> TrainingClip:
    clip = make_clip(*tasks, seed=seed)
    return dataclasses.replace(clip, masks=clip.masks[:objects], labels=None, semantic=None)


FIRST = make_clip(VIS(KNOWN)).masks[:2, 0].numpy()
CLIPS = {
    "vis": make_clip(VIS(KNOWN)),
    "vps": make_clip(VPS(KNOWN)),
    "vss": dataclasses.replace(
        make_clip(VSS(KNOWN)),
        masks=torch.zeros(0, len(TIMES), HEIGHT, WIDTH, dtype=torch.bool),
        labels=torch.zeros(0, dtype=torch.long),
    ),
    "vos": hinted(VOS(FIRST)),
    "points first": hinted(PET([(30.0, 10.0)]), EVS(boxes=[(50.0, 30.0, 90.0, 56.0)])),
}


@pytest.fixture
def fixed_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the same points everywhere, so that the transcription need not draw in our order."""

    def uniform(shape: tuple[int, ...], count: int, generator: object, device: object) -> Tensor:
        return drawn(count).expand(*shape, count, 2)

    monkeypatch.setattr(matching_points, "_uniform", uniform)


def drawn(count: int) -> Tensor:
    return torch.rand(count, 2, generator=torch.Generator().manual_seed(count))


def criterion(**settings: object) -> GvSegCriterion:
    given = {"vocabulary": CLASSES, "embed_dim": 32, "num_points": POINTS, "min_area": 4}
    return GvSegCriterion(**{**given, **settings}).train()


def outputs_of(loss: GvSegCriterion, *clips: TrainingClip) -> tuple[GvSegOutput, ...]:
    generators = [torch.Generator().manual_seed(n) for n in range(len(clips))]
    return model().forward_clips(
        torch.stack([clip.frames for clip in clips]),
        [clip.tasks for clip in clips],
        generators=generators,
        **loss.model_options(clips),
    )


# The transcription.


def at(maps: Tensor, points: Tensor) -> Tensor:
    """Maps (N, h, w) at points (P, 2)."""
    grid = (2 * points.double() - 1).expand(len(maps), 1, -1, 2)
    return F.grid_sample(maps[:, None].double(), grid, align_corners=False)[:, 0, 0]


def mask_losses(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and dice, summed over frames: (T, h, w) and (T, H, W)."""
    entropy = dice = logits.new_zeros(())
    for map_, truth in zip(logits, target, strict=True):
        scores = at(map_[None], drawn(3 * POINTS))[0].abs()
        chosen = scores.topk(int(0.75 * POINTS), largest=False).indices
        points = torch.cat((drawn(3 * POINTS)[chosen], drawn(POINTS - len(chosen))))
        x, y = at(map_[None], points)[0], at(truth[None], points)[0]
        p = x.sigmoid()
        entropy = entropy + F.binary_cross_entropy(p, y)
        dice = dice + 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
    return entropy, dice


def found_by(
    logits: Tensor, classes: Tensor, masks: Tensor, labels: list[int]
) -> list[tuple[int, int]]:
    """Pairs of query and target, by the costs of all of them one by one."""
    costs = torch.zeros(len(logits), len(masks), dtype=torch.float64)
    for q, o in np.ndindex(*costs.shape):
        x = at(logits[q], drawn(POINTS)).flatten()
        y = at(masks[o], drawn(POINTS)).flatten()
        p = x.sigmoid()
        dice = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
        entropy = F.binary_cross_entropy(p, y)
        costs[q, o] = 5 * entropy + 5 * dice - 2 * classes[q].softmax(0)[labels[o]]
    return list(zip(*linear_sum_assignment(costs.detach().numpy()), strict=True))


def wanted(clip: TrainingClip, part: GvSegOutput) -> list[tuple[int | None, Tensor, int, int]]:
    """What some frames show: (its query, or None; mask; label; number of the object, or -1)."""
    frames = list(part.frame_indices)
    found: list[tuple[int | None, Tensor, int, int]] = []
    for number, mask in enumerate(clip.masks[:, frames]):
        if clip.labels is None:
            found.append((number, mask, 0 if mask.any() else 1, number))
        elif mask.any():
            found.append((None, mask, int(clip.labels[number]), number))
    if clip.task in ("vps", "vss"):
        classes = [0, 3] if clip.task == "vps" else [0, 1, 2, 3]
        start = part.groups["semantic"].start
        for n, c in enumerate(classes):
            mask = clip.semantic[frames] == c
            if mask.any():
                found.append((start + n, mask, c, -1))
    return [
        (query, F.pad(mask, (0, -WIDTH % 32, 0, -HEIGHT % 32)).double(), label, number)
        for query, mask, label, number in found
    ]


def transcribed(output: GvSegOutput, clip: TrainingClip) -> dict[str, Tensor]:
    """Losses on masks and classes, and those between objects, in loops."""
    sums = {"mask": 0.0, "dice": 0.0}
    masks_in_all = 0
    layers: dict[int, list[Tensor]] = {}
    last: list[dict[int, int]] = []
    for part in (output, *output.references):
        targets = wanted(clip, part)
        masks_in_all += len(targets) * len(part.frame_indices)
        for layer, stage in enumerate((*part.auxiliary, part)):
            maps, classes = stage.mask_logits[0].double(), stage.class_logits[0].double()
            free = [n for n, target in enumerate(targets) if target[0] is None]
            pairs = [(target[0], n) for n, target in enumerate(targets) if target[0] is not None]
            if free:
                grid = slice(0, SLIM.num_queries)
                truths = torch.stack([targets[n][1] for n in free])
                labels = [targets[n][2] for n in free]
                found = found_by(maps[grid], classes[grid], truths, labels)
                pairs += [(q, free[o]) for q, o in found]
            row = torch.full((len(classes),), classes.shape[1] - 1)
            for q, n in pairs:
                row[q] = targets[n][2]
                for name, value in zip(sums, mask_losses(maps[q], targets[n][1]), strict=True):
                    sums[name] = sums[name] + value
            weight = torch.ones(classes.shape[1], dtype=torch.float64)
            weight[-1] = 0.1
            each = F.cross_entropy(classes, row, weight, reduction="none")
            total, count = layers.setdefault(layer, [torch.zeros(()), torch.zeros(())])
            layers[layer] = [total + each.sum(), count + weight[row].sum()]
        last.append({q: targets[n][3] for q, n in pairs})
    losses = {name: 5 * value / masks_in_all for name, value in sums.items()}
    losses["class"] = 2 * sum(total / count for total, count in layers.values())
    if len(clip.masks):
        losses |= between_objects(output, clip, last)
    return losses


def between_objects(
    output: GvSegOutput, clip: TrainingClip, last: list[dict[int, int]]
) -> dict[str, Tensor]:
    describe = ShapePositionDescriptor(32)

    def shape(number: int, frame: int) -> Tensor | None:
        mask = F.avg_pool2d(clip.masks[number, frame][None].float(), 4, ceil_mode=True)[0] >= 0.5
        found = describe(mask)
        return found.histogram if found.valid and mask.sum() >= 4 else None

    def alike(number: int, frame: int) -> bool:
        seen = [t for t in (0, 1, 2) if shape(number, t) is not None]
        near = min(seen, key=lambda t: abs(TIMES[t] - TIMES[frame]))
        if abs(TIMES[near] - TIMES[frame]) <= 1:
            return True
        there = shape(number, frame)
        return there is not None and float(descriptor_change(shape(number, near), there)) < 0.2

    each, cosines = [], []
    for q, number in last[0].items():
        if number < 0 or not clip.masks[number, :3].any():
            continue
        anchor = output.embeddings[0, q].double()
        ups, downs = [], []
        for part, known in zip(output.references, last[1:], strict=True):
            (frame,) = part.frame_indices
            for k in range(part.groups.get("semantic", slice(5, 5)).start):
                key, other = part.embeddings[0, k].double(), known.get(k, -1)
                if other >= 0 and not clip.masks[other, frame].any():
                    continue
                if other == number and not alike(number, frame):
                    continue
                (ups if other == number else downs).append(anchor @ key)
                cosine = F.cosine_similarity(anchor, key, dim=0)
                cosines.append((cosine - float(other == number)) ** 2)
        if ups and downs:
            pairs = torch.stack([down - up for up in ups for down in downs])
            each.append(torch.log1p(pairs.exp().sum()))
    return {
        "object_contrast": 2 * torch.stack(each).mean(),
        "object_auxiliary": 3 * torch.stack(cosines).mean(),
    }


@pytest.mark.usefixtures("fixed_points")
@pytest.mark.parametrize("name", list(CLIPS))
def test_losses_are_those_of_a_slow_transcription(name: str) -> None:
    clip, loss = CLIPS[name], criterion()
    with torch.no_grad():
        (output,) = outputs_of(loss, clip)
        ours = loss([output], [clip])
        slow = transcribed(output, clip)
    of_classes = {term for term in ours if term.startswith("class_")}
    assert of_classes == (
        {"class_contrast", "class_auxiliary"} if name in ("vps", "vss") else set()
    )
    assert ours.keys() - of_classes == slow.keys()
    for term, value in slow.items():
        torch.testing.assert_close(ours[term].double(), value.double(), rtol=5e-4, atol=1e-4)


def test_the_queries_that_are_told_are_those_that_match() -> None:
    loss = criterion()
    told = []

    class Spied(GvSegCriterion):
        def _select(self, clip: TrainingClip, output: GvSegOutput) -> Tensor:
            chosen = super()._select(clip, output)
            told.append((output.frame_indices, chosen[0].nonzero()[:, 0].tolist()))
            return chosen

    spied = Spied(vocabulary=CLASSES, embed_dim=32, num_points=POINTS)
    with torch.no_grad():
        outputs_of(spied, CLIPS["vos"])
        # The cat is out of sight in the fourth frame.
        assert told == [
            *[((0, 1, 2), [0, 1])] * 2, *[((3,), [0])] * 2, *[((4,), [0, 1])] * 2
        ]  # fmt: skip
        told.clear()
        (output,) = outputs_of(spied, CLIPS["vps"])
        shown = [len(targets_of(CLIPS["vps"], o).masks) for o in (output, *output.references)]
        assert [len(chosen) for _, chosen in told] == [n for n in shown for _ in range(2)]
        everyone = criterion(unmatched_share=1.0)._select(CLIPS["vos"], output_of_vos(loss))
    assert everyone.sum() >= 2


def output_of_vos(loss: GvSegCriterion) -> GvSegOutput:
    (output,) = outputs_of(loss, CLIPS["vos"])
    return dataclasses.replace(output, predictions=output.predictions[:1])


def test_classes_wait_until_the_step_is_over() -> None:
    torch.manual_seed(0)
    net = GvSeg(SLIM)
    step = TrainingStep(net, criterion()).train()
    queues = step.criterion.class_memory.queues
    for name in ("vss", "vps"):
        step([CLIPS[name]])
        assert int(queues.filled.sum()) == int(net.class_queries.seen.sum()) == 0
    step.after_update()
    # Sky and road in the clip and the next frame, sky in the last one; the dog in all, for VSS.
    assert queues.filled.tolist() == [6, 3, 0, 4]
    assert net.class_queries.seen.tolist() == [1, 1, 0, 1]
    step.after_update()
    assert queues.filled.tolist() == [6, 3, 0, 4]
    state = step.state_dict()
    assert torch.equal(state["criterion.class_memory.queues.entries"], queues.entries)
    step.eval()
    step([CLIPS["vss"]])
    step.after_update()
    assert int(queues.filled.sum()) == 13


def test_a_queue_of_length_zero_is_never_filled() -> None:
    torch.manual_seed(0)
    step = TrainingStep(GvSeg(SLIM), criterion(queue_length=0)).train()
    first = step([CLIPS["vss"]])
    step.after_update()
    assert int(step.criterion.class_memory.queues.filled.sum()) == 0
    assert float(first["class_contrast"].detach()) > 0


def test_what_is_not_finite_is_not_remembered() -> None:
    torch.manual_seed(0)
    net, loss = GvSeg(SLIM), criterion()
    (output,) = outputs_of(loss, CLIPS["vss"])
    broken = output.embeddings.clone()
    broken[0, 0] = math.inf
    loss([dataclasses.replace(output, embeddings=broken, references=())], [CLIPS["vss"]])
    loss.after_update(net)
    assert loss.class_memory.queues.filled.tolist() == [0, 1, 0, 1]
    assert loss.class_memory.queues.entries.isfinite().all()


def test_short_clips_have_nothing_to_contrast() -> None:
    loss = criterion()
    clip = CLIPS["vis"]
    cut = dataclasses.replace(
        clip, frames=clip.frames[:2], masks=clip.masks[:, :2], frame_indices=TIMES[:2]
    )
    (output,) = outputs_of(loss, cut)
    assert output.references == ()
    assert loss([output], [cut]).keys() == {"mask", "dice", "class"}
    empty = dataclasses.replace(cut, masks=cut.masks[:0], labels=cut.labels[:0])
    losses = loss(outputs_of(loss, empty), [empty])
    assert float(losses["mask"]) == 0
    assert float(losses["class"]) > 0


def test_the_paper_makes_negatives_of_what_has_changed() -> None:
    (output,) = outputs_of(criterion(), CLIPS["vos"])
    numbers = {}
    for rule in ("ignore", "negative"):
        contrast = criterion(far_same_id=rule).object_contrast
        moments = [
            criterion()._compare(part, CLIPS["vos"], torch.Generator())[0]
            for part in (output, *output.references)
        ]
        numbers[rule] = contrast.pairs(moments, CLIPS["vos"])
    # Of the next frame the cat's own query is no key. In the last one it is not pushed away.
    first, second = numbers.values()
    assert torch.equal(first.positives, second.positives)
    assert (first.negatives != second.negatives).nonzero().tolist() == [[1, 4 + 1]]


def test_it_learns_a_clip_of_each_task() -> None:
    torch.manual_seed(0)
    net = GvSeg(SLIM)
    step = TrainingStep(net, criterion()).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    clips = [CLIPS["vps"], CLIPS["vos"]]
    course = []
    for _ in range(6):
        loss = torch.stack(list(step(clips).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step.after_update()
        course.append(float(loss.detach()))
    assert course[-1] < 0.75 * course[0], course


def test_what_a_clip_lacks_is_named() -> None:
    loss = criterion()
    outputs = outputs_of(loss, CLIPS["vps"])
    vps = CLIPS["vps"]
    for change, message in (
        ({"labels": None}, "clip 'clip 0' has no labels for vps"),
        ({"semantic": None}, "clip 'clip 0' has no semantic map for vps"),
    ):
        with pytest.raises(ValueError, match=message):
            loss(outputs, [dataclasses.replace(vps, **change)])
    with pytest.raises(ValueError, match="vocabulary must be that of the model for vps"):
        criterion(vocabulary=None)(outputs, [vps])
    with pytest.raises(ValueError, match="lacks sky, dog"):
        criterion(vocabulary=("cat", "road"))(outputs, [vps])
    vos = CLIPS["vos"]
    with pytest.raises(ValueError, match="has 1 targets for 2 hinted objects"):
        loss(outputs_of(loss, vos), [dataclasses.replace(vos, masks=vos.masks[:1])])
    with pytest.raises(ValueError, match="clip_length must be at least 1"):
        criterion(clip_length=0)
    with pytest.raises(ValueError, match="length must be at least 0"):
        criterion(queue_length=-1)
