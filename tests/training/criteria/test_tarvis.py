"""What TarViS is trained for, against a slow transcription in float64 that makes whole maps."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from segblocks.data.clips import TrainingClip
from segblocks.data.sample import IGNORE
from segblocks.matching import points as matching_points
from segblocks.nn import ClipOutput
from segblocks.tasks import PET, VIS, VOS, VPS, Task
from segblocks.text import get_vocabulary
from segblocks.training.criteria import TarViSCriterion
from segblocks.training.step import TrainingStep
from segblocks.zoo.tarvis import TarViS, TarViSConfig

SLIM = TarViSConfig(
    backbone="resnet18",
    vocabularies=("kitti_step",),
    embed_dim=32,
    num_heads=4,
    neck_layers=1,
    neck_hidden_dim=32,
    decoder_layers=3,
    decoder_hidden_dim=32,
    encoder_layers=1,
    encoder_hidden_dim=32,
    num_instance_queries=5,
    max_points=(None, None),
    size_multiple=32,
)
POINTS = 24
# Not a multiple of 32, so that targets have to be padded as the frames are.
HEIGHT, WIDTH, FRAMES = 56, 90, 2


@functools.cache
def model() -> TarViS:
    torch.manual_seed(0)
    return TarViS(SLIM).train()


def make_clip(*tasks: Task, seed: int = 0) -> TrainingClip:
    """Two things, the second inside the first in part; classes of ground in stripes."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(
        0, 256, (FRAMES, 3, HEIGHT, WIDTH), dtype=torch.uint8, generator=generator
    )
    masks = torch.zeros(2, FRAMES, HEIGHT, WIDTH, dtype=torch.bool)
    masks[0, :, 5:45, 10:70] = True
    masks[1, 0, 20:56, 50 + seed : 90] = True
    semantic = torch.arange(HEIGHT)[:, None].expand(FRAMES, HEIGHT, WIDTH) // 12
    semantic = semantic.clone()
    semantic[:, :, :7] = IGNORE
    ignore = torch.zeros(FRAMES, HEIGHT, WIDTH, dtype=torch.bool)
    ignore[:, 40:, :30] = True
    labels = torch.tensor([13, 11])
    vocabulary = get_vocabulary("kitti_step")
    return TrainingClip(
        f"clip {seed}",
        frames,
        tasks,
        masks,
        labels,
        semantic,
        ignore,
        vocabulary,
        (0, 1),
        (7, seed),
    )


def hinted(*tasks: Task, seed: int = 0) -> TrainingClip:
    """A clip whose targets are one object a hint."""
    return dataclasses.replace(
        make_clip(*tasks, seed=seed), labels=None, semantic=None, ignore=None
    )


CLIP_MASKS = make_clip(VIS("kitti_step")).masks[:, 0].numpy()
CLIPS = {
    "vis": make_clip(VIS("kitti_step")),
    "vps": make_clip(VPS("kitti_step")),
    "vos": hinted(VOS(CLIP_MASKS)),
    "pet first": hinted(PET([(30.0, 10.0)]), VOS(CLIP_MASKS[1:])),
    "nothing": dataclasses.replace(
        make_clip(VPS("kitti_step")),
        masks=torch.zeros(0, FRAMES, HEIGHT, WIDTH, dtype=torch.bool),
        labels=torch.zeros(0, dtype=torch.int64),
    ),
}


@pytest.fixture
def fixed_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the same points everywhere, so that the transcription need not draw in our order."""

    def uniform(shape: tuple[int, ...], count: int, generator: object, device: object) -> Tensor:
        return drawn(count).expand(*shape, count, 2)

    monkeypatch.setattr(matching_points, "_uniform", uniform)


def drawn(count: int) -> Tensor:
    return torch.rand(count, 2, generator=torch.Generator().manual_seed(count))


def criterion(**settings: object) -> TarViSCriterion:
    return TarViSCriterion(num_points=POINTS, semantic_points=2 * POINTS, **settings)


def outputs_of(*clips: TrainingClip) -> tuple[ClipOutput, ...]:
    return model().forward_clips(
        torch.stack([clip.frames for clip in clips]), [clip.tasks for clip in clips]
    )


# The transcription.


def at(maps: Tensor, points: Tensor, mode: str = "bilinear") -> Tensor:
    """Maps (N, h, w) at points (N, P, 2)."""
    grid = 2 * points.double()[:, None] - 1
    return F.grid_sample(maps[:, None].double(), grid, mode=mode, align_corners=False)[:, 0, 0]


def unsure(scores: Tensor, count: int) -> Tensor:
    """The points of which three quarters have the lowest score; scores (3 * count,)."""
    chosen = scores.topk(int(0.75 * count), largest=False).indices
    return torch.cat((drawn(3 * count)[chosen], drawn(count - len(chosen))))


def padded(maps: Tensor, fill: int = 0) -> Tensor:
    return F.pad(maps, (0, -WIDTH % 32, 0, -HEIGHT % 32), value=fill)


def mask_losses(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and dice of one object, summed over its frames: (T, h, w) and (T, H, W)."""
    entropy = dice = logits.new_zeros(())
    for map_, truth in zip(logits, target, strict=True):
        candidates = at(map_[None], drawn(3 * POINTS)[None])[0]
        points = unsure(candidates.abs(), POINTS)[None]
        x, y = at(map_[None], points)[0], at(truth[None], points)[0]
        p = x.sigmoid()
        entropy = entropy + F.binary_cross_entropy(p, y)
        dice = dice + 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
    return entropy, dice


