"""The ablations of UniVS: what they compare, and that they run, slim and for one step."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.learning import prompts
from segblocks.inference import segment
from segblocks.nn import PromptCrossAttention
from segblocks.tasks import VIS
from tests.zoo.test_univs import TINY as UNIVS

TINY = [
    *("--seeds", "0", "--steps", "1", "--batch", "1", "--workers", "0", "--device", "cpu"),
    *("--size", "48", "64", "--frames", "7", "--videos", "1"),
]


@pytest.fixture
def slim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "CONFIG", replace(UNIVS, backbone="test_resnet"))
    monkeypatch.setattr(prompts, "load_initial", lambda *_: None)
    monkeypatch.setattr(prompts, "propagate_first", prompts.repeat_first)


@pytest.mark.usefixtures("slim")
def test_every_variant_trains_and_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pycocotools")
    pytest.importorskip("accelerate")
    monkeypatch.setattr("sys.argv", ["prompts", "--out", str(tmp_path), *TINY])
    trained: list[tuple[str, bool]] = []
    train = prompts.train_to_end

    def counted(step: Any, *args: Any, out: Path, **options: Any) -> Any:
        begun = any(out.glob("*"))
        trained.append((f"{out.parent.parent.name}/{out.name}", begun))
        return train(step, *args, out=out, **options)

    monkeypatch.setattr(prompts, "train_to_end", counted)
    prompts.main()
    found = json.loads((tmp_path / "prompts.json").read_text())["runs"]
    assert set(prompts.VARIANTS) < set(found)
    assert ("no_long_videos/last", False) in trained
    assert ("full/clips", True) in trained, "what variants share is trained once"
    assert not any(folder.startswith("no_long_videos/clips") for folder, _ in trained)
    assert not any("similarity" in folder or "hidden" in folder for folder, _ in trained)
    spoken = [name for name in found["full"]["0"] if name.startswith("RefVOS")]
    assert "RefVOS mean" in spoken
    assert set(spoken) <= set(found["sentences hidden"]["0"])
    assert set(found["an object by chance"]["0"]) == set(spoken)
    assert "VOS J&F" in found["no attention to prompts"]["0"]
    assert list(found["prompts are no queries"]["0"]) == ["VIS AP", "VPS VPQ", "VPS STQ"]
    trained.clear()
    prompts.main()
    assert not trained


@pytest.mark.usefixtures("slim")
def test_variants_are_what_they_are_called() -> None:
    model = prompts.WithoutPromptAttention(prompts.CONFIG)
    assert not any(isinstance(block, PromptCrossAttention) for block in model.modules())
    tracked = prompts.BySimilarity(prompts.CONFIG).eval()
    groups: list[set[str]] = []
    forward = tracked.forward

    def noted(*args: Any, **options: Any) -> Any:
        output = forward(*args, **options)
        groups.append(set(output.groups))
        return output

    tracked.forward = noted  # type: ignore[method-assign]
    low = replace(tracked.video_policy(VIS("ovis")).entities, min_score=0.0, min_quality=0.0)
    video = torch.randint(0, 256, (8, 48, 64, 3), dtype=torch.uint8).numpy()
    segment(tracked, video, VIS("ovis"), short_side=0, entities=low)
    assert len(groups) > 1
    assert not any("visual" in names for names in groups)
