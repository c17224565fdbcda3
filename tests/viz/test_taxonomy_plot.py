"""Scores of classes."""

from __future__ import annotations

import pytest
import torch

from segblocks.nn import CompiledTaxonomy, TaxonomyCompiler
from segblocks.viz import plot_taxonomy

pytest.importorskip("matplotlib")
CLASSES = ["cat", "dog", "fish", "bird", "fox"]


def compiled() -> CompiledTaxonomy:
    torch.manual_seed(0)
    compiler = TaxonomyCompiler(16, 32, 4, strides=(32,), num_selected=2, hidden_dim=32)
    known = torch.tensor([True, True, False, True, True])
    with torch.no_grad():
        return compiler(torch.randn(5, 16), {32: torch.randn(2, 3, 32, 2, 4)}, known)


def test_bars_are_the_scores_of_the_classes_that_may_be_found() -> None:
    taxonomy = compiled()
    axes = plot_taxonomy(taxonomy, CLASSES, clip=1).axes[0]
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert sorted(names) == ["bird", "cat", "dog", "fox"]
    scores = taxonomy.logits[1].sigmoid()
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == pytest.approx([float(scores[CLASSES.index(name)]) for name in names])
    assert widths == sorted(widths, reverse=True)
    blue = [n for n, bar in zip(names, axes.patches, strict=True) if bar.get_facecolor()[0] < 0.5]
    assert sorted(blue) == sorted(CLASSES[i] for i in taxonomy.indices[1].tolist())
    assert axes.get_title() == "2 selected (blue)"


def test_there_are_at_most_so_many_bars() -> None:
    assert len(plot_taxonomy(compiled(), CLASSES, most=3).axes[0].patches) == 3


def test_every_class_needs_a_name() -> None:
    with pytest.raises(ValueError, match="name the 5 classes, got 1"):
        plot_taxonomy(compiled(), ["cat"])
