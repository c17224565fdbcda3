"""The recipes of UniVS: published numbers, and that they and the small one run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segblocks.data.clips import ClipDataset
from segblocks.data.sampler import Draw
from segblocks.tasks import VIS, RefVOS
from segblocks.training.recipe import Recipe
from segblocks.training.recipes import get_recipe, list_recipes
from segblocks.training.run import run_recipe
from segblocks.training.univs_step import UniVSStep
from segblocks.zoo import create_model, from_pretrained
from segblocks.zoo.checkpoint import CheckpointError
from segblocks.zoo.mask2former_vis import Mask2FormerVIS, Mask2FormerVISConfig
from segblocks.zoo.univs import UniVS, UniVSConfig, start_from
from tests.zoo.test_univs import TINY, frames

SMALLER = [
    "model.backbone=test_resnet",
    "model.embed_dim=32",
    "model.num_heads=4",
    "model.neck_layers=1",
    "model.decoder_layers=2",
    "model.text_encoder=hash/384",
    "criterion.num_points=32",
    "initial.backbone=null",
    "initial.relative=null",
    "loop.frozen=[]",
]


@pytest.mark.parametrize(
    ("stage", "steps", "drop", "rate", "batch", "frozen"),
    [
        (1, 354_000, 342_000, 5e-5, 48, ()),
        (2, 354_000, 342_000, 5e-5, 8, ("backbone",)),
        (3, 89_000, 81_000, 2.5e-5, 4, ("backbone", "neck")),
    ],
)
def test_published_numbers(
    stage: int, steps: int, drop: int, rate: float, batch: int, frozen: tuple[str, ...]
) -> None:
    recipe = get_recipe(f"univs_stage{stage}_resnet50")
    assert (recipe.loop.steps, recipe.loop.schedule.milestones) == (steps, (drop,))
    assert (recipe.loop.learning_rate, recipe.loop.weight_decay) == (rate, 0.05)
    assert (recipe.loop.backbone_factor, recipe.loop.clip_norm) == (0.1, 0.01)
    assert recipe.loop.frozen == frozen
    assert recipe.loop.ema == (0.9999 if stage == 3 else None)
    assert recipe.total_batch == batch
    assert recipe.initial.required
    assert (recipe.initial.start is start_from) == (stage == 1)
    swin = get_recipe(f"univs_stage{stage}_swin_tiny").criterion_options["reid_weight"]
    assert recipe.criterion_options["reid_weight"] == 2 * swin == (0.25 if stage == 3 else 0.5)
    frames = {source.rule.num_frames for source in recipe.sources.values()}
    assert frames == {{1: 1, 2: 3, 3: 7}[stage]}
    assert get_recipe(f"{recipe.name}_small_gpu").loop.accumulate == batch
    if stage > 1:
        assert recipe.sources["ref_youtube_vos"].transform.flip == 0


def test_options_of_the_step_can_be_changed() -> None:
    recipe = get_recipe("univs_nano").override(["step.clip_length=3", "step.visual_share=0.25"])
    step = recipe.override(SMALLER).build_step(UniVS(TINY))
    assert isinstance(step, UniVSStep)
    assert (step.clip_length, step.prompts.visual_share) == (3, 0.25)
    assert step.prompts.max_prompts == 10
    with pytest.raises(ValueError, match=r"step has no field 'clip_lenth'.*clip_length"):
        recipe.override(["step.clip_lenth=3"])
    with pytest.raises(ValueError, match="step has no field 'model'"):
        recipe.override(["step.model=3"])
    with pytest.raises(ValueError, match="step has no field 'clip_length'"):
        get_recipe("tarvis_nano").override(["step.clip_length=3"])


def world_alone(recipe: Recipe) -> Recipe:
    return recipe.override([*SMALLER, "sources.world_hard.weight=0", "loop.workers=0"])


def test_the_small_recipe_trains_and_its_model_needs_no_text_encoder(tmp_path: Path) -> None:
    assert {"univs_nano", "univs_nano_cpu"} <= set(list_recipes())
    recipe = world_alone(get_recipe("univs_nano_cpu")).override(
        ["loop.steps=3", "loop.log_every=1", "loop.batch_size=1"]
    )
    found = run_recipe(recipe, out=tmp_path, progress=False, device="cpu")
    assert found.summary.step == 3
    assert found.model is not None
    model = from_pretrained(found.model)
    assert isinstance(model, UniVS)
    with torch.no_grad():
        output = model(frames(), [VIS("synthetic"), RefVOS("the red star")])
    assert output.groups["grounding"].stop == 41


def test_clips_of_sentences_come_from_the_world_of_distractors() -> None:
    recipe = world_alone(get_recipe("univs_nano_cpu"))
    dataset = ClipDataset([recipe.open_source("world_refvos", {})])
    clip = dataset[Draw(0, 0, "refvos", 0)]
    assert isinstance(clip.tasks[0], RefVOS)
    assert len(clip.frames) == 5
    assert recipe.sources["world_refvos"].transform.flip == 0


def test_the_small_model_is_small() -> None:
    model = create_model("univs_nano", checkpoint="random")
    assert sum(p.numel() for p in model.parameters()) <= 5.5e6


SHARED = {
    "backbone": "test_resnet",
    "embed_dim": 32,
    "num_heads": 4,
    "neck_layers": 1,
    "neck_hidden_dim": 64,
    "decoder_layers": 3,
    "decoder_hidden_dim": 64,
}


def test_training_starts_from_mask2former() -> None:
    torch.manual_seed(0)
    image = Mask2FormerVIS(Mask2FormerVISConfig(vocabulary=("a", "b"), num_queries=5, **SHARED))
    univs = UniVS(
        UniVSConfig(num_queries=7, text_encoder="hash/16", text_templates="name", text_dim=16,
                    **SHARED)
    )  # fmt: skip
    before = {name: value.clone() for name, value in univs.state_dict().items()}
    assert start_from(univs, image.state_dict(), ("a", "b")) == ()
    after = univs.state_dict()
    given = list(image.state_dict().values())
    new = {name for name in after if not any(torch.equal(after[name], value) for value in given)}
    assert torch.equal(after["query_content"][:5], image.state_dict()["query_content"])
    assert torch.equal(after["query_content"][5:], before["query_content"][5:])
    steps = univs.decoder.steps
    theirs = image.decoder.steps
    pairs = [(1, 0), (2, 1), (3, 2), (4, 3), (7, 5), (8, 6), (9, 7), (12, 9), (13, 10), (14, 11)]
    for ours, their in pairs:
        mine, other = steps[ours].state_dict(), theirs[their].state_dict()
        shared = [name for name in mine if "class_head" not in name]
        assert shared
        assert all(torch.equal(mine[name], other[name]) for name in shared)
    kept = [name for name in new if name not in ("query_content", "query_position")]
    assert all(torch.equal(after[name], before[name]) for name in kept)
    assert all("prompts." in n or "decoder.blocks." in n or "reid" in n for n in kept)
    other = UniVS(UniVSConfig(**{**SHARED, "embed_dim": 64}))
    with pytest.raises(CheckpointError, match="must be of a mask2former_vis like test_resnet"):
        start_from(other, image.state_dict())
