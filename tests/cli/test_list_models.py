"""``segblocks list-models``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from segblocks import zoo
from segblocks.cli import main
from segblocks.zoo import registry


def test_every_model_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list-models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == zoo.list_models()
    assert all(len(line.split()) > 1 for line in lines)


def test_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list-models", "*_resnet50"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == zoo.list_models("*_resnet50")
    assert "tarvis_resnet50" in names


def test_no_match(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list-models", "nothing*"]) == 2
    error = capsys.readouterr().err
    assert "nothing*" in error
    assert "tarvis_resnet50" in error


def test_models_that_come_with_weights_say_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, folder in (("tarvis_nano", Path("weights")), ("tarvis_resnet50", None)):
        entry = replace(registry.get_entry(name), default_checkpoint=folder)
        monkeypatch.setitem(registry._MODELS, name, entry)
    assert main(["list-models", "tarvis_*"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["tarvis_nano"].endswith("; trained weights included")
    assert "weights" not in lines["tarvis_resnet50"]