def matching(
    logits: Tensor, classes: Tensor, masks: Tensor, labels: Tensor
) -> list[tuple[int, int]]:
    points = drawn(POINTS)[None]
    costs = torch.zeros(len(logits), len(masks), dtype=torch.float64)
    for q in range(len(logits)):
        x = torch.cat([at(m[None], points)[0] for m in logits[q]])
        p = x.sigmoid()
        for o in range(len(masks)):
            y = torch.cat([at(m[None], points)[0] for m in masks[o]])
            dice = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
            entropy = F.binary_cross_entropy(p, y)
            costs[q, o] = 5 * entropy + 5 * dice - 2 * classes[q].softmax(0)[labels[o]]
    return list(zip(*linear_sum_assignment(costs.detach().numpy()), strict=True))


def semantic_loss(logits: Tensor, truth: Tensor, count: int) -> Tensor:
    """Mean over the points with a label; logits (K, T, h, w), truth (T, H, W)."""
    losses = []
    for t in range(FRAMES):
        everywhere = drawn(3 * count).expand(len(logits), -1, 2)
        candidates = at(logits[:, t], everywhere)
        best = candidates.topk(2, dim=0).values
        scores = best[0] - best[1]
        labels = at(truth[t : t + 1], drawn(3 * count)[None], "nearest")[0]
        points = unsure(scores.masked_fill(labels == IGNORE, 1000), count)
        found = at(truth[t : t + 1], points[None], "nearest")[0].long()
        x = at(logits[:, t], points.expand(len(logits), -1, 2))
        losses += list(
            F.cross_entropy(x.T, found, reduction="none", ignore_index=IGNORE)[found != IGNORE]
        )
    return torch.stack(losses).mean()


def transcribed(output: ClipOutput, clip: TrainingClip) -> dict[str, Tensor]:
    losses: dict[str, Tensor] = {}

    def add(name: str, value: Tensor) -> None:
        losses[name] = losses.get(name, torch.zeros((), dtype=torch.float64)) + value

    masks = padded(clip.masks).double()
    for part in (*output.auxiliary, output):
        maps = part.mask_logits[0].double()
        groups = output.groups
        if output.object_slices:
            objects = [maps[group].amax(0) for group in output.object_slices]
            rest = 1 - masks.amax(0, keepdim=True)
            targets = torch.cat((masks, rest))
            objects.append(maps[groups["object_background"]].amax(0))
            for map_, truth in zip(objects, targets, strict=True):
                for name, value in zip(
                    ("object_mask", "object_dice"), mask_losses(map_, truth), strict=True
                ):
                    add(name, 5 * value / (len(targets) * FRAMES))
            continue
        classes = part.class_logits[0].double()
        pairs = matching(maps[groups["instance"]], classes, masks, clip.labels)
        wanted = torch.full((len(classes),), classes.shape[1] - 1)
        for q, o in pairs:
            wanted[q] = clip.labels[o]
            for name, value in zip(("mask", "dice"), mask_losses(maps[q], masks[o]), strict=True):
                add(name, 5 * value / (len(masks) * FRAMES))
        weight = torch.ones(classes.shape[1], dtype=torch.float64)
        weight[-1] = 0.1
        add("class", 2 * F.cross_entropy(classes, wanted, weight))
        semantic = maps[groups["semantic"]]
        if clip.task == "vps":
            add("semantic", 2 * semantic_loss(semantic, padded(clip.semantic, IGNORE), 2 * POINTS))
            continue
        background = maps[groups["background"]].amax(0, keepdim=True)
        truth = torch.full(masks.shape[1:], len(semantic))
        truth[:, :HEIGHT, :WIDTH][clip.ignore] = IGNORE
        for o in masks.sum((1, 2, 3)).argsort(descending=True):
            truth[masks[o] > 0] = clip.labels[o]
        add("semantic", 2 * semantic_loss(torch.cat((semantic, background)), truth, POINTS))
    return losses


