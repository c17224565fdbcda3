"""A folder of results that appears whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(path: Path, *, owned: Collection[str] = ()) -> Iterator[Path]:
    """Give a temporary folder whose content moves to ``path`` at the end.

    In a folder that exists already, what has the same name is replaced, what is named in ``owned``
    and was not written this time is removed, and everything else stays. After an error nothing of
    ``path`` has changed, and neither temporary files nor folders above it are left behind.

    Args:
        path: the folder to be; missing folders above it are made.
        owned: names of all that an earlier run may have put there.

    Yields:
        The folder to write into.

    Raises:
        PermissionError: the place cannot be written to.
        ValueError: ``path``, or something above it, is a file.
    """
    created = _make_parents(path)
    staging = None
    try:
        staging = _stage(path)
        (staging / "new").mkdir()
        yield staging / "new"
        with _named(path):
            _publish(staging, path, owned)
    except BaseException:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        for folder in reversed(created):
            folder.rmdir()
        raise
    shutil.rmtree(staging)


def check_writable(path: Path) -> None:
    """Raise what `whole_folder` would raise at the start, so that long work is not in vain.

    Args:
        path: a folder that need not exist yet.

    Raises:
        PermissionError: the place cannot be written to.
        ValueError: ``path``, or something above it, is a file.
    """
    created = _make_parents(path)
    try:
        _stage(path).rmdir()
    finally:
        for folder in reversed(created):
            folder.rmdir()


def _stage(path: Path) -> Path:
    # An existing folder may be a mount of its own, into which nothing can be renamed.
    place = path if path.is_dir() else path.parent
    with _named(path):
        return Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=place))


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            raise PermissionError(f"{path}: cannot write here ({error.strerror})") from error
        raise


def _make_parents(path: Path) -> list[Path]:
    """Make the folders above ``path``; return those that were missing, from the top."""
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path}: this is a file; results need a folder")
    missing = []
    parent = path.absolute().parent
    while not parent.exists():
        missing.append(parent)
        parent = parent.parent
    if not parent.is_dir():
        raise ValueError(f"{path}: {parent} is a file, not a folder")
    created: list[Path] = []
    try:
        with _named(path):
            for folder in reversed(missing):
                folder.mkdir()
                created.append(folder)
    except BaseException:
        for folder in reversed(created):
            folder.rmdir()
        raise
    return created


def _publish(staging: Path, path: Path, owned: Collection[str]) -> None:
    new = staging / "new"
    if not path.exists():
        # mkdtemp makes folders for the owner alone; "new" has the rights of any other folder.
        os.rename(new, path)
        return
    old = staging / "old"
    old.mkdir()
    written = {entry.name for entry in new.iterdir()}
    try:
        for name in written | set(owned):
            if (path / name).exists():
                os.rename(path / name, old / name)
        for name in written:
            os.rename(new / name, path / name)
    except BaseException:
        for entry in old.iterdir():
            if (path / entry.name).exists():
                os.rename(path / entry.name, new / entry.name)
            os.rename(entry, path / entry.name)
        raise
