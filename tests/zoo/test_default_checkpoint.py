"""Weights that come with a model, random ones, and files in half precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segblocks.zoo import registry
from segblocks.zoo.checkpoint import CheckpointError, file_hash, load_checkpoint, save_safetensors
from segblocks.zoo.hub import PretrainedModel
from segblocks.zoo.registry import create_model, register_model


@dataclass(frozen=True)
class TinyConfig:
    width: int = 3
    sizes: tuple[int, ...] = (1, 2)


class Tiny(PretrainedModel):
    def __init__(self, config: TinyConfig | None = None) -> None:
        super().__init__()
        self.config = config or TinyConfig()
        self.body = nn.Linear(2, self.config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@pytest.fixture(autouse=True)
def tiny_zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_MODELS", {})
    register_model("tiny_wide", TinyConfig(width=5), Tiny, description="without weights")


def with_weights(folder: Path, **config: Any) -> Tiny:
    """Register the model "tiny_nano", which comes with weights."""
    model = Tiny(TinyConfig(**config))
    model.save_pretrained(folder, dtype=torch.float16)
    register_model(
        "tiny_nano", model.config, Tiny, description="trained", default_checkpoint=folder
    )
    return model


def test_weights_that_come_with_a_model_are_its_default(tmp_path: Path) -> None:
    model = with_weights(tmp_path / "tiny_nano", width=6)
    loaded = create_model("tiny_nano")
    assert loaded.config == model.config
    assert not loaded.training
    torch.testing.assert_close(loaded.body.weight, model.body.weight.half().float(), rtol=0, atol=0)
    assert loaded.provenance == {
        "file": "tiny_nano/model.safetensors",
        "sha256": file_hash(tmp_path / "tiny_nano" / "model.safetensors"),
        "source": "segblocks",
    }
    other = create_model("tiny_nano", sizes=(7, 8))
    assert other.config == TinyConfig(6, (7, 8))
    assert torch.equal(other.body.weight, loaded.body.weight)


def test_random_weights_are_had_by_asking(tmp_path: Path) -> None:
    model = with_weights(tmp_path / "tiny_nano")
    for drawn in (create_model("tiny_nano", checkpoint="random") for _ in range(2)):
        assert drawn.training
        assert not drawn.provenance
        assert (drawn.body.weight - model.body.weight).abs().max() > 0.01
    assert create_model("tiny_nano", checkpoint="random", width=9).config.width == 9
    assert create_model("tiny_wide", checkpoint="random").config.width == 5
    path = tmp_path / "w.safetensors"
    save_safetensors({k: v + 1 for k, v in model.state_dict().items()}, path)
    named = create_model("tiny_nano", checkpoint=path)
    torch.testing.assert_close(named.body.weight, model.body.weight + 1)


def test_default_weights_that_do_not_fit_are_never_replaced(tmp_path: Path) -> None:
    with_weights(tmp_path / "tiny_nano")
    with pytest.raises(CheckpointError, match=r"of tiny_nano do not fit width.*'random'"):
        create_model("tiny_nano", width=8)
    with pytest.raises(ValueError, match="tiny_nano has no option 'widht'"):
        create_model("tiny_nano", widht=8)
    (tmp_path / "tiny_nano" / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"weights of tiny_nano are not.*install.*'random'"):
        create_model("tiny_nano")
    assert create_model("tiny_nano", checkpoint="random").training


def test_saving_in_half_precision(tmp_path: Path) -> None:
    model = Tiny(TinyConfig(width=300))
    model.register_buffer("count", torch.tensor(70_000))
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "half", dtype=torch.float16)
    state = load_checkpoint(tmp_path / "half" / "model.safetensors")
    assert state["body.weight"].dtype == torch.float16
    assert state["count"] == 70_000
    assert model.body.weight.dtype == torch.float32
    sizes = [(tmp_path / f / "model.safetensors").stat().st_size for f in ("whole", "half")]
    assert 1.5 < sizes[0] / sizes[1] < 2
    with torch.no_grad():
        model.body.bias[0] = 1e6
    with pytest.raises(CheckpointError, match=r"body\.bias.* are too large for torch\.float16"):
        model.save_pretrained(tmp_path / "half", dtype=torch.float16)
    with pytest.raises(TypeError, match="floating-point type"):
        model.save_pretrained(tmp_path / "half", dtype=torch.int8)
    assert load_checkpoint(tmp_path / "half" / "model.safetensors")["body.bias"][0].abs() < 2
