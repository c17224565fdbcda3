"""Code on the pages runs, and commands on them are ones that the program takes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segblocks.cli import build_parser, main
from segblocks.inference.encode import VideoWriter
from segblocks.training.recipes import get_recipe
from tests.docs.pages import Block, list_pages, read_blocks

# Pages that train.
SLOW = {"docs/tour.md"}
PAGES = list_pages()


def runs(block: Block) -> bool:
    return block.reason is None and (block.language == "python" or bool(block.commands))


RUNNING = [
    pytest.param(page, marks=pytest.mark.slow if page in SLOW else ())
    for page in PAGES
    if any(map(runs, read_blocks(page)))
]
WITH_COMMANDS = [page for page in PAGES if any(block.commands for block in read_blocks(page))]


@pytest.fixture(autouse=True)
def folder_with_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder that holds ``my.mp4``, which pages speak of."""
    monkeypatch.chdir(tmp_path)
    frames = np.random.default_rng(0).integers(0, 256, (4, 13, 20, 3), dtype=np.uint8)
    with VideoWriter(tmp_path / "my.mp4", 10, (208, 320)) as writer:
        for frame in frames.repeat(16, axis=1).repeat(16, axis=2):
            writer.write(frame)


@pytest.mark.parametrize("page", RUNNING)
def test_code_runs(page: str) -> None:
    """Blocks of a page run in order, in one folder and with the names of those before."""
    torch.manual_seed(0)
    names: dict[str, Any] = {"__name__": "page"}
    left_out = []
    for block in filter(runs, read_blocks(page)):
        if block.needs and find_spec(block.needs) is None:
            left_out.append(f"{block}, which needs {block.needs}")
            continue
        if block.language == "python":
            exec(compiled(block), names)
        for words in block.commands:
            assert main(words) == 0, f"{block}: segblocks {' '.join(words)}"
    if left_out:
        pytest.skip(f"all ran but {', '.join(left_out)}")


@pytest.mark.parametrize("page", PAGES)
def test_python_that_is_not_run_is_python(page: str) -> None:
    for block in read_blocks(page):
        if block.language == "python":
            compiled(block)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.commands for b in read_blocks(page))]
)
def test_commands_are_taken(page: str) -> None:
    for block in read_blocks(page):
        for words in block.commands:
            try:
                args = build_parser().parse_args(words)
            except SystemExit as error:
                pytest.fail(f"{block}: segblocks {' '.join(words)}: status {error.code}")
            if words[0] == "train" and args.recipe is not None:
                get_recipe(args.recipe).override(args.overrides)


def compiled(block: Block) -> Any:
    # Behind as many empty lines as there are on the page, so that errors name its lines.
    return compile("\n" * (block.line - 1) + block.text, block.page, "exec")
