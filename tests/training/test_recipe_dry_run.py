"""What a dry run finds: what it costs, and what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from segblocks.training import dry_run as module
from segblocks.training.dry_run import ClipCheck, DryRun, StepCost, dry_run, report
from segblocks.training.recipes import get_recipe
from tests.training.made_recipes import SMALL_MODEL, stills_folder, tiny_recipe


def test_all_is_well() -> None:
    found = dry_run(tiny_recipe("loop.frozen=backbone"), {})
    assert found.problems == ()
    assert [check.task for check in found.checks] == ["vis", "vps", "vos", "pet"]
    assert [cost.task for cost in found.costs] == ["vis", "vps", "vos", "pet"]
    assert all(cost.seconds > 0 and sum(cost.losses.values()) > 0 for cost in found.costs)
    assert 0 < found.trained < found.parameters
    assert found.memory is not None
    assert found.memory > 2**20
    text = report(found)
    assert f"{found.trained:,} of {found.parameters:,} parameters are trained" in text
    assert "2 steps of 1 clip: 1 process x 1 batch x 1 clip" in text
    assert "to be mended" not in text


def test_what_is_wrong_is_told_together(tmp_path: Path) -> None:
    roots = {"stills": stills_folder(tmp_path)}
    (roots["stills"] / "person.json").unlink()
    for path in (roots["stills"] / "images").iterdir():
        path.unlink()
    words = [*SMALL_MODEL, "sources.world.videos.size=48,64", "loop.precision=fp16"]
    words += ["loop.batch_size=1", "criterion.num_points=64"]
    words += [
        "sources.world_hard.weight=0",
        "initial.backbone=none",
        "criterion.semantic_points=64",
    ]
    words += ["initial.checkpoint=/nowhere.pth"]
    found = dry_run(get_recipe("tarvis_nano_cpu").override(words), roots)
    text = "\n".join(found.problems)
    assert "fp16 needs a GPU" in text
    assert "initial: FileNotFoundError" in text
    assert "sources.stills_people, vos: ValueError: sources.stills_people" in text
    assert "sources.stills, vis: FileNotFoundError" in text
    assert {check.source for check in found.checks if check.clip is not None} == {"world"}
    assert all(cost.problem is None for cost in found.costs)
    assert "DOES NOT OPEN" in report(found)
    assert "FAILED" in report(found)


class _Broken(torch.nn.Module):
    def __init__(self, num_points: int = 1, semantic_points: int = 1, fail: bool = False) -> None:
        super().__init__()
        self.fail = fail

    def forward(self, outputs: Any, clips: Any) -> dict[str, torch.Tensor]:
        if self.fail and clips[0].task == "vos":
            raise RuntimeError("out of memory")
        return {"loss": outputs[0].mask_embeddings[-1].sum() * float("nan")}


def test_losses_that_are_not_finite_and_steps_that_fail() -> None:
    recipe = module.replace(
        tiny_recipe(), criterion=_Broken, criterion_options={"num_points": 1, "fail": True}
    )
    found = dry_run(recipe, {})
    assert "vis: world: loss is not finite" in found.problems
    assert "vos: world: RuntimeError: out of memory" in found.problems


def test_a_batch_that_cannot_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    read = module.ClipDataset.__getitem__

    def fails(self: Any, draw: Any) -> Any:
        if draw.video == 1 and draw.task == "vos":
            raise OSError("no such picture")
        return read(self, draw)

    monkeypatch.setattr(module.ClipDataset, "__getitem__", fails)
    found = dry_run(tiny_recipe("loop.batch_size=2"), {})
    assert found.problems == ("vos: world: OSError: no such picture",)
    assert [cost.clips for cost in found.costs] == [2, 2, 2, 2]
    assert "no such picture" in report(found)


def test_estimate_by_share_and_pixels() -> None:
    recipe = tiny_recipe("loop.steps=7200", "loop.accumulate=2")

    def clip(pixels: int) -> Any:
        frames = torch.zeros(1, 3, 1, pixels, dtype=torch.uint8)
        return type("Clip", (), {"frames": frames})()

    checks = (
        ClipCheck("a", "vis", 0.5, clip(100), 0.1),
        ClipCheck("b", "vis", 0.25, clip(50), 0.3),
        ClipCheck("a", "vos", 0.25, clip(100), 0.2),
    )
    costs = (StepCost("vis", 1, 100, 0.4), StepCost("vos", 1, 100, 0.2))
    found = DryRun(recipe, {}, checks, costs, (), 1, 1, 1, "cpu", 2, ())
    assert found.seconds_per_step == pytest.approx(2 * (0.5 * 0.4 + 0.25 * 0.2 + 0.25 * 0.2))
    assert found.seconds_per_clip == pytest.approx(0.175)
    assert "about 0.60 s a step and 1.2 hours in all" in module._of_training(found)[1]


def test_the_batch_that_a_recipe_means() -> None:
    recipe = get_recipe("tarvis_finetune_resnet50")
    found = DryRun(recipe, {}, (), (), (), 1, 1, 1, "cuda", 4, ())
    assert module._of_training(found)[:2] == [
        "90,000 steps of 4 clips: 4 processes x 1 batch x 1 clip",
        "the recipe means 32 clips a step: loop.accumulate=8 gives 32",
    ]
