from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segblocks.zoo import hub, registry, sources
from segblocks.zoo.checkpoint import CheckpointError, file_hash, load_checkpoint, save_safetensors
from segblocks.zoo.hub import PretrainedModel
from segblocks.zoo.key_map import KeyMap, meta_state_dict
from segblocks.zoo.key_rules import Drop, Rename
from segblocks.zoo.registry import create_model, from_pretrained, list_models, register_model
from segblocks.zoo.sources import convert_state_dict, export_state_dict, register_source
from tests.disk import full_disk


@dataclass(frozen=True)
class HeadConfig:
    classes: tuple[str, ...] = ("cat", "dog")
    scale: float = 1.0


@dataclass(frozen=True)
class TinyConfig:
    width: int = 3
    sizes: tuple[tuple[int, int], ...] = ((1, 2), (3, 4))
    head: HeadConfig | None = HeadConfig()


class Tiny(PretrainedModel):
    def __init__(self, config: TinyConfig | None = None) -> None:
        super().__init__()
        self.config = config or TinyConfig()
        self.body = nn.Linear(2, self.config.width)
        self.tied = self.body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Other(Tiny):
    pass


class TinySource:
    """Calls the body "fc", and keeps moving averages under "ema."."""

    key_map = KeyMap(
        [
            Rename("fc.{leaf}", "body.{leaf:weight|bias}"),
            Rename("fc2.{leaf}", "tied.{leaf:weight|bias}"),
            Drop("step"),
        ]
    )

    def convert(self, state_dict: Mapping[str, Tensor], weights: str) -> dict[str, Tensor]:
        if weights == "ema":
            ema = {k[4:]: v for k, v in state_dict.items() if k.startswith("ema.")}
            return self.key_map.convert(ema, meta_state_dict(Tiny))
        student = {k: v for k, v in state_dict.items() if not k.startswith("ema.")}
        return self.key_map.convert(student, meta_state_dict(Tiny))

    def export(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.key_map.export(state_dict)


@pytest.fixture(autouse=True)
def tiny_zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_MODELS", {})
    monkeypatch.setattr(sources, "_SOURCES", {})
    register_source("lab", TinySource())
    register_model("tiny_small", TinyConfig(), Tiny, description="a tiny one", source="lab")
    register_model("tiny_wide", TinyConfig(width=5), Tiny, description="a wide one", source="lab")
    register_model("other", TinyConfig(), Other, description="no source")


def official(model: nn.Module) -> dict[str, Tensor]:
    state = export_state_dict(model.state_dict(), "lab")
    averages = {f"ema.{name}": value + 1 for name, value in state.items()}
    return {**state, **averages, "step": torch.tensor(5)}


def assert_same_weights(a: nn.Module, b: nn.Module) -> None:
    assert a.state_dict().keys() == b.state_dict().keys()
    for name, value in a.state_dict().items():
        torch.testing.assert_close(b.state_dict()[name], value, rtol=0, atol=0)


def test_lists_by_pattern() -> None:
    assert list_models() == ["other", "tiny_small", "tiny_wide"]
    assert list_models("*wide*") == ["tiny_wide"]
    assert list_models("x*") == []


def test_creates_the_variant_with_overrides() -> None:
    assert create_model("tiny_wide").config == TinyConfig(width=5)
    model = create_model("tiny_wide", width=7, head=None)
    assert model.config == TinyConfig(width=7, head=None)
    assert model(torch.zeros(1, 2)).shape == (1, 7)
    assert not model.provenance


def test_unknown_names_and_options_list_close_ones() -> None:
    with pytest.raises(ValueError, match=r"'tiny_smal'; did you mean 'tiny_small'.*other, tiny"):
        create_model("tiny_smal")
    with pytest.raises(ValueError, match=r"tiny_small has no option 'widht'; did you mean 'width'"):
        create_model("tiny_small", widht=3)


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="'other' is registered already"):
        register_model("other", TinyConfig(), Other, description="again")
    with pytest.raises(ValueError, match="'lab' is registered already"):
        register_source("lab", TinySource())


