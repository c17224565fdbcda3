"""The small Mask2Former-VIS and TMT-VIS: that they know what they are trained on, and train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from segblocks.data.sampler import Draw
from segblocks.tasks import VIS
from segblocks.text import get_vocabulary
from segblocks.training.recipe import Recipe
from segblocks.training.recipes import get_recipe
from segblocks.training.step import TrainingStep
from segblocks.zoo import create_model
from tests.training.made_recipes import stills_folder

MODELS = ("mask2former_vis_nano", "tmt_vis_nano")
SLIM = ("neck_layers=1", "decoder_layers=2")


def small(name: str) -> Recipe:
    recipe = get_recipe(name)
    words = [f"model.{word}" for word in SLIM]
    if "tmt" in name:
        words += ["model.text_encoder=hash/16", "model.text_dim=16", "model.bottleneck_dim=8"]
    words += [f"sources.{source}.videos.size=64,96" for source in recipe.sources]
    return recipe.override([*words, "criterion.num_points=32", "initial.backbone=none"])


@pytest.mark.parametrize("name", [*MODELS, *(f"{model}_cpu" for model in MODELS)])
def test_it_trains_on_every_source(name: str, tmp_path: Path) -> None:
    recipe = small(name)
    assert {source.root for source in recipe.used_sources({}).values()} == {None}
    dataset = recipe.build_dataset({"stills": stills_folder(tmp_path)})
    clips = [dataset[Draw(n, 0, "vis", 0)] for n in range(len(dataset.sources))]
    assert [clip.vocabulary and clip.vocabulary.name for clip in clips] == [
        "coco_panoptic", "coco_panoptic", "shapes_a", "shapes_b", "shapes_c"
    ]  # fmt: skip
    torch.manual_seed(0)
    model, _ = recipe.build_model()
    losses = TrainingStep(model, recipe.build_criterion())(clips)
    taxonomy = {"taxonomy", "presence"} if "tmt" in name else set()
    assert losses.keys() == {"mask", "dice", "class", *taxonomy}
    total = sum(losses.values())
    assert isinstance(total, torch.Tensor)
    total.backward()
    assert torch.isfinite(total)


def test_both_see_the_same_clips() -> None:
    plain, taxonomy = (get_recipe(name) for name in MODELS)
    assert plain.sources == taxonomy.sources
    assert plain.loop == taxonomy.loop
    labelled = [plain.sources[f"shapes_{letter}"].videos(None)[0].vocabulary for letter in "abc"]
    things = [{v.classes[i] for i in v.thing_ids} for v in labelled if v is not None]
    assert set.union(*things) == {
        c for i, c in enumerate(get_vocabulary("synthetic").classes) if i < 12
    }
    assert all(a & b and a - b for a in things for b in things if a is not b)


@pytest.mark.parametrize("name", MODELS)
def test_it_is_small_and_answers(name: str) -> None:
    options: dict[str, Any] = {"text_encoder": "hash/384"} if "tmt" in name else {}
    model = create_model(name, checkpoint="random", **options).eval()
    assert sum(p.numel() for p in model.parameters()) <= 5.5e6
    with torch.no_grad():
        for vocabulary, columns in (("synthetic", 21), ("coco_panoptic", 134), (["dog"], 2)):
            output = model(torch.zeros(1, 2, 3, 40, 70), VIS(vocabulary))
            assert output.class_logits.shape == (1, 40, columns)
    assert model.video_policy(VIS("synthetic")).short_side == 256
