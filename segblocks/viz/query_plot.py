"""The queries of a decoder, in two dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from segblocks._optional import require
from segblocks.nn.clip_output import ClipOutput
from segblocks.viz.colors import id_color
from segblocks.viz.projection import principal_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Marker, size and colour by group; what has an id takes the colour of its mask.
_STYLES: dict[str, tuple[str, int, str]] = {
    "semantic": ("s", 22, "tab:purple"),
    "background": ("X", 50, "black"),
    "object_background": ("X", 30, "dimgray"),
    "instance": ("o", 22, "silver"),
    "learnable": ("o", 22, "silver"),
    "object": ("D", 34, "tab:orange"),
    "prompt": ("D", 34, "tab:orange"),
    "taxonomy": ("^", 26, "tab:cyan"),
}
_OTHER = ("o", 22, "tab:brown")


@torch.no_grad()
def plot_queries(
    output: ClipOutput,
    steps: Sequence[int] = (0, -1),
    *,
    ids: Mapping[int, int] | None = None,
    clip: int = 0,
) -> Figure:
    """Plot the queries of a clip at several predictions, by their principal components.

    After TarViS Fig. S1-S4. Each prediction is centred, and all share the same two directions, in
    which they vary most together; what moves all queries alike is therefore not seen. Markers tell
    the group; queries of an object have the colour of its mask.

    Args:
        output: of a model.
        steps: which of ``output.predictions``: 0 is the initial one, -1 the last.
        ids: query -> id of the object that it found, for the colour of its mask; hinted objects
            (``output.object_slices``) have theirs already.
        clip: which of the B clips.

    Returns:
        A figure with one panel a step; ``figure.savefig("queries.png")`` writes it.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: no step, one that is no prediction, or predictions with different queries.

    Example:
        >>> from segblocks.nn import Prediction
        >>> first, last = (Prediction(torch.randn(1, 9, 8), torch.zeros(1, 9, 8)) for _ in "ab")
        >>> groups = {"instance": slice(0, 6), "semantic": slice(6, 9)}
        >>> output = ClipOutput((first, last), torch.zeros(1, 2, 8, 4, 4), groups, (16, 16), (0, 1))
        >>> len(plot_queries(output, ids={2: 1}).axes)
        2
    """
    figure_module = require("matplotlib.figure", "viz")
    count = len(output.predictions)
    if not steps or any(not -count <= step < count for step in steps):
        raise ValueError(f"plot_queries: steps must be among the {count} predictions, got {steps}")
    queries = [output.queries[step][clip].float().cpu() for step in steps]
    if len({q.shape for q in queries}) != 1:
        raise ValueError(
            "plot_queries: steps must have the same queries, got shapes "
            f"{[tuple(q.shape) for q in queries]}"
        )
    planes = _project(queries)
    colored = {**_hinted(output), **(ids or {})}
    figure = figure_module.Figure(figsize=(4.2 * len(steps), 4.4), layout="constrained")
    for n, (step, points) in enumerate(zip(steps, planes, strict=True)):
        axes = figure.add_subplot(1, len(steps), n + 1, title=_title(step % count, count))
        _scatter(axes, points, output.groups, colored)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.legend(
        *figure.axes[-1].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=len(output.groups),
        fontsize="small",
    )
    return figure


def _project(queries: Sequence[Tensor]) -> list[Tensor]:
    """Each (Q, C) or (Q, T, C) as (Q, T or 1, 2), on axes that all share."""
    rows = [q if q.dim() == 3 else q[:, None] for q in queries]
    centred = [q - q.mean(dim=(0, 1)) for q in rows]
    axes = principal_axes(torch.cat([q.flatten(0, 1) for q in centred]), 2)
    return [q @ axes for q in centred]


def _hinted(output: ClipOutput) -> dict[int, int]:
    """Query -> id, of hinted objects."""
    return {
        query: number
        for part, number in zip(output.object_slices, output.object_ids, strict=True)
        for query in range(part.start, part.stop)
    }


def _title(step: int, count: int) -> str:
    return {0: "initial queries", count - 1: "last prediction"}.get(step, f"prediction {step}")


def _scatter(
    axes: Axes, points: Tensor, groups: Mapping[str, slice], ids: Mapping[int, int]
) -> None:
    for name, part in groups.items():
        marker, size, color = _STYLES.get(name, _OTHER)
        members = range(part.start, part.stop)
        if not members:
            continue
        colors: list[Any] = [
            tuple(c / 255 for c in id_color(ids[q])) if q in ids else color for q in members
        ]
        x, y = points[part].unbind(-1)
        repeats = [color for color in colors for _ in range(points.shape[1])]
        x, y = x.flatten().numpy(), y.flatten().numpy()
        axes.scatter(x, y, s=size, c=repeats, marker=marker, linewidths=0, alpha=0.85)
        # Queries of objects have many colours, none of which would stand for the group.
        face = color if any(q not in ids for q in members) else "none"
        edge = "none" if face == color else "dimgray"
        label = name.replace("_", " ")
        axes.scatter([], [], s=size, facecolors=face, edgecolors=edge, marker=marker, label=label)
