"""``segblocks convert``: strict, and no file after an error."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from segblocks.cli import main
from segblocks.zoo import sources
from segblocks.zoo.checkpoint import CheckpointError
from tests.disk import full_disk


class Renaming:
    """A source with one key."""

    def convert(self, state_dict: Mapping[str, Tensor], weights: str) -> dict[str, Tensor]:
        if set(state_dict) != {"w"}:
            raise CheckpointError(f"unexpected keys {sorted(set(state_dict) - {'w'})}")
        return {f"{weights}.weight": state_dict["w"]}

    def export(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sources._SOURCES, "renaming", Renaming())


def checkpoint(folder: Path, state: dict[str, Tensor]) -> str:
    torch.save({"model": state}, folder / "in.pth")
    return str(folder / "in.pth")


@pytest.mark.parametrize("weights", ["student", "ema"])
def test_converted_file_knows_its_origin(
    tmp_path: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint(tmp_path, {"w": torch.arange(3.0)})
    out = tmp_path / "out.safetensors"
    words = ["convert", path, str(out), "--source", "renaming", "--weights", weights]
    assert main(words) == 0
    with safe_open(out, "pt") as file:
        assert torch.equal(file.get_tensor(f"{weights}.weight"), torch.arange(3.0))
        metadata = file.metadata()
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert (metadata["source"], metadata["source_sha256"]) == ("renaming", digest)
    assert digest in capsys.readouterr().out


def test_errors_leave_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = checkpoint(tmp_path, {"w": torch.ones(1)})
    extra = tmp_path / "extra"
    extra.mkdir()
    bad = checkpoint(extra, {"w": torch.ones(1), "x": torch.ones(1)})
    nan = tmp_path / "nan"
    nan.mkdir()
    before = sorted(tmp_path.rglob("*"))
    out = str(tmp_path / "out.safetensors")
    cases = [
        ([str(tmp_path / "none.pth"), out, "--source", "renaming"], "none.pth"),
        ([good, str(tmp_path / "out.pth"), "--source", "renaming"], ".safetensors"),
        ([good, str(tmp_path / "no" / "o.safetensors"), "--source", "renaming"], "no folder"),
        ([good, out, "--source", "tarviss"], "tarvis"),
        ([bad, out, "--source", "renaming"], f"{bad}: unexpected keys ['x']"),
        ([good, out, "--source", "tarvis"], ""),
    ]
    for words, message in cases:
        assert main(["convert", *words]) == 2, words
        error = capsys.readouterr().err
        assert error.startswith("segblocks: ")
        assert message in error
        assert "Traceback" not in error
    assert sorted(tmp_path.rglob("*")) == before


def test_nan_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = checkpoint(tmp_path, {"w": torch.tensor([float("nan")])})
    assert main(["convert", path, str(tmp_path / "o.safetensors"), "--source", "renaming"]) == 2
    assert f"{path}: 1 tensors hold NaN" in capsys.readouterr().err
    assert not (tmp_path / "o.safetensors").exists()


def test_a_full_disk_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint(tmp_path, {"w": torch.ones(9999)})
    out = tmp_path / "o.safetensors"
    with full_disk():
        assert main(["convert", path, str(out), "--source", "renaming"]) == 2
    assert capsys.readouterr().err == f"segblocks: {out}: cannot write (File too large)\n"
    assert [p.name for p in tmp_path.iterdir()] == ["in.pth"]