@pytest.mark.parametrize(("weights", "offset"), [("student", 0), ("ema", 1)])
def test_reads_an_official_checkpoint(tmp_path: Path, weights: str, offset: int) -> None:
    model, path = create_model("tiny_small"), tmp_path / "000100.pth"
    torch.save({"model": official(model), "iteration": 100}, path)
    loaded = create_model("tiny_small", checkpoint=path, weights=weights)
    torch.testing.assert_close(loaded.body.weight, model.body.weight + offset, rtol=0, atol=0)
    assert not loaded.training
    assert loaded.provenance == {
        "file": "000100.pth",
        "sha256": file_hash(path),
        "source": "lab",
    }


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("variant", ["tiny_small", "other"])
def test_reads_our_own_files(tmp_path: Path, name: str, variant: str) -> None:
    model, path = create_model(variant), tmp_path / name
    if path.suffix == ".pth":
        torch.save(model.state_dict(), path)
    else:
        save_safetensors(model.state_dict(), path)
    loaded = create_model(variant, checkpoint=path)
    assert_same_weights(model, loaded)
    assert loaded.provenance["source"] == "segblocks"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path, suffix: str) -> None:
    model, path = create_model("tiny_small"), tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(official(model), path)
    else:
        save_safetensors(model.state_dict(), path)
    with pytest.raises(CheckpointError) as error:
        create_model("tiny_wide", checkpoint=path)
    text = str(error.value)
    assert f"{path} is not for tiny_wide" in text
    assert "body.weight: expected (5, 2) float32, got (3, 2) float32" in text


def test_a_checkpoint_with_nan_is_refused(tmp_path: Path) -> None:
    state = create_model("other").state_dict()
    state["body.bias"][1] = float("nan")
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"w\.pth: 2 tensors hold NaN.*body\.bias") as caught:
        create_model("other", checkpoint=tmp_path / "w.pth")
    assert "is not for" not in str(caught.value)


def test_an_official_checkpoint_is_known_by_its_names_in_any_file(tmp_path: Path) -> None:
    model, path = create_model("tiny_small"), tmp_path / "w.safetensors"
    save_safetensors(official(model), path)
    loaded = create_model("tiny_small", checkpoint=path)
    assert_same_weights(model, loaded)
    assert loaded.provenance["source"] == "lab"


def test_a_converted_file_keeps_its_origin(tmp_path: Path) -> None:
    model, path = create_model("tiny_small"), tmp_path / "w.safetensors"
    origin = {"source": "lab", "source_file": "000100.pth", "source_sha256": "12ab"}
    save_safetensors(model.state_dict(), path, {**origin, "other": "x"})
    loaded = create_model("tiny_small", checkpoint=path)
    expected = {"file": "w.safetensors", "sha256": file_hash(path), **origin}
    assert loaded.provenance == expected
    loaded.save_pretrained(tmp_path / "out")
    assert from_pretrained(tmp_path / "out").provenance == expected
    assert "12ab" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("own", [False, True])
