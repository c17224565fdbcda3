"""Which classes TMT-VIS looks for in a clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from segblocks._optional import require
from segblocks.nn.taxonomy import CompiledTaxonomy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@torch.no_grad()
def plot_taxonomy(
    taxonomy: CompiledTaxonomy, classes: Sequence[str], *, most: int = 20, clip: int = 0
) -> Figure:
    """Plot the scores of the likeliest classes of a clip, with those marked that were selected.

    Args:
        taxonomy: such as ``output.taxonomy`` of TMT-VIS.
        classes: the K names, such as ``vocabulary.classes``.
        most: at most so many bars; classes that the clip may not look for have none.
        clip: which of the B clips.

    Returns:
        A figure with one panel.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: another number of names.

    Example:
        >>> logits = torch.tensor([[0.0, 2.0, -1.0]])
        >>> taxonomy = CompiledTaxonomy(torch.zeros(1, 1, 8), None, torch.tensor([[1]]), logits)
        >>> bars = plot_taxonomy(taxonomy, ["cat", "dog", "fish"]).axes[0].patches
        >>> [round(float(bar.get_width()), 2) for bar in bars]
        [0.88, 0.5, 0.27]
    """
    figure_module = require("matplotlib.figure", "viz")
    logits = taxonomy.logits[clip].float().cpu()
    if len(classes) != len(logits):
        raise ValueError(
            f"plot_taxonomy: classes must name the {len(logits)} classes, got {len(classes)}"
        )
    order = logits.argsort(descending=True, stable=True)[:most].tolist()
    shown = [i for i in order if logits[i].isfinite()]
    selected = set(taxonomy.indices[clip].tolist())
    figure = figure_module.Figure(figsize=(5, 0.8 + 0.24 * len(shown)), layout="constrained")
    axes = figure.add_subplot(1, 1, 1, xlabel="score", xlim=(0, 1))
    colors = ["tab:blue" if i in selected else "lightgray" for i in shown]
    axes.barh(range(len(shown)), logits[shown].sigmoid().tolist(), color=colors)
    axes.set_yticks(range(len(shown)), [classes[i] for i in shown])
    axes.invert_yaxis()
    axes.set_title(f"{sum(i in selected for i in shown)} selected (blue)", fontsize="medium")
    return figure
