"""Whatever words a user gives: a status, one line on stderr, and nothing written."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from segblocks.cli import main

#: Lines that are right, but for the files that they name, which are not there.
LINES = {
    "segment": ["none.mp4", "--model", "univs_nano", "--task", "vis", "--out", "out"],
    "evaluate": ["--dataset", "mose", "--root", "none", "--model", "tarvis_nano", "--out", "out"],
    "train": ["tarvis_nano", "--data", "stills=none", "--out", "out"],
    "convert": ["none.pth", "out.safetensors", "--source", "tarvis"],
    "bench": ["none", "--device", "cpu", "--json", "out.json"],
}
OPTIONS = (
    *("--task", "--model", "--checkpoint", "--mask", "--point", "--box", "--text", "--classes"),
    *("--vocabulary", "--min-score", "--clip-length", "--max-frames", "--device", "--overwrite"),
    *("--no-overlay", "--debu", "--dry-run", "--resume", "--skip-missing", "--dtype", "--shape"),
    *("--", "-", "-x", "--=", "--out=", "--task=pet", "vos", "pet", "0,0", "1:2,3", "a=b", "a.b=1"),
    *("loop.steps=x", "model.=3", "sources.stills.weight=nan", "0", "-1", "1e400", "nan", "9" * 30),
    *("", " ", "~", "\0", "x" * 5000, "../" * 2000, "%s%d{}", "$(exit)", "ünï 🎬", "none,none"),
)
WORDS = st.sampled_from(OPTIONS) | st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=8
).filter(lambda word: not word.startswith("-h"))


def run(line: list[str]) -> tuple[int | str | None, str]:
    """The status of a line, and what it says on stderr."""
    err = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(err):
        try:
            status: int | str | None = main(line)
        except SystemExit as end:
            status = end.code
    return status, err.getvalue()


@pytest.mark.parametrize("command", LINES)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(odd=st.lists(st.tuples(st.integers(0, 9), st.booleans(), WORDS), max_size=3))
@example(odd=[])
def test_odd_words_are_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, odd: list[tuple[int, bool, str]]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = list(LINES[command])
    for place, instead, word in odd:
        words[place : place + instead] = [word]
    status, error = run([command, *words])
    assert status == 2, (words, error)
    assert error.startswith("segblocks: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", LINES)
def test_right_words_name_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "none" in run([command, *LINES[command]])[1]
