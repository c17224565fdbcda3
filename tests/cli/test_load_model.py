"""A model that comes with weights needs no ``--checkpoint``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from segblocks.cli.load_model import check_words, load_model
from segblocks.zoo import create_model, registry

NAME = "tarvis_nano"


def test_its_own_weights_unless_others_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[Any] = []
    for folder in ("own", "other"):
        saved.append(create_model(NAME, checkpoint="random"))
        saved[-1].save_pretrained(tmp_path / folder)
    entry = replace(registry.get_entry(NAME), default_checkpoint=tmp_path / "own")
    monkeypatch.setitem(registry._MODELS, NAME, entry)
    check_words(NAME, None)
    for checkpoint, expected in ((None, saved[0]), (tmp_path / "other", saved[1])):
        loaded = load_model(NAME, checkpoint)
        assert not loaded.training
        weights = loaded.state_dict()
        assert all(torch.equal(weights[k], v) for k, v in expected.state_dict().items())


def test_a_name_without_weights_needs_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = replace(registry.get_entry(NAME), default_checkpoint=None)
    monkeypatch.setitem(registry._MODELS, NAME, entry)
    with pytest.raises(ValueError, match=r"--model needs --checkpoint.*tarvis_nano"):
        load_model(NAME, None)
