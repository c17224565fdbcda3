"""Recipes: what is published, what can be changed, what is missing, and that all data opens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from segblocks.data.clips import ClipDataset
from segblocks.data.sample import IGNORE
from segblocks.data.sampler import Draw
from segblocks.data.synthetic import SyntheticWorld, world_config, write_world
from segblocks.text.vocabulary import get_vocabulary
from segblocks.training.overrides import replace_field
from segblocks.training.recipe import Recipe
from segblocks.training.recipes import get_recipe, list_recipes
from segblocks.training.recipes.stills import open_stills
from segblocks.training.schedule import Schedule
from tests.training.made_recipes import SMALL_MODEL, stills_folder, tiny_recipe

FOLDERS = {"ovis": Path("/ovis"), "davis2017": Path("/davis")}


def weights(recipe: Recipe) -> dict[str, float]:
    return {name: source.weight for name, source in recipe.sources.items()}


@pytest.mark.parametrize("backbone", ["resnet50", "swin_tiny", "swin_large"])
def test_pretraining_as_published(backbone: str) -> None:
    recipe = get_recipe(f"tarvis_pretrain_{backbone}")
    assert weights(recipe) == {
        "coco_panoptic": 0.55,
        "ade20k": 0.2,
        "cityscapes": 0.05,
        "mapillary": 0.2,
    }
    assert recipe.loop.steps == 500_000
    assert recipe.loop.schedule == Schedule(milestones=(444_500, 481_500))
    assert recipe.total_batch == 32
    assert all(s.tasks == {"vis": 0.3, "vps": 0.3, "vos": 0.4} for s in recipe.sources.values())
    assert all(s.rule.point_share == 0.3 for s in recipe.sources.values())
    large = {"semantic_weight": 0.75, "ignore_null_classes": True}
    expected = {"semantic_points": 25088} | (large if backbone == "swin_large" else {})
    assert recipe.criterion_options == expected


@pytest.mark.parametrize("backbone", ["resnet50", "swin_tiny", "swin_large"])
def test_finetuning_as_published(backbone: str) -> None:
    recipe = get_recipe(f"tarvis_finetune_{backbone}")
    assert weights(recipe) == {
        "youtube_vis_2021": 0.225,
        "ovis": 0.225,
        "kitti_step": 0.075,
        "cityscapes_vps": 0.075,
        "vipseg": 0.15,
        "burst": 0.2,
        "davis2017": 0.05,
    }
    reaches = {name: source.rule.reach for name, source in recipe.sources.items()}
    del reaches["cityscapes_vps"]
    assert reaches == {
        "youtube_vis_2021": 22,
        "ovis": 22,
        "kitti_step": 6,
        "vipseg": 15,
        "burst": 9,
        "davis2017": 22,
    }
    assert recipe.loop.schedule == Schedule(warmup=10_000, milestones=(50_000, 84_000))
    loop = recipe.loop
    assert (loop.steps, loop.learning_rate, loop.backbone_factor) == (90_000, 1e-4, 0.1)
    assert (loop.weight_decay, loop.clip_norm, loop.chunk) == (0.05, 0.01, 8)
    large = {"semantic_weight": 1.0, "regularization": 1e-3}
    expected = {"semantic_points": 50176} | (large if backbone == "swin_large" else {})
    assert recipe.criterion_options == expected
    assert recipe.initial.required


@pytest.mark.parametrize("name", [n for n in list_recipes() if n.endswith("_small_gpu")])
def test_small_gpu_sees_as_many_clips_a_step(name: str) -> None:
    recipe, published = get_recipe(name), get_recipe(name.removesuffix("_small_gpu"))
    assert recipe.loop.step_size == published.total_batch
    assert recipe.sources == published.sources
    assert recipe.loop.steps == published.loop.steps


@pytest.mark.parametrize("name", list_recipes())
def test_criterion_can_be_made(name: str) -> None:
    assert isinstance(get_recipe(name).build_criterion(), nn.Module)


def test_unknown_recipe() -> None:
    with pytest.raises(ValueError, match=r"'tarvis_nan'; did you mean 'tarvis_nano'"):
        get_recipe("tarvis_nan")


def test_overrides_reach_every_part() -> None:
    words = ["loop.steps=7", "criterion.num_points=5", "sources.world.weight=2"]
    words += ["sources.world.tasks.vis=0", "sources.world.rule.point_share=0.5", "loop.ema=0.9"]
    recipe = tiny_recipe(*words, "model.embed_dim=64", "sources.world.videos.preset=hard")
    assert recipe.loop.steps == 7
    assert recipe.loop.ema == 0.9
    assert recipe.build_criterion().num_points == 5
    world = recipe.used_sources({})["world"]
    assert (world.weight, world.rule.point_share) == (2.0, 0.5)
    assert set(world.tasks) == {"vps", "vos", "pet"}
    assert recipe.build_model()[0].config.embed_dim == 64
    assert set(recipe.open_source("world", {}).tasks) == {"vps", "vos", "pet"}
    assert get_recipe("tarvis_synthetic").loop.steps == 2000


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("lop.steps=1", r"a recipe has no field 'lop'; did you mean 'loop'"),
        ("name=x", r"a recipe has no field 'name'"),
        ("loop.step=1", r"loop has no field 'step'; did you mean 'steps'"),
        ("loop.steps=0", r"LoopSettings: steps must be at least 1"),
        ("model.embed_dims=1", r"model has no field 'embed_dims'; did you mean 'embed_dim'"),
        ("model.embed_dim=0", r"TarViSConfig: embed_dim must be a whole number from 1"),
        ("criterion.points=1", r"criterion has no field 'points'"),
        ("criterion.num_points=many", r"criterion.num_points must be a whole number"),
        ("sources.word.weight=1", r"sources has no field 'word'; did you mean 'world'"),
        ("sources.world.videos=1", r"sources.world.videos holds fields of its own"),
    ],
)
def test_wrong_overrides(word: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_recipe(word)


def test_missing_data_says_how_to_do_without() -> None:
    recipe = get_recipe("tarvis_finetune_resnet50")
    with pytest.raises(ValueError, match=r"--data kitti_step=FOLDER.* sources\.kitti_step\.weight"):
        recipe.used_sources(FOLDERS)
    with pytest.raises(ValueError, match=r"no data 'davis'; did you mean 'davis2017'"):
        recipe.used_sources({"davis": Path("/davis")})
    assert list(recipe.skip_missing().used_sources(FOLDERS)) == ["ovis", "davis2017"]
    with pytest.raises(ValueError, match=r"no data to train on.*ovis=FOLDER"):
        recipe.skip_missing().used_sources({})
    left = recipe.override(["sources.ovis.weight=0"]).skip_missing()
    assert list(left.used_sources(FOLDERS)) == ["davis2017"]


def test_dataset_that_does_not_open_is_named(tmp_path: Path) -> None:
    recipe = get_recipe("tarvis_finetune_resnet50").skip_missing()
    with pytest.raises(ValueError, match=r"sources\.ovis \(--data ovis=.*weight=0 leaves it out"):
        recipe.build_dataset({"ovis": tmp_path})


def clip_of_each_task(
    recipe: Recipe, name: str, roots: dict[str, Path], repeats: int = 1
) -> set[str]:
    """Draw clips for each task of a source; return the names of the tasks that they ask for."""
    source = recipe.open_source(name, roots)
    dataset = ClipDataset([source], seed=0)
    found = set()
    for task in source.tasks:
        for repeat in range(repeats):
            clip = dataset[Draw(0, 0, task, repeat)]
            assert len(clip.frames) == 3
            found |= {asked.name for asked in clip.tasks}
    return found


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_every_dataset_opens_in_its_official_layout(stage: str, tmp_path: Path) -> None:
    recipe = get_recipe(f"tarvis_{stage}_resnet50")
    config = world_config("tiny", num_frames=4, leave=0.0, object_size=(0.2, 0.3))
    world = SyntheticWorld(config, seed=4)
    given = {"kitti_step", "ade20k", "cityscapes", "mapillary"}
    for name, source in recipe.sources.items():
        assert source.root == name
        write_world(world, name, tmp_path / name, "train", 3)
        changed = recipe
        videos = ["sources", name, "videos", *(["stills"] if stage == "pretrain" else [])]
        # The classes are those of the world, not the dataset's, and its things are small.
        if name not in ("burst", "davis2017"):
            option = {"vocabulary": world.vocabulary if name in given else None}
            changed = replace_field(changed, [*videos, "options"], option)
        words = [f"sources.{name}.rule.min_area=1"]
        size = "videos.size=64,64" if stage == "pretrain" else "transform.short_sides=64"
        words.append(f"sources.{name}.{size}")
        found = clip_of_each_task(changed.override(words), name, {name: tmp_path / name}, 3)
        assert found <= {*source.tasks, "pet"}
        assert found & {*source.tasks}


def test_stills_of_two_kinds(tmp_path: Path) -> None:
    folder = stills_folder(tmp_path)
    coco, parts = open_stills(folder, "coco"), open_stills(folder, "parts")
    people = open_stills(folder, "people")
    assert (len(coco), len(parts), len(people)) == (2, 2, 2)
    assert (coco.vocabulary, coco.task) == (get_vocabulary("coco_panoptic"), "vps")
    classes = get_vocabulary("coco_panoptic").classes
    for i in range(2):
        sample = coco[i]
        truth = sample.read_truth(0)
        assert {classes[info.label or 0] for info in sample.objects} <= {"person", "dog"}
        assert truth.semantic is not None
        named = {classes[c] for c in np.unique(truth.semantic) if c != IGNORE}
        assert named <= {"person", "dog", "wall-brick", "sky-other-merged"}
        label = {info.id: info.label for info in sample.objects}
        for identity, mask in zip(truth.ids, truth.masks, strict=True):
            assert set(np.unique(truth.semantic[mask])) == {label[identity]}
    for dataset in (parts, people):
        assert (dataset.vocabulary, dataset.task) == (None, "vos")
        sample = dataset[1]
        truth = sample.read_truth(0)
        assert (truth.semantic, truth.ignore) == (None, None)
        assert truth.ids == tuple(info.id for info in sample.objects)
        assert all(info.label is None for info in sample.objects)


@pytest.mark.parametrize("name", ["tarvis_nano", "tarvis_nano_cpu"])
def test_nano_trains_with_and_without_stills(name: str, tmp_path: Path) -> None:
    recipe = get_recipe(name)
    assert {source.root for source in recipe.used_sources({}).values()} == {None}
    roots = {"stills": stills_folder(tmp_path)}
    used = recipe.used_sources(roots)
    asked: set[str] = set()
    for source in used:
        words = [f"sources.{source}.videos.size=96,128"]
        found = clip_of_each_task(recipe.override(words), source, roots)
        if used[source].root and used[source].tasks.keys() <= {"vos", "pet"}:
            assert found <= {"vos", "pet"}
        asked |= found
    assert asked == {"vis", "vps", "vos", "pet"}


def test_nano_knows_the_classes_of_its_data() -> None:
    model, lines = get_recipe("tarvis_synthetic").override(SMALL_MODEL).build_model()
    assert lines == ["random weights"]
    assert model.config.vocabularies == ("synthetic",)
    world = get_recipe("tarvis_synthetic").open_source("world", {}).dataset
    assert world.vocabulary == get_vocabulary("synthetic")
