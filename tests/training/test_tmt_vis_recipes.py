"""The recipes of Mask2Former-VIS and TMT-VIS: published numbers, and that the small one runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segblocks.data.sampler import Draw
from segblocks.training.recipes import get_recipe, list_recipes
from segblocks.training.step import TrainingStep


@pytest.mark.parametrize(
    ("name", "steps", "drop"),
    [
        ("mask2former_vis_youtube_vis_2019_resnet50", 6000, 4000),
        ("mask2former_vis_youtube_vis_2021_swin_large", 8000, 5500),
        ("tmt_vis_resnet50", 12_000, 8000),
        ("tmt_vis_swin_large", 12_000, 8000),
    ],
)
def test_published_numbers(name: str, steps: int, drop: int) -> None:
    recipe = get_recipe(name)
    assert (recipe.loop.steps, recipe.loop.schedule.milestones) == (steps, (drop,))
    assert (recipe.loop.learning_rate, recipe.loop.weight_decay) == (1e-4, 0.05)
    assert (recipe.loop.backbone_factor, recipe.loop.clip_norm) == (0.1, 0.01)
    assert recipe.total_batch == 16
    for source in recipe.sources.values():
        assert (source.rule.num_frames, source.rule.reach) == (2, 20)
        assert source.transform.short_sides == (360, 480)
        assert source.tasks == {"vis": 1.0}
    assert get_recipe(f"{name}_small_gpu").loop.accumulate == 16


def test_the_ratio_of_the_datasets() -> None:
    sources = get_recipe("tmt_vis_resnet50").sources
    weights = {name: source.weight for name, source in sources.items()}
    assert weights == {"youtube_vis_2019": 1.0, "uvo": 1.0, "ovis": 0.75}


def test_the_synthetic_recipe_trains_on_three_label_spaces() -> None:
    recipe = get_recipe("tmt_vis_synthetic").override(
        ["model.backbone=resnet18", "model.decoder_layers=2", "criterion.num_points=32"]
    )
    torch.manual_seed(0)
    model, _ = recipe.build_model()
    dataset = recipe.build_dataset({})
    own = [source.dataset[0].vocabulary for source in dataset.sources]
    assert [v.name for v in own] == ["shapes_a", "shapes_b", "shapes_c"]
    things = {c for v in own for c in v.classes if v.is_thing(v.index(c))}
    assert things <= set(model.vocabulary.classes)
    assert all(set(v.classes) < set(model.vocabulary.classes) for v in own)
    clips = [dataset[Draw(n, 0, "vis", 0)] for n in range(3)]
    assert [clip.vocabulary for clip in clips] == own
    losses = TrainingStep(model, recipe.build_criterion())(clips)
    assert losses.keys() == {"mask", "dice", "class", "taxonomy", "presence"}
    sum(losses.values()).backward()
    assert model.compiler.score.weight.grad.abs().max() > 0


def test_all_are_listed() -> None:
    names = [name for name in list_recipes() if name.startswith(("mask2former_vis", "tmt_vis"))]
    assert len(names) == 2 * 2 * 4 + 2 * 2 + 1 + 2 * 2


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    recipe = get_recipe("tmt_vis_resnet50")
    with pytest.raises(ValueError, match="--data ovis=FOLDER"):
        recipe.used_sources({"uvo": tmp_path, "youtube_vis_2019": tmp_path})
