"""The commands in the documentation are ones that the recipes take."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from segblocks.cli import build_parser
from segblocks.training.recipes import get_recipe

TEXT = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^segblocks train (?:.*\\\n)*.*", TEXT, re.MULTILINE)
CHANGES = re.findall(r"^\| `((?:sources|model)\.[^`]+)` \|", TEXT, re.MULTILINE)


def test_there_are_some() -> None:
    assert len(COMMANDS) >= 4
    assert len(CHANGES) >= 5


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split()[2])
def test_commands(command: str) -> None:
    words = shlex.split(command.replace("\\\n", " "))[1:]
    args = build_parser().parse_args([word for word in words if word != "..."])
    recipe = get_recipe(args.recipe).override(args.overrides)
    if args.skip_missing:
        recipe = recipe.skip_missing()
    assert recipe.used_sources(dict(args.data))
    assert recipe.initial.checkpoint is not None or not recipe.initial.required


@pytest.mark.parametrize("change", CHANGES)
def test_changes(change: str) -> None:
    before = get_recipe("tarvis_finetune_resnet50")
    assert before.override([change]) != before
