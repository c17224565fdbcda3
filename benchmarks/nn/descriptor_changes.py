"""Print by how much descriptors change when a shape moves, grows or turns, as a table.

``python -m benchmarks.nn.descriptor_changes``: means over four shapes 60 pixels across, on an image
of 256 x 256.
"""

from __future__ import annotations

from typing import Any

from segblocks.nn import ShapePositionDescriptor, descriptor_change
from tests.nn.outlines import NAMES, draw

READINGS: dict[str, dict[str, Any]] = {
    "recommended": {},
    "recommended, hard bins": {"soft": False},
    "recommended, `log_radius`": {"log_radius": True},
    '`radius="diagonal"`': {"radius": "diagonal"},
    '`negatives="mask"`': {"negatives": "mask"},
    "literal": {"reading": "literal"},
    'literal, `conflict="empty"`': {"reading": "literal", "conflict": "empty"},
    "literal, soft bins": {"reading": "literal", "conflict": "empty", "soft": True},
}
CHANGES: dict[str, dict[str, Any]] = {
    "2.3 px": {"at": (130.3, 128.0)},
    "10 px": {"at": (138.0, 128.0)},
    "25.5 px": {"at": (153.5, 128.0)},
    "60 px": {"at": (188.0, 128.0)},
    "scale 0.9": {"scale": 0.45},
    "scale 0.8": {"scale": 0.4},
    "2 degrees": {"degrees": 2.0},
    "10 degrees": {"degrees": 10.0},
}


def mean_change(descriptor: ShapePositionDescriptor, changed: dict[str, Any]) -> float:
    """Mean over the shapes."""
    pairs = [(descriptor(draw(n)), descriptor(draw(n, **changed))) for n in NAMES]
    changes = [float(descriptor_change(a.histogram, b.histogram)) for a, b in pairs]
    return sum(changes) / len(changes)


def other_shape(descriptor: ShapePositionDescriptor) -> float:
    """Mean of the changes from the triangle to the other shapes."""
    triangle = descriptor(draw("triangle")).histogram
    others = [n for n in NAMES if n != "triangle"]
    changes = [descriptor_change(triangle, descriptor(draw(n)).histogram) for n in others]
    return float(sum(map(float, changes))) / len(changes)


def main() -> None:
    """Print the table."""
    print("| | " + " | ".join([*CHANGES, "other shape"]) + " |")
    print("|---" * (len(CHANGES) + 2) + "|")
    for name, options in READINGS.items():
        descriptor = ShapePositionDescriptor(**options)
        figures = [mean_change(descriptor, changed) for changed in CHANGES.values()]
        cells = [f"{figure:.2f}" for figure in [*figures, other_shape(descriptor)]]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
