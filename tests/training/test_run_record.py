"""What makes a run another one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segblocks.training.recipes import get_recipe
from segblocks.training.run_record import RUN_FILE, check_same_run, write_run_record
from tests.training.made_recipes import tiny_recipe


@pytest.mark.parametrize(
    ("word", "difference"),
    [
        ("model.embed_dim=64", "options.embed_dim was 32 and is 64"),
        ("criterion.num_points=65", "criterion.num_points was 64 and is 65"),
        ("criterion.dice_weight=4", "criterion.dice_weight was None and is 4.0"),
        ("initial.checkpoint=w.pth", "initial.checkpoint was None and is w.pth"),
        ("sources.world.rule.reach=5", "clips.world.rule.reach was 4 and is 5"),
        ("sources.world.transform.flip=0.5", "clips.world.transform.flip was 0.0 and is 0.5"),
        ("sources.world.videos.preset=hard", "clips.world.videos.preset was easy and is hard"),
    ],
)
def test_what_differs_is_named(tmp_path: Path, word: str, difference: str) -> None:
    write_run_record(tiny_recipe(), {}, ["random weights"], tmp_path)
    check_same_run(tiny_recipe(), {}, tmp_path)
    with pytest.raises(ValueError, match=f"another kind: {difference}; choose another folder"):
        check_same_run(tiny_recipe(word), {}, tmp_path)


@pytest.mark.parametrize("name", ["tarvis_nano", "tarvis_finetune_resnet50"])
def test_colours_are_told_by_their_numbers_and_folders_may_move(tmp_path: Path, name: str) -> None:
    recipe = get_recipe(name).skip_missing()
    roots = dict.fromkeys(recipe.roots, tmp_path)
    write_run_record(recipe, roots, [], tmp_path)
    assert " at 0x" not in (tmp_path / RUN_FILE).read_text()
    check_same_run(get_recipe(name), {root: Path("/moved") for root in roots}, tmp_path)


def test_records_of_earlier_versions_and_none(tmp_path: Path) -> None:
    check_same_run(tiny_recipe(), {}, tmp_path)
    write_run_record(tiny_recipe(), {}, [], tmp_path)
    record = json.loads((tmp_path / RUN_FILE).read_text())
    del record["clips"]
    (tmp_path / RUN_FILE).write_text(json.dumps(record))
    check_same_run(tiny_recipe("sources.world.rule.reach=5"), {}, tmp_path)
