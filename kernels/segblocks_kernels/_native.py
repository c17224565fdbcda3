"""Small C++ sources of the package, compiled on first use and kept in a per-user cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
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


class NativeUnavailableError(RuntimeError):
    """A C++ source could not be compiled or loaded here; the message says why."""


def cache_folder() -> Path:
    """The folder of compiled libraries: SEGBLOCKS_CACHE, or the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segblocks"


def find_compiler() -> str:
    """The path of a C++ compiler: CXX, or the first usual name on the path.

    Raises:
        NativeUnavailableError: there is none.
    """
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    raise NativeUnavailableError(f"no C++ compiler ({', '.join(names)}) on the path")


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
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or "").strip().splitlines() or [f"exit status {error.returncode}"]
        said = next((line for line in lines if "error" in line), lines[-1])
        raise NativeUnavailableError(f"{command[0]} failed: {said}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NativeUnavailableError(f"{command[0]} failed: {error}") from error
    return done.stdout


def library_path(source: Path) -> Path:
    """Compile ``source`` unless the cache holds it for this compiler and CPU.

    Args:
        source: a C++ file without dependencies beyond the standard library.

    Returns:
        The path of the shared library.

    Raises:
        NativeUnavailableError: no compiler, a failed compilation, or an unwritable cache.
    """
    compiler = find_compiler()
    identity = (compiler, _run([compiler, "--version"]), *FLAGS, platform.machine(), _cpu_flags())
    key = hashlib.sha256(source.read_bytes() + "\0".join(identity).encode()).hexdigest()[:20]
    folder = cache_folder()
    target = folder / f"{source.stem}-{key}.so"
    if target.exists():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            built = Path(scratch) / target.name
            _run([compiler, *FLAGS, str(source), "-o", str(built)])
            built.replace(target)
    except OSError as error:
        raise NativeUnavailableError(f"cannot write to {folder}: {error}") from error
    return target


@cache
def load_library(source: Path) -> ctypes.CDLL | str:
    """The library of ``source``, compiled when necessary, or the reason why there is none."""
    try:
        return ctypes.CDLL(str(library_path(source)))
    except (NativeUnavailableError, OSError) as error:
        return str(error)
