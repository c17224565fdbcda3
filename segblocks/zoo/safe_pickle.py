"""Unpickling of arrays and containers, and of nothing else.

What a pickle calls by the names of NumPy and collections are stand-ins written here. So neither
code runs, nor do NumPy's own routines see a state that a damaged or hostile file made up (they
trust it, and crash).
"""

from __future__ import annotations

import collections
import math
import pickle
import re
import struct
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO, ClassVar

import numpy as np

_NUMBER = re.compile(r"[<>=|]?(?:[?bBhHiIlLqQefd]|[biuf][1248]|b1)")


class PickledType:
    """Stands in for ``numpy.dtype``.

    Args:
        code: As NumPy writes it, such as "f4".
        options: Not needed.
    """

    def __init__(self, code: object = None, *options: object) -> None:
        self.code = code if isinstance(code, str) and _NUMBER.fullmatch(code) else None

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if self.code is not None and order in ("<", ">"):
            self.code = f"{order}{self.code.lstrip('<>=|')}"

    def read(self, content: object) -> np.ndarray | None:
        """Return numbers in native byte order, or None where these are none."""
        if isinstance(content, str):  # bytes of Python 2
            content = content.encode("latin1")
        if self.code is None or not isinstance(content, bytes | bytearray):
            return None
        numbers = np.frombuffer(bytearray(content), dtype=self.code)
        return numbers.astype(numbers.dtype.newbyteorder("="), copy=False)


class PickledArray:
    """Stands in for ``numpy.ndarray``.

    Attributes:
        value: The array; None unless it holds plain numbers.
    """

    def __init__(self, *args: object) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        self.value = _array(content, kind, shape, "F" if fortran else "C")


def _array(content: object, kind: object, shape: object, order: object) -> np.ndarray | None:
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise pickle.UnpicklingError(f"an array of shape {shape!r}")
    numbers = kind.read(content) if isinstance(kind, PickledType) else None
    if numbers is None:
        return None
    if numbers.size != math.prod(shape):
        raise pickle.UnpicklingError(f"{numbers.size} numbers for an array of shape {shape}")
    return numbers.reshape(shape, order="F" if order == "F" else "C")


def _from_buffer(content: object, kind: object, shape: object, order: object) -> PickledArray:
    array = PickledArray()
    array.value = _array(content, kind, shape, order)
    return array


def _scalar(kind: object, content: object = None) -> object:
    numbers = kind.read(content) if isinstance(kind, PickledType) else None
    return numbers[0].item() if numbers is not None and numbers.size else None


def _counter(counts: Mapping[Any, Any] | None = None) -> dict[Any, Any]:
    return dict(counts or {})


def _default_dict(factory: object = None) -> dict[Any, Any]:
    return {}


def _deque(items: Iterable[Any] = (), maxlen: int | None = None) -> list[Any]:
    return list(items)


def _encode(text: str, encoding: str) -> bytes:
    """Protocol 2 pickles bytes as text, by a call of ``_codecs.encode``."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    """Protocol 2 pickles no bytes at all as a call of ``bytes``."""
    return b""


def _allowed() -> dict[str, Any]:
    names: dict[str, Any] = {
        "collections.OrderedDict": collections.OrderedDict,
        "collections.Counter": _counter,
        "collections.defaultdict": _default_dict,
        "collections.deque": _deque,
        "_codecs.encode": _encode,
        "numpy.dtype": PickledType,
        "numpy.ndarray": PickledArray,
    }
    for core in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
        names[f"{core}.multiarray._reconstruct"] = PickledArray
        names[f"{core}.multiarray.scalar"] = _scalar
        names[f"{core}.numeric._frombuffer"] = _from_buffer
    for module in ("builtins", "__builtin__"):
        names |= {f"{module}.{kind.__name__}": kind for kind in (list, dict, set, int, float)}
        names[f"{module}.bytes"] = _empty_bytes
    return names


ALLOWED = _allowed()
"""Global names that may stand in a pickle, and what is called for them."""


# The implementation in Python, because that in C can be crashed by a damaged file.
class ArrayUnpickler(pickle._Unpickler):  # type: ignore[name-defined]
    """Build what a pickle of arrays and containers holds; anything else is an error.

    Args:
        file: Open for reading bytes.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)  # type: ignore[misc]

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        """Look a global name up among the allowed ones."""
        full = f"{module}.{name}"
        if full not in ALLOWED:
            raise pickle.UnpicklingError(f"GLOBAL {full} is not allowed")
        return ALLOWED[full]

    def load_build(self) -> None:
        """Set a state, which nothing but the stand-ins may have."""
        kind = type(self.stack[-2])  # type: ignore[attr-defined]
        if kind is collections.OrderedDict:
            # State dicts of PyTorch have versions of their modules as an attribute.
            self.stack.pop()  # type: ignore[attr-defined]
            return
        if kind not in (PickledType, PickledArray):
            raise pickle.UnpicklingError(f"a state for a {kind.__name__}")
        super().load_build()  # type: ignore[misc]

    dispatch[pickle.BUILD[0]] = load_build

    def load_bytearray8(self) -> None:
        """Read bytes; the base class reserves whatever length a file states."""
        (length,) = struct.unpack("<Q", self.read(8))  # type: ignore[attr-defined]
        self.append(bytearray(self.read(length)))  # type: ignore[attr-defined]

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
