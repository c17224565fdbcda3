"""How code is found on a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import pages
from tests.docs.pages import read_blocks


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    return tmp_path


def test_fences_in_order(root: Path) -> None:
    text = "# Page\n\n```python\na = 1\n```\n\n- in a list\n\n  ```\n  segblocks info\n  ```\n"
    (root / "page.md").write_text(text)
    first, second = read_blocks("page.md")
    assert (first.language, first.text, first.line) == ("python", "a = 1\n", 4)
    assert (second.language, second.text, second.line) == ("", "segblocks info\n", 10)
    assert str(second) == "page.md:10"
    assert first.reason is second.reason is None


def test_commands(root: Path) -> None:
    text = (
        "```\n"
        "segblocks train a \\\n    b=c ...   # a remark\n"
        "pip install x && segblocks info\n"
        "A=1 segblocks bench OP --text 'two words'\n"
        "torchrun --nproc-per-node 8 -m segblocks.cli evaluate --dataset d\n"
        "python -m benchmarks.report\n"
        "segblocks\n"
        "```\n\n"
        "    segblocks demo --out x\n\n"
        "```python\nsegblocks = 1\n```\n"
    )
    (root / "page.md").write_text(text)
    fence, indented, python = read_blocks("page.md")
    assert fence.commands == [
        ["train", "a", "b=c"],
        ["info"],
        ["bench", "OP", "--text", "two words"],
        ["evaluate", "--dataset", "d"],
    ]
    assert indented.commands == [["demo", "--out", "x"]]
    assert python.commands == []


def test_reasons(root: Path) -> None:
    (root / "page.md").write_text("<!-- not run: it is long -->\n```\nx\n```\n\n```\ny\n```\n")
    assert [block.reason for block in read_blocks("page.md")] == ["it is long", None]


def test_needs(root: Path) -> None:
    (root / "page.md").write_text("<!-- needs: numpy -->\n```\nx\n```\n\n```\ny\n```\n")
    assert [block.needs for block in read_blocks("page.md")] == ["numpy", None]


@pytest.mark.parametrize("note", ["<!-- not run: why -->", "<!-- needs: numpy -->"])
@pytest.mark.parametrize("rest", ["\nprose\n", "\n"])
def test_a_reason_for_nothing_is_an_error(root: Path, note: str, rest: str) -> None:
    (root / "page.md").write_text(note + rest)
    with pytest.raises(ValueError, match=r"page\.md.*right above its code"):
        read_blocks("page.md")


def test_cards_say_what_was_done_and_show_what_can_be_done(root: Path) -> None:
    card = root / "segblocks" / "zoo" / "weights" / "nano" / "README.md"
    card.parent.mkdir(parents=True)
    card.write_text("```python\nx = 1\n```\n\n```\nsegblocks train a\n```\n")
    use, record = read_blocks("segblocks/zoo/weights/nano/README.md")
    assert use.reason is None
    assert record.reason == "trains or measures a model"
