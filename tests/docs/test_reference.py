"""The reference has all that is public."""

from __future__ import annotations

import re

import pytest

import segblocks_kernels
from tests.docs.pages import ROOT
from tests.public_api import public_modules

ENTRIES = {
    entry
    for page in (ROOT / "docs" / "api").glob("*.md")
    for entry in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
}
MODULES = {module.__name__ for module in public_modules()} - {"segblocks_kernels"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_public_modules(module: str) -> None:
    assert module in ENTRIES


def test_kernels() -> None:
    found = {entry.rpartition(".")[2] for entry in ENTRIES if entry.startswith("segblocks_kernels")}
    assert found == set(segblocks_kernels.__all__)
