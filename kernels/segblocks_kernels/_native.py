"""Small C++ sources of the package, compiled on first use and kept in a per-user cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path

# Standard threads instead of OpenMP: no second OpenMP runtime beside PyTorch's, safe after fork.
FLAGS = (
    "-O3",
    "-march=native",
    "-std=c++17",
    "-fopenmp-simd",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-shared",
    "-fPIC",
    "-pthread",
)
CACHE_VARIABLE = "SEGBLOCKS_CACHE"
_TIMEOUT_S = 120
_SCRATCH = ".build-"


class NativeUnavailableError(RuntimeError):
    """A C++ source could not be compiled or loaded here; the message says why."""


def cache_folder() -> Path:
    """The folder of compiled libraries: SEGBLOCKS_CACHE, or in the user's cache folder.

    Raises:
        NativeUnavailableError: the user has no home.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    try:
        if chosen:
            return Path(chosen).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segblocks"
    except RuntimeError as error:
        raise NativeUnavailableError(f"no folder for compiled libraries: {error}") from error


def fallback_folder() -> Path:
    """Where who has no writable home keeps libraries: among the temporary files."""
    return Path(tempfile.gettempdir()) / f"segblocks-{os.getuid()}"


def _folders() -> dict[Path, bool]:
    """Where libraries may lie, and whether others write beside it; nothing is made.

    A folder that the user chose is the only one.
    """
    if os.environ.get(CACHE_VARIABLE) or not hasattr(os, "getuid"):
        return {cache_folder(): False}
    try:
        return {cache_folder(): False, fallback_folder(): True}
    except NativeUnavailableError:
        return {fallback_folder(): True}


def _check_private(folder: Path) -> None:
    # Anybody can make a folder of that name, and code from it would be run.
    found = folder.lstat()
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not mine or found.st_mode & 0o077:
        raise NativeUnavailableError(f"{folder} is not a folder of this user alone")


def find_compiler() -> list[str]:
    """The command of a C++ compiler: CXX, which may have words before it, or a usual name.

    Raises:
        NativeUnavailableError: there is none.
    """
    chosen = shlex.split(os.environ.get("CXX", ""))
    for name, *words in [chosen] if chosen else [["g++"], ["clang++"], ["c++"]]:
        path = shutil.which(name)
        if path:
            return [path, *words]
    names = shlex.join(chosen) if chosen else "g++, clang++, c++"
    raise NativeUnavailableError(f"no C++ compiler ({names}) on the path")


def _cpu_flags() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            # x86 says "flags", ARM "Features"; the first core speaks for all.
            if line.startswith(("flags", "Features")):
                return line.partition(":")[2]
    return platform.processor()


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or "").strip().splitlines() or [f"exit status {error.returncode}"]
        said = next((line for line in lines if "error" in line), lines[-1])
        raise NativeUnavailableError(f"{command[0]} failed: {said}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NativeUnavailableError(f"{command[0]} failed: {error}") from error
    return done.stdout


def _file_name(source: Path, compiler: list[str]) -> str:
    """A name for the library of this source, compiler and CPU."""
    version = _run([*compiler, "--version"])
    identity = (shlex.join(compiler), version, *FLAGS, platform.machine(), _cpu_flags())
    key = hashlib.sha256(source.read_bytes() + "\0".join(identity).encode()).hexdigest()[:20]
    return f"{source.stem}-{key}.so"


def _remove_stale(folder: Path) -> None:
    # What killed compilations left; a live one is younger than its time limit.
    for scratch in folder.glob(f"{_SCRATCH}*"):
        try:
            stale = time.time() - scratch.stat().st_mtime > 10 * _TIMEOUT_S
        except FileNotFoundError:  # somebody else removes it too
            continue
        if stale:
            shutil.rmtree(scratch, ignore_errors=True)


def _compile(source: Path, compiler: list[str], target: Path) -> None:
    _remove_stale(target.parent)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=_SCRATCH) as scratch:
        built = Path(scratch) / target.name
        _run([*compiler, *FLAGS, str(source), "-o", str(built)])
        built.replace(target)


def library_path(source: Path) -> Path:
    """Compile ``source`` unless the cache holds it for this compiler and CPU.

    Args:
        source: a C++ file without dependencies beyond the standard library.

    Returns:
        The path of the shared library.

    Raises:
        NativeUnavailableError: no compiler, a failed compilation, or no folder to write to.
    """
    compiler = find_compiler()
    name = _file_name(source, compiler)
    failures = []
    for folder, shared in _folders().items():
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if shared:
                _check_private(folder)
            if not os.path.exists(folder / name):
                _compile(source, compiler, folder / name)
            return folder / name
        except OSError as error:
            failures.append(f"cannot write to {folder}: {error}")
    raise NativeUnavailableError("; ".join(failures))


_loaded: dict[Path, ctypes.CDLL | str] = {}


def load_library(source: Path) -> ctypes.CDLL | str:
    """The library of ``source``, compiled when necessary, or the reason why there is none."""
    if source not in _loaded:
        try:
            _loaded[source] = ctypes.CDLL(str(library_path(source)))
        except (NativeUnavailableError, OSError) as error:
            _loaded[source] = str(error)
    return _loaded[source]


def preview_library(source: Path) -> tuple[str | None, str]:
    """Why there is or will be no library of ``source``, as far as known, and what is yet to do.

    Nothing is compiled and nothing is loaded.
    """
    if source in _loaded:
        library = _loaded[source]
        return (library if isinstance(library, str) else None), ""
    try:
        name = _file_name(source, find_compiler())
        compiled = any(os.path.exists(folder / name) for folder in _folders())
    except (NativeUnavailableError, OSError) as error:
        return str(error), ""
    return None, "" if compiled else "not compiled yet (compiled on first use)"
