"""``segblocks list-models``."""

from __future__ import annotations

import pytest

from segblocks import zoo
from segblocks.cli import main


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
