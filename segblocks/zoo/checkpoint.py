"""Reading and writing checkpoint files without running anything that they hold."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from segblocks._files import expand, write_atomically
from segblocks.zoo.safe_pickle import ALLOWED, ArrayUnpickler, PickledArray

CONTAINERS = ("model", "state_dict")
"""Keys under which training code keeps the state dict, in the order they are looked for."""

# Whatever unpickling random bytes may end in.
_DAMAGE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    OverflowError,
    AssertionError,
    struct.error,
    zipfile.BadZipFile,
)
_TORCH_ALLOWED: list[Any] = [(value, name) for name, value in ALLOWED.items()]
_TORCH_LEGACY_START = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, is unsafe, or does not fit the model."""


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the state dict of a checkpoint file on the CPU.

    Files of safetensors, of ``torch.save`` (zip and legacy) and plain pickles of arrays as
    detectron2 writes them. Only tensors, arrays and containers are ever built: a file that names
    anything else is refused before it can run.

    Args:
        path: File ending in .safetensors, .pth, .pt, .pkl or .bin. In a training checkpoint the
            state dict under ``model`` or ``state_dict`` is taken.

    Returns:
        Name to tensor.

    Raises:
        FileNotFoundError: There is no such file.
        IsADirectoryError: It is a folder.
        PermissionError: It may not be read.
        CheckpointError: The file is empty, a web page, a pointer of Git LFS, or damaged; it holds
            code, or no state dict.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/w.pth"
        >>> torch.save({"model": {"weight": torch.ones(2)}, "iteration": 7}, path)
        >>> load_checkpoint(path)
        {'weight': tensor([1., 1.])}
    """
    path = expand(path)
    if path.is_dir():
        reason = "this is a folder, not a checkpoint file; from_pretrained reads a saved folder"
        raise IsADirectoryError(errno.EISDIR, reason, str(path))
    if not path.is_file():
        raise FileNotFoundError(f"load_checkpoint: no such file: {path}")
    start = _read_start(path)
    if path.suffix == ".safetensors" or start[8:10] == b'{"':
        try:
            return load_file(path)
        except SafetensorError as error:
            raise CheckpointError(f"{path}: damaged or no safetensors file: {error}") from error
    return _unwrap(_read_pickled(path, start), path)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read the text that `save_safetensors` put into the header of a file.

    Args:
        path: A checkpoint of any kind, known to be readable.

    Returns:
        Name to text; empty where the file is no safetensors.
    """
    path = expand(path)
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, "pt") as file:
        return file.metadata() or {}


def file_hash(path: str | os.PathLike[str]) -> str:
    """Compute the SHA-256 of a file as hexadecimal digits.

    Args:
        path: The file.

    Returns:
        64 digits.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_finite(
    state_dict: Mapping[str, Tensor], path: str | os.PathLike[str] | None = None
) -> None:
    """Raise where a state dict holds NaN or infinite values.

    Args:
        state_dict: Name to tensor.
        path: The file that it is from, for the message.

    Raises:
        CheckpointError: Names the tensors concerned.
    """
    bad = [
        name
        for name, value in state_dict.items()
        if value.is_floating_point() and not bool(torch.isfinite(value).all())
    ]
    if bad:
        shown = ", ".join(bad[:10]) + (f" and {len(bad) - 10} more" if len(bad) > 10 else "")
        where = "" if path is None else f"{os.fspath(path)}: "
        raise CheckpointError(f"{where}{len(bad)} tensors hold NaN or infinite values: {shown}")


def in_precision(state_dict: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Round the floating-point tensors of a state dict to another type.

    Args:
        state_dict: Name to tensor; integers and booleans stay as they are.
        dtype: Such as ``torch.float16``, which halves the file of a float32 model. Loading gives
            back the model's own type, with the rounding.

    Returns:
        Name to tensor.

    Raises:
        TypeError: The type is no floating-point one.
        CheckpointError: Finite values are too large for it; names the tensors.

    Example:
        >>> in_precision({"w": torch.ones(2), "n": torch.tensor(3)}, torch.float16)
        {'w': tensor([1., 1.], dtype=torch.float16), 'n': tensor(3)}
    """
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype must be a floating-point type such as torch.float16, got {dtype!r}")
    check_finite(state_dict)
    rounded = {
        name: value.detach().to(dtype) if value.is_floating_point() else value
        for name, value in state_dict.items()
    }
    large = [name for name, value in rounded.items() if not bool(torch.isfinite(value).all())]
    if large:
        raise CheckpointError(f"values of {', '.join(large[:10])} are too large for {dtype}")
    return rounded


def save_safetensors(
    state_dict: Mapping[str, Tensor],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write tensors to a safetensors file that appears complete or not at all.

    Args:
        state_dict: Name to tensor. Tensors that share memory are written once each.
        path: The file; its folder must exist.
        metadata: Text stored in the header.

    Raises:
        OSError: The file cannot be written; names ``path``.
    """
    # A copy for each name: safetensors refuses tensors that share storage.
    tensors = {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in state_dict.items()
    }

    def write(temporary: str) -> None:
        try:
            save_file(tensors, temporary, metadata={"format": "pt", **(metadata or {})})
        except SafetensorError as error:
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), temporary) from error

    write_atomically(path, write)


def _read_start(path: Path) -> bytes:
    """The first bytes of a file, refused where they show what downloads often leave instead."""
    with open(path, "rb") as file:
        start = file.read(200)
    if not start:
        raise CheckpointError(f"{path}: the file is empty, perhaps a download that failed")
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise CheckpointError(
            f"{path}: this is a web page, not a checkpoint; the link that was downloaded leads to "
            "a page about the file, or to a login"
        )
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path}: this is a pointer of Git LFS, not the checkpoint; `git lfs pull` fetches it"
        )
    return start


def _read_pickled(path: Path, start: bytes) -> Any:
    from_torch = start.startswith((b"PK", _TORCH_LEGACY_START))
    try:
        if not from_torch:
            # Read whole: a damaged length must not reserve memory.
            return ArrayUnpickler(io.BytesIO(path.read_bytes())).load()
        if start.startswith(b"PK"):
            _refuse_unsafe_globals(path)
        with torch.serialization.safe_globals(_TORCH_ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except _DAMAGE as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found:
            raise _code_error(path, [found[1]]) from error
        # What torch says before its marker advises to switch the protection off.
        reason = str(error).rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
        raise CheckpointError(f"{path}: damaged, cut short or no checkpoint: {reason}") from error


def _refuse_unsafe_globals(path: Path) -> None:
    with torch.serialization.safe_globals(_TORCH_ALLOWED):
        unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    if unsafe:
        raise _code_error(path, unsafe)


def _code_error(path: Path, names: list[str]) -> CheckpointError:
    return CheckpointError(
        f"{path}: refused, because it holds {', '.join(sorted(names))} besides tensors and plain "
        "containers; nothing of it was run. If you trust the file, load it with the code that "
        "wrote it and save its state dict alone."
    )


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: expected a dict of tensors, got {type(content).__name__}")
    for key in CONTAINERS:
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    state = {name: _as_tensor(value) for name, value in content.items()}
    odd = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
    if odd or not state:
        shown = ", ".join(odd[:10]) or "nothing"
        raise CheckpointError(
            f"{path}: no state dict at the top or under {' or '.join(CONTAINERS)}; "
            f"entries that are no tensors: {shown}"
        )
    return state


def _as_tensor(value: Any) -> Any:
    if isinstance(value, PickledArray) and value.value is not None:
        return torch.from_numpy(value.value)
    return value
