"""Whether a video file ends where its own structure says that it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_TS_PACKET = 188
_GIF_EXTENSION, _GIF_IMAGE, _GIF_TRAILER = b"\x21", b"\x2c", b"\x3b"
_EBML_SEGMENT, _EBML_CLUSTER = 0x18538067, 0x1F43B675


def missing_end(path: Path, format_name: str) -> str | None:
    """Say how a file shows that it was cut off, where the decoder does not notice.

    For GIF, MPEG-TS and Matroska (WebM), also where they were written live and state no length.
    Only sizes are read, not the pictures.

    Args:
        path: the file.
        format_name: FFmpeg's name of the container, such as ``matroska,webm``.

    Returns:
        What is missing; None where nothing is, or where this cannot be told.
    """
    checks: dict[str, Callable[[BinaryIO, int], str | None]] = {
        "gif": _gif_end,
        "mpegts": _ts_end,
        "matroska": _matroska_end,
    }
    check = checks.get(format_name.partition(",")[0])
    if check is None or not path.is_file():
        return None
    with path.open("rb") as file:
        return check(file, path.stat().st_size)


def _ts_end(file: BinaryIO, size: int) -> str | None:
    # Blu-ray puts a time stamp of 4 bytes before each packet.
    if file.read(1) != b"G" or size % _TS_PACKET == 0:
        return None
    return f"its last packet has {size % _TS_PACKET} of {_TS_PACKET} bytes"


def _gif_end(file: BinaryIO, size: int) -> str | None:
    header = file.read(13)
    if len(header) < 13:
        return "its header is not whole"
    _skip_palette(file, header[10])
    while (kind := file.read(1)) != _GIF_TRAILER:
        if kind == _GIF_IMAGE:
            picture = file.read(9)
            if len(picture) == 9:
                _skip_palette(file, picture[8])
            file.seek(1, 1)
        elif kind == _GIF_EXTENSION:
            file.seek(1, 1)
        elif kind:
            return None  # some other writer's; the decoder shall judge
        if not kind or not _skip_sub_blocks(file):
            return "the mark of its end is missing"
    return None


def _skip_palette(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        file.seek(3 << (flags & 7) + 1, 1)


def _skip_sub_blocks(file: BinaryIO) -> bool:
    while length := file.read(1):
        if length == b"\0":
            return True
        file.seek(length[0], 1)
    return False


def _matroska_end(file: BinaryIO, size: int) -> str | None:
    """Step from element to element; an unknown length means that its content follows."""
    at = 0
    while at < size:
        file.seek(at)
        try:
            element = _read_element(file)
        except ValueError:
            return None  # no element, perhaps padding; the decoder shall judge
        if element is None:
            return "its last element has no length"
        kind, length = element
        at = file.tell()
        if length is None or kind == _EBML_SEGMENT:
            if length is not None and at + length > size:
                return f"{size} bytes, {at + length} are stated"
            if kind in (_EBML_SEGMENT, _EBML_CLUSTER):
                continue
            return None  # no such element may be of unknown length; the decoder shall judge
        at += length
        if at > size:
            return f"{size} bytes, its last element reaches to {at}"
    return None


def _read_element(file: BinaryIO) -> tuple[int, int | None] | None:
    """The id and the length of an EBML element; None where the file ends within them."""
    kind = _read_number(file, keep_marker=True)
    length = _read_number(file, keep_marker=False)
    if kind is None or length is None:
        return None
    return kind[0], None if length[1] else length[0]


def _read_number(file: BinaryIO, *, keep_marker: bool) -> tuple[int, bool] | None:
    """A number of 1 to 8 bytes, and whether all its bits are ones, which means "unknown"."""
    first = file.read(1)
    if not first:
        return None
    if first == b"\0":
        raise ValueError("a number of more than 8 bytes")
    num_bytes = 9 - first[0].bit_length()
    rest = file.read(num_bytes - 1)
    if len(rest) < num_bytes - 1:
        return None
    value = int.from_bytes(first + rest)
    bits = 7 * num_bytes
    content = value & (1 << bits) - 1
    return (value if keep_marker else content), content == (1 << bits) - 1
