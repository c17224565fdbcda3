"""Print the decoders of the systems as a table, read off the models: docs/systems.md has it.

``python -m docs.decoder_table``
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from segblocks import create_model

SYSTEMS = {
    "Mask2Former-VIS": "mask2former_vis_resnet50",
    "TarViS": "tarvis_resnet50",
    "TMT-VIS": "tmt_vis_resnet50",
    "GvSeg": "gvseg_resnet50",
    "UniVS": "univs_resnet50",
}


def decoder_table() -> str:
    """Return a table in Markdown: a row a system, its steps in order."""
    rows = ["| system | steps |", "|---|---|"]
    for system, name in SYSTEMS.items():
        # Only the list is asked for, and no weight.
        with torch.device("meta"):
            model: Any = create_model(name, checkpoint="random")
        steps = [type(step).__name__ for step in model.decoder.steps]
        rows.append(f"| {system} | {in_words(steps)} |")
    return "\n".join(rows)


def in_words(steps: Sequence[str]) -> str:
    """Name steps in order, and the longest repetition among them once.

    Example:
        >>> in_words(["Predict", "A", "Predict", "A", "Predict"])
        'Predict, 2 x [A, Predict]'
    """
    found = list(_repetitions(steps))
    if not found:
        return ", ".join(steps)
    # Of equally long ones the last, so that what is particular to the beginning stands there.
    start, length, times = max(found, key=lambda it: (it[1] * it[2], it[0], it[2]))
    repeated = f"{times} x [{', '.join(steps[start : start + length])}]"
    return ", ".join([*steps[:start], repeated, *steps[start + length * times :]])


def _repetitions(steps: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Where a run starts, its length, and how often it comes in a row, if more than once."""
    for start in range(len(steps)):
        for length in range(1, (len(steps) - start) // 2 + 1):
            run, times = steps[start : start + length], 1
            while steps[start + times * length :][:length] == run:
                times += 1
            if times > 1:
                yield start, length, times


if __name__ == "__main__":
    print(decoder_table())
