"""The gallery: every picture of its page can be drawn, and is on it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from docs import gallery

DOCS = Path(gallery.__file__).parent
STORED = DOCS / "images" / "gallery"


def test_the_page_shows_the_stored_pictures() -> None:
    shown = set(re.findall(r"images/gallery/(\w+)\.png", (DOCS / "gallery.md").read_text("utf-8")))
    assert shown == {path.stem for path in STORED.iterdir()}
    assert shown <= set(gallery.PICTURES)


def test_pictures_are_small() -> None:
    assert sum(path.stat().st_size for path in STORED.iterdir()) < 1_500_000


@pytest.mark.slow
def test_the_command_draws_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(sys, "argv", ["gallery", "--out", str(tmp_path / "pictures")])
    gallery.main()
    for path in STORED.iterdir():
        with Image.open(path) as stored, Image.open(tmp_path / "pictures" / path.name) as drawn:
            assert drawn.size == stored.size
