"""A recipe from its data to the saved model."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from segblocks.text.vocabulary import Vocabulary
from segblocks.training import read_log, run
from segblocks.training.checkpoints import AVERAGED_FILE, MODEL_FILE, latest_checkpoint
from segblocks.training.initial import InitialWeights
from segblocks.training.recipe import Recipe
from segblocks.training.recipes import get_recipe
from segblocks.training.run import run_recipe
from segblocks.training.run_record import write_run_record
from segblocks.zoo import create_model, from_pretrained, load_checkpoint
from tests.training.made_recipes import tiny_recipe

QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}


def test_the_model_at_the_end_is_the_averaged_one(tmp_path: Path) -> None:
    result = run_recipe(tiny_recipe("loop.ema=0.5"), out=tmp_path, **QUIET)
    assert result.model == tmp_path / "model"
    model = from_pretrained(tmp_path / "model")
    averaged = load_checkpoint(result.summary.checkpoint / AVERAGED_FILE)
    last = load_checkpoint(result.summary.checkpoint / MODEL_FILE)
    state = model.state_dict()
    assert all(torch.equal(state[name], averaged[name]) for name in averaged)
    assert any(not torch.equal(state[name], last[name]) for name in last)
    assert model.provenance["recipe"] == "tarvis_synthetic"
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["sources"] == {"world": 1.0}
    assert record["options"]["embed_dim"] == 32


def test_without_averages_it_is_the_last_one(tmp_path: Path) -> None:
    result = run_recipe(tiny_recipe(), out=tmp_path, **QUIET)
    assert result.model is not None
    last = load_checkpoint(result.summary.checkpoint / MODEL_FILE)
    state = from_pretrained(result.model).state_dict()
    assert all(torch.equal(state[name], last[name]) for name in last)


def test_it_goes_on_without_reading_the_first_weights_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[InitialWeights] = []

    def build(self: Recipe, *, initial: bool = True) -> Any:
        read.append(InitialWeights(required=initial))
        return create_model(self.model, checkpoint="random", **self.model_overrides), []

    monkeypatch.setattr(Recipe, "build_model", build)
    run_recipe(tiny_recipe("loop.save_every=1"), out=tmp_path, **QUIET)
    end = latest_checkpoint(tmp_path)
    result = run_recipe(tiny_recipe("loop.save_every=1"), out=tmp_path, **QUIET)
    assert [each.required for each in read] == [True, False]
    assert result.summary.checkpoint == end
    assert result.model is not None


def test_another_model_or_other_losses_are_refused(tmp_path: Path) -> None:
    run_recipe(tiny_recipe(), out=tmp_path, **QUIET)
    with pytest.raises(ValueError, match=r"another kind: options\.embed_dim was 32 and is 64;"):
        run_recipe(tiny_recipe("model.embed_dim=64"), out=tmp_path, **QUIET)
    other = tiny_recipe("model.embed_dim=64")
    assert run_recipe(other, out=tmp_path, resume=False, **QUIET).model is not None


def test_beginning_anew_forgets_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of memory")

    write_run_record(tiny_recipe(), {}, [], tmp_path)
    (tmp_path / "model").mkdir()
    monkeypatch.setattr(run, "train", fails)
    for resume in (True, False):
        with pytest.raises(RuntimeError, match="out of memory"):
            run_recipe(tiny_recipe(), out=tmp_path, resume=resume, **QUIET)
        assert (tmp_path / "model").exists() is resume


def test_random_weights_are_those_of_the_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[torch.Tensor] = []

    def keep(step: Any, *_: Any, **__: Any) -> Any:
        begun.append(step.model.queries.instance.detach().clone())
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "train", keep)
    for i, seed in enumerate((3, 3, 4)):
        with pytest.raises(KeyboardInterrupt):
            run_recipe(tiny_recipe(f"loop.seed={seed}"), out=tmp_path / str(i), **QUIET)
    assert torch.equal(begun[0], begun[1])
    assert not torch.equal(begun[0], begun[2])


def test_a_stopped_run_has_no_model_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("loop.steps=4", "loop.log_every=1")
    train = run.train

    def stop_soon(step: torch.nn.Module, *args: Any, **options: Any) -> Any:
        calls: list[int] = []

        def stop(*_: Any) -> None:
            calls.append(1)
            if len(calls) == 2:
                signal.raise_signal(signal.SIGTERM)

        step.register_forward_hook(stop)
        return train(step, *args, **options)

    monkeypatch.setattr(run, "train", stop_soon)
    first = run_recipe(tiny_recipe(*words), out=tmp_path, **QUIET)
    assert (first.model, first.summary.step) == (None, 2)
    assert not (tmp_path / "model").exists()
    monkeypatch.setattr(run, "train", train)
    second = run_recipe(tiny_recipe(*words), out=tmp_path, **QUIET)
    assert second.model == tmp_path / "model"
    assert [line["step"] for line in read_log(tmp_path)] == [1, 2, 3, 4]


def own_pictures(root: Path) -> None:
    """Two pictures in COCO's layout, of a hen and a cow."""
    (root / "train" / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in (1, 2):
        name = f"{number}.png"
        Image.new("RGB", (64, 48), (90, 20 * number, 30)).save(root / "train" / "images" / name)
        images.append({"id": number, "file_name": name, "height": 48, "width": 64})
        for label in (1, 2):
            left = 24 * label - 20
            runs = [48 * left, 48 * 20, 48 * (64 - left - 20)]
            annotations.append(
                {
                    "id": 2 * number + label,
                    "image_id": number,
                    "category_id": label,
                    "segmentation": {"size": [48, 64], "counts": runs},
                    "iscrowd": 0,
                    "bbox": [left, 0, 20, 48],
                    "area": 960,
                }
            )
    names = [{"id": 1, "name": "hen"}, {"id": 2, "name": "cow"}]
    content = {"images": images, "annotations": annotations, "categories": names}
    (root / "train" / "instances.json").write_text(json.dumps(content))


def test_a_small_model_learns_the_classes_of_ones_own_pictures(tmp_path: Path) -> None:
    own_pictures(tmp_path / "farm")
    words = ("loop.steps=1", "loop.batch_size=1", "loop.workers=0", "criterion.num_points=64")
    recipe = get_recipe("tarvis_nano_finetune").override(
        [*words, "loop.schedule.warmup=0", "sources.coco_instances.videos.size=(64, 64)"]
    )
    roots = {"coco_instances": tmp_path / "farm"}
    result = run_recipe(recipe, roots, out=tmp_path / "run", **QUIET)
    model = from_pretrained(tmp_path / "run" / "model")
    assert [tuple(known[1]) for known in model.config.vocabularies] == [("hen", "cow")]
    began = create_model("tarvis_nano").state_dict()
    name = "decoder.level_embedding"
    torch.testing.assert_close(model.state_dict()[name], began[name], rtol=0.1, atol=0.1)
    again = run_recipe(recipe, roots, out=tmp_path / "run", **QUIET)
    assert again.summary.step == result.summary.step == 1
    written = tmp_path / "farm" / "train" / "instances.json"
    written.write_text(written.read_text().replace('"hen"', '"duck"'))
    with pytest.raises(ValueError, match=r"holds a run of another kind: options\.vocabularies"):
        run_recipe(recipe, roots, out=tmp_path / "run", **QUIET)


class NamesAlone:
    """Of a dataset, what it calls things."""

    name = "names"

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary


def test_classes_that_are_asked_for_go_before_those_of_the_data(tmp_path: Path) -> None:
    own_pictures(tmp_path / "farm")
    recipe = get_recipe("tarvis_nano_finetune")
    (source,) = recipe.build_dataset({"coco_instances": tmp_path / "farm"}).sources
    ground = Vocabulary("youtube_vis_2021", ("cow", "grass"), (0,))
    more = replace(source, dataset=NamesAlone(ground), length=1)
    named = recipe.with_classes_of([source, more]).model_overrides["vocabularies"]
    assert named == (("own", ("hen", "cow", "grass"), (0, 1)),), "a class of one name is one"
    asked = recipe.override(["model.vocabularies=('ovis',)"])
    assert asked.with_classes_of([source]).model_overrides["vocabularies"] == ("ovis",)
    assert recipe.with_classes_of([]) is recipe
    hints = replace(source, tasks={"vos": 1.0})
    assert recipe.with_classes_of([hints]) is recipe
    other = get_recipe("tarvis_synthetic")
    assert other.with_classes_of([source]) is other