@pytest.mark.usefixtures("fixed_points")
@pytest.mark.parametrize("name", ["vis", "vps", "vos", "pet first"])
def test_losses_are_those_of_a_slow_transcription(name: str) -> None:
    clip = CLIPS[name]
    output = outputs_of(clip)[0]
    # The transcription takes the maximum over an object's queries of whole maps.
    ours = criterion(official_compat=True)([output], [clip])
    slow = transcribed(output, clip)
    assert ours.keys() == slow.keys()
    for term, loss in slow.items():
        torch.testing.assert_close(ours[term].double(), loss, rtol=2e-4, atol=1e-4)


def test_a_batch_divides_by_what_all_clips_have() -> None:
    """Two clips of one family: each term is the mean of theirs, weighted by their targets."""
    other = make_clip(VIS("kitti_step"), seed=1)
    other = dataclasses.replace(other, masks=other.masks[:1], labels=other.labels[:1])
    clips = [CLIPS["vis"], other]
    outputs = outputs_of(*clips)
    both = criterion()(outputs, clips)
    alone = [criterion()([output], [clip]) for output, clip in zip(outputs, clips, strict=True)]
    for name in ("mask", "dice"):
        mean = (2 * alone[0][name] + alone[1][name]) / 3
        torch.testing.assert_close(both[name], mean)


def test_tasks_of_a_batch_do_not_disturb_each_other() -> None:
    clips = [CLIPS["vis"], CLIPS["vos"]]
    together = criterion()(outputs_of(*clips), clips)
    vis, vos = (criterion()(outputs_of(clip), [clip]) for clip in clips)
    assert together.keys() == vis.keys() | vos.keys()
    for name, loss in (vis | vos).items():
        torch.testing.assert_close(together[name], loss, rtol=1e-4, atol=1e-4)


def test_a_clip_without_things_still_teaches_classes() -> None:
    clip = CLIPS["nothing"]
    losses = criterion()(outputs_of(clip), [clip])
    assert losses["mask"] == losses["dice"] == 0
    assert losses["class"] > 0
    assert losses["semantic"] > 0
    sum(losses.values()).backward()


def test_points_follow_the_clip_and_not_its_place() -> None:
    clips = [CLIPS["vos"], hinted(VOS(CLIP_MASKS), seed=1)]
    outputs = outputs_of(*clips)
    forth = criterion()(outputs, clips)
    back = criterion()(outputs[::-1], clips[::-1])
    for name in forth:
        torch.testing.assert_close(forth[name], back[name])


def test_regularization_is_the_norm_of_semantic_logits() -> None:
    clip = CLIPS["vps"]
    losses = criterion(regularization=1e-3)(outputs_of(clip), [clip])
    assert losses.keys() == {"mask", "dice", "class", "semantic", "regularization"}
    assert losses["regularization"] > 0


def test_wrong_targets_are_named() -> None:
    clip = CLIPS["vos"]
    wrong = dataclasses.replace(clip, masks=clip.masks[:1])
    with pytest.raises(ValueError, match="'clip 0' has 1 targets for 2 hinted objects"):
        criterion()(outputs_of(clip), [wrong])
    unlabelled = dataclasses.replace(CLIPS["vis"], labels=None)
    with pytest.raises(ValueError, match="'clip 0' has no labels"):
        criterion()(outputs_of(unlabelled), [unlabelled])
    unmapped = dataclasses.replace(CLIPS["vps"], semantic=None)
    with pytest.raises(ValueError, match="'clip 0' has no semantic map"):
        criterion()(outputs_of(unmapped), [unmapped])


def test_a_step_takes_clips_of_several_sizes() -> None:
    small = dataclasses.replace(
        CLIPS["vis"],
        frames=CLIPS["vis"].frames[..., :32, :64],
        masks=CLIPS["vis"].masks[..., :32, :64],
        semantic=None,
        ignore=None,
    )
    step = TrainingStep(model(), criterion())
    clips = [CLIPS["vos"], small, CLIPS["pet first"]]
    together = step(clips)
    apart = step([small])
    torch.testing.assert_close(together["class"], apart["class"], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="clips must hold at least one, got none"):
        step([])
