"""Extras: present, missing, or broken."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from segblocks._optional import EXTRAS, pip_command, require


def test_present() -> None:
    assert require("json.decoder", "video") is sys.modules["json.decoder"]


def test_missing_names_the_command() -> None:
    with pytest.raises(ImportError, match=r"pip install 'segblocks\[video\]'") as caught:
        require("surely_not_a_module", "video")
    assert type(caught.value) is ImportError
    assert caught.value.name == "surely_not_a_module"


def test_a_broken_package_keeps_its_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_there.py").write_text("import surely_not_a_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="surely_not_a_module"):
        require("half_there", "video")


@pytest.mark.parametrize("extra", EXTRAS)
def test_commands(extra: str) -> None:
    assert pip_command(extra) == f"pip install 'segblocks[{extra}]'"
