"""What words of the command line may be."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

# Options whose value may begin with a minus that is none of an option.
_WITH_COORDINATES = ("--point", "--box")
_FRAME = re.compile(r"(\d+):(.+)", re.DOTALL)
_USER_ERROR = 2


class Parser(argparse.ArgumentParser):
    """Tell errors in one line, and take options only by their whole names.

    Args:
        intermixed: words without an option may stand before, between and behind options.
    """

    def __init__(self, *args: Any, intermixed: bool = False, **options: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **options})
        self._intermixed = intermixed

    def error(self, message: str) -> NoReturn:
        """Print the message and where help is, and end with status 2."""
        self.exit(_USER_ERROR, f"segblocks: {message} (see {self.prog} --help)\n")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse words; a negative coordinate after ``--point`` or ``--box`` is its value."""
        joined: list[str] = []
        for word in args or ():
            if joined and joined[-1] in _WITH_COORDINATES and re.match(r"-[\d.]", word):
                joined[-1] = f"{joined[-1]}={word}"
            else:
                joined.append(word)
        words = None if args is None else joined
        if not self._intermixed:
            return super().parse_known_args(words, namespace)
        # Which parses twice by this very method, options first.
        self._intermixed = False
        try:
            return self.parse_known_intermixed_args(words, namespace)
        finally:
            self._intermixed = True


def path(text: str) -> Path:
    """Take a path, which an empty shell variable is not."""
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a path, got an empty word")
    return Path(text).expanduser()


def count(text: str) -> int:
    """Take a whole number from 0."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def score(text: str) -> float:
    """Take a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")
    return value


def words(text: str) -> list[str]:
    """Take words with commas between them."""
    return [word for word in (part.strip() for part in text.split(",")) if word]


def point(text: str) -> tuple[int, tuple[float, ...]]:
    """Take ``X,Y`` or ``FRAME:X,Y``; the frame is 0 where none is given."""
    return _numbers(text, 2, "X,Y such as 120,80, or FRAME:X,Y")


def box(text: str) -> tuple[int, tuple[float, ...]]:
    """Take ``X0,Y0,X1,Y1`` or the same after ``FRAME:``; the frame is 0 where none is given."""
    return _numbers(text, 4, "X0,Y0,X1,Y1 such as 10,20,90,160, or FRAME:X0,Y0,X1,Y1")


def mask(text: str) -> tuple[int, Path]:
    """Take ``FILE`` or ``FRAME:FILE``; the frame is 0 where none is given."""
    frame, rest = _split_frame(text)
    return frame, path(rest)


def _numbers(text: str, count: int, expected: str) -> tuple[int, tuple[float, ...]]:
    frame, rest = _split_frame(text)
    try:
        values = tuple(map(float, rest.split(",")))
    except ValueError:
        values = ()
    if len(values) != count:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    if not all(map(math.isfinite, values)):
        raise argparse.ArgumentTypeError(f"expected finite numbers, got {text!r}")
    return frame, values


def _split_frame(text: str) -> tuple[int, str]:
    found = _FRAME.fullmatch(text)
    return (int(found[1]), found[2]) if found else (0, text)
