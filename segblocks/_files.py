"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = ".segblocks."


def expand(path: str | os.PathLike[str]) -> Path:
    """Return a path with ``~`` replaced by the home folder."""
    return Path(os.path.expanduser(path))


def write_atomically(path: str | os.PathLike[str], write: Callable[[str], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it.

    Args:
        path: the file to be; an existing one is replaced.
        write: called with the temporary name.

    Raises:
        OSError: the file cannot be written; names ``path``.
    """
    path = expand(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "this is a folder, not a file", str(path))
    with naming(path):
        handle, temporary = tempfile.mkstemp(prefix=_PREFIX, suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        with naming(path, Path(temporary)):
            write(temporary)
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(
    path: str | os.PathLike[str], *, owned: Collection[str] = ()
) -> Generator[Path, None, None]:
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
        OSError: the place cannot be written to, or the disk is full; names ``path`` or what was to
            lie in it.
        NotADirectoryError: ``path``, or something above it, is a file.
    """
    path = expand(path)
    created = _make_parents(path)
    staging = None
    try:
        staging = _stage(path)
        with naming(path, staging / "new"):
            (staging / "new").mkdir()
            yield staging / "new"
        with naming(path):
            _publish(staging, path, owned)
    except BaseException:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        _remove(created)
        raise
    shutil.rmtree(staging)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise what `whole_folder` would raise at the start, so that long work is not in vain.

    Args:
        path: a folder that need not exist yet.

    Raises:
        OSError: the place cannot be written to.
        NotADirectoryError: ``path``, or something above it, is a file.
    """
    path = expand(path)
    created = _make_parents(path)
    try:
        _stage(path).rmdir()
    finally:
        _remove(created)


@contextmanager
def naming(path: Path, hidden: Path | None = None) -> Generator[None, None, None]:
    """Let errors of the system name what the user has named, not the temporary file.

    Args:
        path: what the user has named.
        hidden: the temporary file or folder that is to become ``path``. Errors that name something
            outside it are not touched. None: all errors are about ``path``.

    Raises:
        OSError: of the same number, naming ``path`` or what lies in it.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # words of our own, or a library's
            raise
        name = path if hidden is None or error.filename is None else _seen(error, path, hidden)
        if name is None:
            raise
        reason = f"cannot write ({error.strerror})"
        raise OSError(error.errno, reason, str(name)) from error


def _seen(error: OSError, path: Path, hidden: Path) -> Path | None:
    try:
        return path / Path(os.fsdecode(error.filename)).relative_to(hidden)
    except (TypeError, ValueError):
        return None


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _stage(path: Path) -> Path:
    # An existing folder may be a mount of its own, into which nothing can be renamed.
    place = path if path.is_dir() else path.parent
    with naming(path):
        return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))


def _make_parents(path: Path) -> list[Path]:
    """Make the folders above ``path``; return those that were missing, from the top."""
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "this is a file, not a folder", str(path))
    missing: list[Path] = []
    parent = path.absolute().parent
    while not parent.exists():
        missing.append(parent)
        parent = parent.parent
    if not parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{parent} is a file, not a folder", str(path))
    created: list[Path] = []
    try:
        with naming(path):
            for folder in reversed(missing):
                folder.mkdir()
                created.append(folder)
    except BaseException:
        _remove(created)
        raise
    return created


def _remove(created: list[Path]) -> None:
    with suppress(OSError):  # somebody else has put something there
        for folder in reversed(created):
            folder.rmdir()


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
