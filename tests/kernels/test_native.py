"""Compiling small C++ sources: once, completely or not at all, and with a reason."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from segblocks_kernels import _native
from segblocks_kernels._native import (
    NativeUnavailableError,
    find_compiler,
    library_path,
    load_library,
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
