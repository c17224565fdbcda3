"""Compiling small C++ sources: once, completely or not at all, and with a reason."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

import pytest

from segblocks_kernels import _native
from segblocks_kernels._native import (
    NativeUnavailableError,
    cache_folder,
    fallback_folder,
    find_compiler,
    library_path,
    load_library,
    preview_library,
)

try:
    find_compiler()
except NativeUnavailableError:
    pytest.skip("no C++ compiler", allow_module_level=True)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SEGBLOCKS_CACHE", str(folder))
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "add.cpp"
    file.write_text('extern "C" int add(int a, int b) { return a + b; }\n')
    return file


def test_compiles_once_and_leaves_nothing_else(
    cache: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = library_path(source)
    assert ctypes.CDLL(str(path)).add(2, 3) == 5
    assert list(cache.iterdir()) == [path]

    run, commands = _native._run, []
    monkeypatch.setattr(_native, "_run", lambda c: commands.append(c) or run(c))
    assert library_path(source) == path
    assert [c[1:] for c in commands] == [["--version"]]


def test_another_source_is_another_library(cache: Path, source: Path) -> None:
    first = library_path(source)
    source.write_text('extern "C" int add(int a, int b) { return a - b; }\n')
    assert library_path(source) != first
    assert ctypes.CDLL(str(library_path(source))).add(2, 3) == -1


def test_a_failed_compilation_says_why_and_leaves_nothing(cache: Path, source: Path) -> None:
    source.write_text("this is not C++\n")
    with pytest.raises(NativeUnavailableError, match=r"add\.cpp:1.*error"):
        library_path(source)
    assert list(cache.iterdir()) == []
    assert "error" in str(load_library(source))


def test_a_missing_compiler_is_named(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(NativeUnavailableError, match="no-such-compiler"):
        library_path(source)


def test_an_unusable_cache_is_named(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("SEGBLOCKS_CACHE", str(blocked))
    with pytest.raises(NativeUnavailableError, match=f"cannot write to {blocked}"):
        library_path(source)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, for a user who named no cache."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(_native.tempfile, "tempdir", str(folder))
    for name in ("SEGBLOCKS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return folder


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_without_a_home_libraries_lie_in_a_private_temporary_folder(
    source: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_native.Path, "home", no_home)
    assert preview_library(source) == (None, "not compiled yet (compiled on first use)")
    assert not fallback_folder().exists()
    path = library_path(source)
    assert path.parent == temporary / f"segblocks-{os.getuid()}"
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert library_path(source) == path
    assert preview_library(source) == (None, "")


def test_a_home_that_cannot_be_written_is_no_hindrance(
    source: Path, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "home"  # a file, which not even root can write into
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert library_path(source).parent == fallback_folder()
    assert fallback_folder().parent == temporary


@pytest.mark.parametrize("make", ["open", "link", "foreign"])
def test_a_temporary_folder_that_others_may_fill_is_refused(
    make: str, source: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_native.Path, "home", no_home)
    folder = fallback_folder()
    if make == "link":
        (temporary / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(temporary / "elsewhere")
    else:
        folder.mkdir(mode=0o700)
        folder.chmod(0o777 if make == "open" else 0o700)
    if make == "foreign":
        monkeypatch.setattr(_native, "fallback_folder", lambda: folder)
        monkeypatch.setattr(_native.os, "getuid", lambda: os.geteuid() + 1)
    with pytest.raises(NativeUnavailableError, match="not a folder of this user alone"):
        library_path(source)


def test_a_chosen_cache_is_the_only_one(
    source: Path, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SEGBLOCKS_CACHE", "~/libraries")
    assert cache_folder() == tmp_path / "libraries"
    assert library_path(source).parent == tmp_path / "libraries"
    assert list(temporary.iterdir()) == []


def test_the_compiler_may_have_words_before_it(
    cache: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = library_path(source)
    monkeypatch.setenv("CXX", f"env LANG=C {shutil.which(find_compiler()[0])}")
    assert find_compiler()[1] == "LANG=C"
    assert library_path(source) != plain


def test_what_a_killed_compilation_left_is_removed(cache: Path, source: Path) -> None:
    stale, live = cache / ".build-old", cache / ".build-new"
    for folder in (stale, live):
        folder.mkdir(parents=True)
    (stale / "half.so").write_text("")
    os.utime(stale, (0, 0))
    path = library_path(source)
    assert sorted(cache.iterdir()) == [live, path]


def test_a_preview_compiles_nothing(
    cache: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.write_text("this is not C++\n")
    assert preview_library(source) == (None, "not compiled yet (compiled on first use)")
    assert not cache.exists()
    reason = load_library(source)
    assert preview_library(source) == (reason, "")
    source.with_name("other.cpp").write_text("")
    monkeypatch.setenv("CXX", "no-such-compiler")
    unavailable, _ = preview_library(source.with_name("other.cpp"))
    assert "no-such-compiler" in str(unavailable)
