"""The colours that things have, by the word that describes them."""

from __future__ import annotations

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (212, 44, 40),
    "orange": (242, 138, 28),
    "yellow": (242, 218, 52),
    "green": (48, 164, 66),
    "cyan": (58, 202, 212),
    "blue": (44, 82, 208),
    "purple": (126, 56, 172),
    "pink": (246, 144, 190),
    "white": (238, 238, 236),
    "brown": (118, 72, 38),
    "black": (40, 40, 46),
}
