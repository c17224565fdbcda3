"""One small TarViS learns two clips by heart, for all its tasks."""

from __future__ import annotations

import dataclasses

import torch

from segblocks.data.clips import ClipDataset, ClipRule, ClipSource, ClipTransform
from segblocks.data.sampler import Draw
from segblocks.data.synthetic import SyntheticWorld, WorldConfig
from segblocks.inference import segment, task_of
from segblocks.inference.evaluation.sample_task import open_sample
from segblocks.metrics import HOTA, STQ, VPQ, JAndF, TrackAP
from segblocks.training.criteria import TarViSCriterion
from segblocks.training.step import TrainingStep
from segblocks.zoo.tarvis import TarViS, TarViSConfig

STEPS, FRAMES = 110, 3
# Learnt in turn: two tasks a step.
TURNS = (("vis", "vos"), ("vps", "pet"))
MAIN = [
    ("vis", TrackAP, "AP"),
    ("vps", VPQ, "VPQ"),
    ("vps", STQ, "STQ"),
    ("vos", JAndF, "J&F"),
    ("pet", HOTA, "HOTA"),
]
# Two large things on two kinds of ground, sharp enough for masks at stride 4 to be exact.
WORLD = WorldConfig(
    size=(96, 128),
    num_frames=FRAMES,
    num_objects=(2, 2),
    object_size=(0.2, 0.28),
    stuff_regions=(2, 2),
    occlusion=0.0,
    leave=0.0,
    camera_shake=0.0,
    noise=0.0,
    texture=0.5,
)
MODEL = TarViSConfig(
    backbone="test_resnet",
    vocabularies=("synthetic",),
    embed_dim=64,
    num_heads=4,
    neck_layers=1,
    neck_hidden_dim=128,
    decoder_layers=2,
    decoder_hidden_dim=128,
    encoder_layers=1,
    encoder_hidden_dim=128,
    background_grid=(2, 2),
    num_instance_queries=6,
    queries_per_object=(2, 2),
    max_points=(None, None),
    size_multiple=32,
)


def test_two_clips_are_learnt_by_heart() -> None:
    torch.manual_seed(0)
    world = SyntheticWorld(WORLD, seed=3, length=2)
    model = TarViS(MODEL).train()
    learn(model, world)
    reached = {
        f"{task} {name}": measure(model.eval(), world, task, metric, name)
        for task, metric, name in MAIN
    }
    assert min(reached.values()) >= 0.97, reached


def learn(model: TarViS, world: SyntheticWorld) -> None:
    rule = ClipRule(num_frames=FRAMES, reach=FRAMES - 1, order="consecutive", point_share=0.0)
    transform = ClipTransform(flip=0.0, colors=None)
    tasks = {task: 1.0 for turn in TURNS for task in turn}
    clips = ClipDataset([ClipSource(world, rule, transform, tasks=tasks)])
    batches = [
        [clips[Draw(0, video, task, 0)] for task in turn for video in range(len(world))]
        for turn in TURNS
    ]
    step = TrainingStep(model, TarViSCriterion(num_points=256, semantic_points=512))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    for i in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min((i + 1) / 20, 1.0, 2 * (1 - i / STEPS))
        batch = batches[i % len(batches)]
        # Other points every time.
        losses = step([dataclasses.replace(clip, seed=(i, n)) for n, clip in enumerate(batch)])
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def measure(model: TarViS, world: SyntheticWorld, task: str, kind: type, name: str) -> float:
    metric = kind()
    for sample in world:
        asked = task_of(sample, task)
        assert asked is not None
        result = segment(
            model, open_sample(sample), asked, clip_length=FRAMES, overlap=1, short_side=0
        )
        metric.update(sample, result)
    return metric.compute()[name]
