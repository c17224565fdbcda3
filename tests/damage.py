"""Files that a disk, a transfer or somebody else has damaged."""

from __future__ import annotations

from hypothesis import strategies as st


@st.composite
def damaged(draw: st.DrawFn, content: bytes, *, changes: int, cut: int, put: int) -> bytes:
    """Draw what may have become of a file.

    Args:
        draw: of hypothesis.
        content: of the whole file.
        changes: how many bytes may have another value.
        cut: the longest piece that may be missing.
        put: the longest piece that may stand in its place.
    """
    broken = bytearray(content)
    place = st.integers(0, len(broken) - 1)
    for at, byte in draw(st.lists(st.tuples(place, st.integers(0, 255)), max_size=changes)):
        broken[at] = byte
    start, length = draw(place), draw(st.integers(0, cut))
    broken[start : start + length] = draw(st.binary(max_size=put))
    return bytes(broken)
