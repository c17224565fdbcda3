"""The tables of docs/systems.md are those of the models."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from docs.decoder_table import SYSTEMS, decoder_table, in_words
from segblocks import create_model
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "systems.md").read_text(encoding="utf-8")


def test_steps() -> None:
    assert decoder_table() in PAGE


def test_tasks() -> None:
    (names,) = re.findall(r"\n\| \| (.*) \|\n\|---", PAGE)
    (tasks,) = re.findall(r"\n\| tasks \| (.*) \|\n", PAGE)
    assert set(names.split(" | ")) == set(SYSTEMS)
    for name, listed in zip(names.split(" | "), tasks.split(" | "), strict=True):
        with torch.device("meta"):
            model: Any = create_model(SYSTEMS[name], checkpoint="random")
        assert {task.lower() for task in listed.split(", ")} == set(model.tasks)


def written_out(words: str) -> list[str]:
    """The steps again, from words."""
    repeat = re.search(r"(\d+) x \[(.*)\]", words)
    if repeat is None:
        return words.split(", ")
    run = ", ".join([repeat[2]] * int(repeat[1]))
    return words.replace(repeat[0], run).split(", ")


@given(st.lists(st.sampled_from("ABC"), min_size=1, max_size=12))
def test_words_say_the_steps(steps: list[str]) -> None:
    assert written_out(in_words(steps)) == steps


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ("P", "P"),
        ("PAAP", "P, 2 x [A], P"),
        ("PMSPMSP", "P, 2 x [M, S, P]"),
        ("CPMFPCMFPCMFP", "C, P, M, F, P, 2 x [C, M, F, P]"),
    ],
)
def test_words(steps: str, words: str) -> None:
    assert in_words(steps) == words
