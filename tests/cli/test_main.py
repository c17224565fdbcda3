"""Dispatch, errors of use against bugs, and a fast help."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from segblocks import __version__, cli
from segblocks.cli import list_models


def raising(error: BaseException) -> Callable[[argparse.Namespace], None]:
    def run(_: argparse.Namespace) -> None:
        raise error

    return run


@pytest.mark.parametrize(
    "error",
    [
        ValueError("clip_length must be at least 1, got 0"),
        FileNotFoundError("a.mp4: no such video file"),
        PermissionError("out: cannot write here"),
        ImportError("this needs the package 'av': pip install 'segblocks[video]'"),
        torch.OutOfMemoryError("out of memory at frames 0 to 4"),
    ],
)
def test_errors_of_use_are_one_line_and_status_2(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(list_models, "run", raising(error))
    assert cli.main(["list-models"]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"segblocks: {error}\n"
    assert captured.out == ""
    with pytest.raises(type(error), match=re.escape(str(error))):
        cli.main(["list-models", "--debug"])


def test_errors_of_the_system_name_the_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(list_models, "run", raising(OSError(28, "No space left", "out/a.png")))
    assert cli.main(["list-models"]) == 2
    assert capsys.readouterr().err == "segblocks: out/a.png: No space left\n"


@pytest.mark.parametrize(
    "bug", [RuntimeError("shape"), KeyError("x"), AssertionError(), ModuleNotFoundError("scipy")]
)
def test_bugs_keep_their_traceback(bug: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_models, "run", raising(bug))
    with pytest.raises(type(bug)):
        cli.main(["list-models"])


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(list_models, "run", raising(KeyboardInterrupt()))
    assert cli.main(["list-models"]) == 130
    assert capsys.readouterr().err == "segblocks: interrupted\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "COMMAND (see segblocks --help)"),
        (["unknown"], "'unknown'"),
        (["segment"], "--model, --task, --out (see segblocks segment --help)"),
        (["convert", "a", "b"], "--source (see segblocks convert --help)"),
        (["list-models", "--debu"], "--debu (see"),
    ],
)
def test_wrong_words_are_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("segblocks: ")
    assert message in error
    assert error.count("\n") == 1


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"segblocks {__version__}\n"


def test_help_imports_no_torch() -> None:
    code = (
        "import sys\n"
        "from segblocks.cli import build_parser\n"
        "text = build_parser().format_help()\n"
        "assert 'segment' in text and 'demo' in text\n"
        "print(sorted({'torch', 'timm', 'av', 'PIL'} & set(sys.modules)))\n"
    )
    path = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=path, check=False
    )
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


def test_an_interrupt_while_commands_are_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "import_module", raising(KeyboardInterrupt()))
    assert cli.main(["list-models"]) == 130
    assert capsys.readouterr().err == "segblocks: interrupted\n"


def test_the_entry_point_imports_next_to_nothing() -> None:
    # What is imported before `main` runs cannot be interrupted in one line.
    code = "import sys; import segblocks.cli; print('numpy' in sys.modules, len(sys.modules) < 200)"
    path = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=path, check=False
    )
    assert (ran.stdout, ran.stderr) == ("False True\n", "")


def test_module_and_pipe_that_closes() -> None:
    code = f"{sys.executable} -m segblocks.cli info | head -1"
    path = {"PYTHONPATH": ":".join(filter(None, sys.path)), "PATH": "/usr/bin:/bin"}
    ran = subprocess.run(["sh", "-c", code], capture_output=True, text=True, env=path, check=False)
    assert (ran.stdout, ran.stderr) == ("segblocks:\n", "")
