"""The recipes of GvSeg: published numbers, and that the small ones train on every source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segblocks.data.sampler import Draw
from segblocks.training.initial import load_initial
from segblocks.training.recipes import get_recipe, list_recipes
from segblocks.training.step import TrainingStep
from segblocks.zoo import create_model
from segblocks.zoo.checkpoint import CheckpointError, save_safetensors
from tests.training.made_recipes import stills_folder


@pytest.mark.parametrize(
    ("name", "task", "steps", "drop", "vocabulary"),
    [
        ("ovis_resnet50", "vis", 10_000, 7000, "ovis"),
        ("vspw_swin_base", "vss", 10_000, 7000, "vspw"),
        ("vipseg_swin_large", "vps", 10_000, 7000, "vipseg"),
        ("youtube_vis_2021_resnet50", "vis", 15_000, 11_000, "youtube_vis_2021"),
        ("youtube_vos_2018_resnet50", "evs", 15_000, 11_000, ("object",)),
    ],
)
def test_published_numbers(
    name: str, task: str, steps: int, drop: int, vocabulary: str | tuple[str, ...]
) -> None:
    recipe = get_recipe(f"gvseg_{name}")
    assert (recipe.loop.steps, recipe.loop.schedule.milestones) == (steps, (drop,))
    assert (recipe.loop.learning_rate, recipe.loop.weight_decay) == (1e-4, 0.05)
    assert recipe.total_batch == 16
    assert recipe.model_overrides["vocabulary"] == vocabulary
    for source in recipe.sources.values():
        assert (source.rule.num_frames, source.rule.further) == (3, 2)
        assert source.tasks == {task: 1.0}
    assert ("coco_panoptic" in recipe.sources) == ("youtube" in name)
    memory = recipe.build_criterion().class_memory
    assert (memory is None) == (task in ("vis", "evs"))
    assert memory is None or memory.vocabulary.name == vocabulary
    assert recipe.initial.required


def test_all_are_listed() -> None:
    names = [name for name in list_recipes() if name.startswith("gvseg_")]
    assert len(names) == 7 * 3 * 2 + 2


def test_the_small_one_trains_on_every_source(tmp_path: Path) -> None:
    recipe = get_recipe("gvseg_nano_cpu")
    slim = ["neck_layers=1", "decoder_layers=2", "num_queries=8", "query_hidden_dim=32"]
    words = [f"model.{word}" for word in slim]
    words += [f"sources.{source}.videos.size=64,96" for source in recipe.sources]
    recipe = recipe.override([*words, "criterion.num_points=32", "initial.backbone=none"])
    dataset = recipe.build_dataset({"stills": stills_folder(tmp_path)})
    draws = [
        Draw(n, 0, task, 0) for n, source in enumerate(dataset.sources) for task in source.tasks
    ]
    clips = [dataset[draw] for draw in draws]
    assert {len(clip.frames) for clip in clips} == {4}
    torch.manual_seed(0)
    model, _ = recipe.build_model()
    step = TrainingStep(model, recipe.build_criterion())
    chosen = {clip.task: clip for clip in clips}
    losses = step(list(chosen.values()))
    kinds = ("contrast", "auxiliary")
    assert losses.keys() == {
        "mask", "dice", "class", *(f"object_{k}" for k in kinds), *(f"class_{k}" for k in kinds)
    }  # fmt: skip
    total = sum(losses.values())
    assert isinstance(total, torch.Tensor)
    assert torch.isfinite(total)
    step.after_update()
    assert int(model.class_queries.seen.sum()) > 0


def test_the_small_model_is_small() -> None:
    model = create_model("gvseg_nano", checkpoint="random")
    assert sum(parameter.numel() for parameter in model.parameters()) <= 5.5e6


def test_it_starts_from_a_mask2former_of_coco(tmp_path: Path) -> None:
    sizes = {
        "backbone": "resnet18",
        "embed_dim": 32,
        "num_heads": 2,
        "neck_layers": 1,
        "neck_hidden_dim": 16,
        "decoder_layers": 1,
        "decoder_hidden_dim": 16,
        "num_queries": 4,
    }
    given = create_model("mask2former_vis_resnet50", vocabulary="coco_panoptic", **sizes)
    model = create_model("gvseg_resnet50", vocabulary="youtube_vis_2021", **sizes)
    initial = get_recipe("gvseg_ovis_resnet50").initial
    with pytest.raises(ValueError, match=r"initial\.checkpoint=PATH"):
        load_initial(model, initial)
    given.save_pretrained(tmp_path / "folder")
    save_safetensors(given.state_dict(), tmp_path / "file.safetensors")
    row = "decoder.blocks.0.class_head.linear.weight"
    want = given.state_dict()[row][given.vocabulary.index("person")]
    for place in ("folder", "file.safetensors"):
        fresh = create_model("gvseg_resnet50", vocabulary="youtube_vis_2021", **sizes)
        start = replace(initial, checkpoint=str(tmp_path / place))
        (line,) = load_initial(fresh, start)
        assert "all that the model shares with Mask2Former" in line
        assert torch.equal(fresh.state_dict()[row][fresh.vocabulary.index("person")], want)
        for name, value in given.backbone.state_dict().items():
            assert torch.equal(fresh.backbone.state_dict()[name], value)
    wider = create_model("gvseg_resnet50", **{**sizes, "decoder_hidden_dim": 32})
    with pytest.raises(CheckpointError, match="folder"):
        load_initial(wider, replace(initial, checkpoint=str(tmp_path / "folder")))
