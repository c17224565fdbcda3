"""One small UniVS learns a clip by heart: what is in it, what is shown, and what is said."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from segblocks.data.clips import ClipDataset, ClipRule, ClipSource, ClipTransform
from segblocks.data.sampler import Draw
from segblocks.data.synthetic import SyntheticWorld
from segblocks.metrics import JAndF, TrackAP
from segblocks.training.criteria import UniVSCriterion
from segblocks.training.univs_step import UniVSStep
from segblocks.zoo.univs import UniVS, UniVSConfig
from tests.training import test_overfit
from tests.training.test_overfit import FRAMES, WORLD

STEPS = 70
MODEL = UniVSConfig(
    backbone="test_resnet",
    num_queries=6,
    embed_dim=64,
    num_heads=4,
    neck_layers=1,
    neck_hidden_dim=128,
    decoder_layers=3,
    decoder_hidden_dim=128,
    text_encoder="hash/32",
    text_templates="name",
    text_dim=32,
)


def test_a_clip_is_learnt_by_heart() -> None:
    torch.manual_seed(0)
    world = SyntheticWorld(WORLD, seed=3, length=1)
    rule = ClipRule(
        num_frames=FRAMES, reach=FRAMES - 1, order="consecutive", point_share=0.0, max_objects=None
    )
    tasks: dict[str, float] = dict.fromkeys(("vis", "evs", "refvos"), 1.0)
    source = ClipSource(world, rule, ClipTransform(flip=0.0, colors=None), tasks=tasks)
    batch = [ClipDataset([source])[Draw(0, 0, task, 0)] for task in tasks]
    model = UniVS(MODEL).train()
    step = UniVSStep(model, UniVSCriterion(num_points=512), point_share=0.0, box_share=0.0)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    for i in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 1.5e-3 * min((i + 1) / 20, 1.0, 2 * (1 - i / STEPS))
        # Other points every time.
        losses = step([dataclasses.replace(clip, seed=(i, n)) for n, clip in enumerate(batch)])
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    trained: Any = model.eval()
    assert test_overfit.measure(trained, world, "vis", TrackAP, "AP") >= 0.95
    for task in ("vos", "refvos"):
        assert test_overfit.measure(trained, world, task, JAndF, "J&F") >= 0.95, task
