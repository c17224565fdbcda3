"""A disk that is really full: one line that names the folder, and nothing half-written."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from segblocks import zoo
from segblocks.cli import main
from tests.oracle import OracleModel, squares_video


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def words(folder: Path, out: Path, *options: str) -> list[str]:
    line = ["segment", str(folder / "video"), "--model", "tarvis_nano", "--task", "vis"]
    line += ["--vocabulary", "ground,cat,dog,cow,hen", "--device", "cpu", "--no-progress"]
    return [*line, "--out", str(out), *options]


@pytest.mark.parametrize("options", [["--no-overlay"], []])
def test_segment(
    tmp_path: Path,
    small_disk: Path,
    options: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(zoo, "create_model", lambda *_, **__: OracleModel())
    (tmp_path / "video").mkdir()
    for t, frame in enumerate(squares_video(9)):
        Image.fromarray(frame).save(tmp_path / "video" / f"{t}.png")
    assert main(words(tmp_path, tmp_path / "elsewhere", *options)) == 0
    capsys.readouterr()
    (small_disk / "mine.txt").write_text("mine")
    assert main(words(tmp_path, small_disk / "a" / "out", *options)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"segblocks: {small_disk / 'a' / 'out'}")
    assert error.endswith("cannot write (No space left on device)\n")
    assert error.count("\n") == 1
    assert [path.name for path in small_disk.rglob("*")] == ["mine.txt"]