def test_a_source_may_advise(tmp_path: Path, own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, path = create_model("tiny_small"), tmp_path / "w.pth"
    state = model.state_dict() if own else official(model)
    torch.save(state, path)

    def message() -> str:
        with pytest.raises(CheckpointError) as caught:
            create_model("tiny_wide", checkpoint=path)
        return str(caught.value)

    plain, asked = message(), []
    for advice, expected in (("set width=3", f"{plain}\nset width=3"), (None, plain)):

        def advise(_: TinySource, read: Mapping[str, Tensor], advice: str | None = advice) -> Any:
            asked.append(set(read))
            return advice

        monkeypatch.setattr(TinySource, "advice", advise, raising=False)
        assert message() == expected
    assert asked == [set(state)] * 2


def test_a_folder_is_no_checkpoint_file(tmp_path: Path) -> None:
    Tiny().save_pretrained(tmp_path / "out")
    with pytest.raises(IsADirectoryError, match=r"folder.*from_pretrained"):
        create_model("tiny_small", checkpoint=tmp_path / "out")


def test_conversion_and_export_are_inverse() -> None:
    model = create_model("tiny_small")
    exported = export_state_dict(model.state_dict(), "lab")
    assert list(exported) == ["fc.weight", "fc.bias", "fc2.weight", "fc2.bias"]
    converted = convert_state_dict(exported, "lab")
    assert converted.keys() == model.state_dict().keys()


def test_unknown_sources_and_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown source 'lav'; did you mean 'lab'"):
        convert_state_dict({}, "lav")
    with pytest.raises(ValueError, match="unknown source 'x'; known: lab"):
        export_state_dict({}, "x")
    with pytest.raises(ValueError, match=r"weights must be one of.*'teacher'"):
        convert_state_dict({}, "lab", weights="teacher")  # type: ignore[arg-type]


def test_saved_models_come_back(tmp_path: Path) -> None:
    config = TinyConfig(width=4, sizes=((5, 6),), head=HeadConfig(classes=("a",), scale=0.5))
    model = Tiny(config)
    model.provenance = {"file": "x.pth", "sha256": "00", "source": "lab"}
    model.save_pretrained(tmp_path / "deep" / "out")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    for loaded in (
        from_pretrained(str(tmp_path / "deep" / "out")),
        Tiny.from_pretrained(tmp_path / "deep" / "out"),
    ):
        assert type(loaded) is Tiny
        assert loaded.config == config
        assert loaded.provenance == model.provenance
        assert not loaded.training
        assert_same_weights(model, loaded)


def test_a_saved_folder_says_what_it_is(tmp_path: Path) -> None:
    Tiny().save_pretrained(tmp_path / "out")
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["README.md", "config.json", "model.safetensors"]
    record = json.loads((tmp_path / "out" / "config.json").read_text())
    assert record["architecture"] == "Tiny"
    assert record["segblocks_version"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: segblocks\n")
    assert "# Tiny" in card


def test_saving_again_keeps_other_files_and_the_card(tmp_path: Path) -> None:
    Tiny().save_pretrained(tmp_path)
    (tmp_path / "log.txt").write_text("mine")
    (tmp_path / "README.md").write_text("my card")
    second = Tiny(TinyConfig(width=9))
    second.save_pretrained(tmp_path)
    assert_same_weights(from_pretrained(tmp_path), second)
    assert (tmp_path / "log.txt").read_text() == "mine"
    assert (tmp_path / "README.md").read_text() == "my card"


def test_a_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(hub, "save_safetensors", fail)
    with pytest.raises(OSError, match="disk full"):
        Tiny().save_pretrained(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_extra_files_travel_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(Tiny, "save_extra", lambda _, folder: (folder / "x").write_text("extra"))
    monkeypatch.setattr(
        Tiny, "load_extra", lambda _, folder: seen.append((folder / "x").read_text())
    )
    Tiny().save_pretrained(tmp_path / "out")
    from_pretrained(tmp_path / "out")
    assert seen == ["extra"]


def test_a_folder_of_another_class_is_refused(tmp_path: Path) -> None:
    Other().save_pretrained(tmp_path / "out")
    with pytest.raises(ValueError, match="holds a Other, not a Tiny"):
        Tiny.from_pretrained(tmp_path / "out")
    assert type(from_pretrained(tmp_path / "out")) is Other


def test_an_unregistered_class_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Tiny().save_pretrained(tmp_path / "out")
    monkeypatch.setattr(registry, "_MODELS", {})
    with pytest.raises(ValueError, match="unknown architecture 'Tiny'; known: none"):
        from_pretrained(tmp_path / "out")


def test_overrides_reach_the_config_and_weights_stay_strict(tmp_path: Path) -> None:
    Tiny().save_pretrained(tmp_path / "out")
    assert from_pretrained(tmp_path / "out", sizes=((7, 8),)).config.sizes == ((7, 8),)
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors(.|\n)*body\.weight: expected \(8, 2\)"
    ):
        from_pretrained(tmp_path / "out", width=8)
    with pytest.raises(ValueError, match="TinyConfig has no field 'size'; did you mean 'sizes'"):
        from_pretrained(tmp_path / "out", size=3)


def test_damaged_folders_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        from_pretrained(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="not written by segblocks"):
        from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"architect')
    with pytest.raises(ValueError, match="not valid JSON"):
        from_pretrained(tmp_path)
    Tiny().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        from_pretrained(tmp_path)


def test_a_model_without_a_config_class_says_so() -> None:
    class Bare(PretrainedModel):
        def __init__(self, width: int = 3) -> None:
            super().__init__()

    with pytest.raises(TypeError, match="config must be annotated with a dataclass"):
        hub.config_class(Bare)


def test_the_weights_file_is_complete(tmp_path: Path) -> None:
    # The two names of one layer are both there, so that strict loading needs no exception.
    Tiny().save_pretrained(tmp_path / "out")
    state = load_checkpoint(tmp_path / "out" / "model.safetensors")
    assert state.keys() == Tiny().state_dict().keys()


def test_a_full_disk_names_the_saved_folder_and_leaves_nothing(tmp_path: Path) -> None:
    model = Tiny(TinyConfig(width=999))
    with full_disk(600), pytest.raises(OSError, match="cannot write") as caught:
        model.save_pretrained(tmp_path / "a" / "out")
    assert caught.value.filename == str(tmp_path / "a" / "out" / "model.safetensors")
    assert list(tmp_path.iterdir()) == []
