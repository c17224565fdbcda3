"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from segblocks._files import check_writable, expand, whole_folder, write_atomically
from tests.disk import full_disk


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_a_new_folder_appears_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b" / "out"
    with whole_folder(out) as folder:
        (folder / "x").write_text("x")
        assert not out.exists()
    assert names(tmp_path) == ["a", "a/b", "a/b/out", "a/b/out/x"]
    plain = tmp_path / "plain"
    plain.mkdir()
    assert out.stat().st_mode == plain.stat().st_mode


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with whole_folder(tmp_path / "a" / "out") as folder:
            (folder / "x").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(tmp_path) == []


def test_an_older_folder_is_replaced_name_by_name(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "masks").mkdir(parents=True)
    for name in ("masks/9.png", "overlay.mp4", "mine.txt", "result.json"):
        (out / name).write_text("older")
    with whole_folder(out, owned=("overlay.mp4", "masks", "result.json", "absent")) as folder:
        (folder / "masks").mkdir()
        (folder / "masks" / "1.png").write_text("new")
        (folder / "result.json").write_text("new")
    assert names(tmp_path) == [
        *("out", "out/masks", "out/masks/1.png", "out/mine.txt", "out/result.json")
    ]
    assert (out / "result.json").read_text() == "new"
    assert (out / "mine.txt").read_text() == "older"


def test_an_error_keeps_the_older_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "x").write_text("older")

    def fail() -> None:
        with whole_folder(out, owned=("x",)) as folder:
            (folder / "x").write_text("new")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert names(tmp_path) == ["out", "out/x"]
    assert (out / "x").read_text() == "older"


def test_a_failure_while_moving_puts_the_older_files_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a", "b"):
        (out / name).write_text("older")
    rename, calls = os.rename, []

    def fail_once(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 4:  # both older files are away, one new file is in place
            raise OSError("disk gone")
        rename(source, target)

    def write() -> None:
        with whole_folder(out) as folder:
            for name in ("a", "b"):
                (folder / name).write_text("new")

    monkeypatch.setattr(os, "rename", fail_once)
    with pytest.raises(OSError, match="disk gone"):
        write()
    assert names(out) == ["a", "b"]
    assert {(out / name).read_text() for name in ("a", "b")} == {"older"}


def test_files_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "out", tmp_path / "file" / "a" / "out"):
        with pytest.raises(NotADirectoryError, match="file"), whole_folder(out):
            pass
    assert names(tmp_path) == ["file"]


def test_a_place_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(PermissionError, match=r"cannot write \(Permission denied\)") as caught:
        check_writable(tmp_path / "a" / "out")
    assert caught.value.filename == str(tmp_path / "a" / "out")
    assert names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(PermissionError, match="cannot write"):
            check_writable(tmp_path / "out")
    finally:
        tmp_path.chmod(0o755)


def test_a_trial_changes_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "out")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "x").write_text("older")
    check_writable(tmp_path / "old")
    assert names(tmp_path) == ["old", "old/x"]


def test_a_full_disk_names_what_was_to_be(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"

    def save() -> None:
        with whole_folder(out) as folder:
            (folder / "masks").mkdir()
            _fill(str(folder / "masks" / "0.png"))

    with full_disk(), pytest.raises(OSError, match="cannot write") as caught:
        save()
    # A write to an open file does not know its name.
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(out))
    with full_disk(), pytest.raises(OSError, match="cannot write") as caught:
        write_atomically(tmp_path / "w.bin", _fill)
    assert caught.value.filename == str(tmp_path / "w.bin")
    assert names(tmp_path) == []


def _fill(name: str) -> None:
    Path(name).write_bytes(bytes(99))


def test_errors_name_the_file_in_its_final_place(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError) as caught, whole_folder(out) as folder:
        (folder / "missing" / "0.png").write_bytes(b"")
    assert caught.value.filename == str(out / "missing" / "0.png")


def test_errors_of_other_files_keep_their_words(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, whole_folder(tmp_path / "out"):
        (tmp_path / "video.mp4").read_bytes()
    assert caught.value.filename == str(tmp_path / "video.mp4")
    with pytest.raises(OSError, match=r"^camera gone$"), whole_folder(tmp_path / "out"):
        raise OSError("camera gone")


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_rights_follow_the_umask(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        with whole_folder(tmp_path / "a" / "out") as folder:
            (folder / "x").write_text("")
        write_atomically(tmp_path / "a" / "f", _fill)
    for path in (tmp_path / "a", tmp_path / "a" / "out"):
        assert path.stat().st_mode & 0o777 == 0o777 & ~mask
    for path in (tmp_path / "a" / "f", tmp_path / "a" / "out" / "x"):
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_file_needs_its_folder_and_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder") as caught:
        write_atomically(tmp_path / "a" / "f", _fill)
    assert caught.value.filename == str(tmp_path / "a")
    with pytest.raises(IsADirectoryError, match="folder, not a file"):
        write_atomically(tmp_path, _fill)


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with whole_folder("~/out"):
        pass
    write_atomically("~/f", _fill)
    assert names(tmp_path) == ["f", "out"]
    assert expand("a/~") == Path("a/~")
