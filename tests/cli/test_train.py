"""``segblocks train``: from a recipe's name to a model that segments, and what users get wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segblocks import VOS, segment
from segblocks.cli import build_parser, main
from segblocks.training.recipes import list_recipes
from segblocks.zoo import from_pretrained
from tests.training.made_recipes import SMALL_MODEL, SMALL_RUN

TINY = ["train", "tarvis_synthetic", *SMALL_MODEL, *SMALL_RUN, "--device", "cpu", "--no-progress"]


def test_train_then_segment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main([*TINY, "--out", str(out), "loop.ema=0.9"]) == 0
    assert f"{out / 'model'}: the model after 2 steps" in capsys.readouterr().out
    model = from_pretrained(out / "model")
    mask = torch.zeros(1, 48, 64, dtype=torch.bool)
    mask[:, 10:30, 10:40] = True
    frames = torch.zeros(3, 48, 64, 3, dtype=torch.uint8)
    result = segment(model, frames, VOS(mask), short_side=0, device="cpu")
    assert not isinstance(result, list)
    assert (result.num_frames, len(result.tracks)) == (3, 1)


def test_resume_and_restart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path)]
    assert main([*TINY, *out, "--resume"]) == 2
    assert f"there is no checkpoint in {tmp_path}" in capsys.readouterr().err
    assert main([*TINY, *out]) == 0
    assert main([*TINY, *out, "--resume"]) == 0
    assert main([*TINY, *out, "loop.learning_rate=1"]) == 2
    assert "learning_rate" in capsys.readouterr().err
    assert main([*TINY, *out, "loop.learning_rate=1", "--restart"]) == 0


def test_words_may_stand_between_options() -> None:
    line = "train --data a=/x tarvis_nano loop.steps=3 --out o --data b=/y model.embed_dim=8"
    args = build_parser().parse_args(line.split())
    assert args.recipe == "tarvis_nano"
    assert args.overrides == ["loop.steps=3", "model.embed_dim=8"]
    assert args.data == [("a", Path("/x")), ("b", Path("/y"))]


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert tuple(line.split()[0] for line in lines) == list_recipes()
    assert main(["train", "tarvis_finetune_resnet50", "--list"]) == 0
    text = capsys.readouterr().out
    assert "sources.kitti_step.weight=0.075 for vps 1; --data kitti_step=FOLDER" in text
    assert "loop.steps=90000" in text
    assert "initial.required=True" in text


def test_dry_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([*TINY, "--dry-run"]) == 0
    assert "forward and backward of 1 clip" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main([*TINY, "--dry-run", f"initial.checkpoint={tmp_path / 'none.pth'}"])
    assert ended.value.code == 1
    assert "to be mended" in capsys.readouterr().out


def test_losses_that_are_not_finite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["loop.steps=1", "criterion.num_points=8", "criterion.semantic_weight=1e39"]
    assert main([*TINY, *words, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "segblocks: train: the loss of step 1 is not finite" in error
    assert "the weights were not changed; a smaller loop.learning_rate" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give a recipe"),
        (["tarvis_nan", "--out", "o"], "did you mean 'tarvis_nano'"),
        (["tarvis_nano"], "--out is missing"),
        (["tarvis_nano", "--out", "o", "lop.steps=1"], "did you mean 'loop'"),
        (["tarvis_nano", "--out", "o", "steps"], "expected FIELD=VALUE"),
        (["tarvis_nano", "--out", "o", "--data", "still=/x"], "did you mean 'stills'"),
        (["tarvis_nano", "--out", "o", "--data", "stills=/x/y"], "no such folder: stills=/x/y"),
        (
            ["tarvis_nano", "--out", "o", "--data", "stills=/x", "--data", "stills=/y"],
            "stills is given twice",
        ),
        (["tarvis_finetune_resnet50", "--out", "o"], "sources.kitti_step.weight=0"),
    ],
)
def test_wrong_words(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
