"""Queries in two dimensions."""

from __future__ import annotations

import io
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from segblocks.nn import ClipOutput, Prediction
from segblocks.viz import id_color, plot_queries

pytest.importorskip("matplotlib")
GROUPS = {"instance": slice(0, 4), "semantic": slice(4, 9), "object": slice(9, 13)}


def make_output(*shape: int, steps: int = 3) -> ClipOutput:
    torch.manual_seed(0)
    predictions = [Prediction(torch.randn(shape), torch.zeros(shape)) for _ in range(steps)]
    return ClipOutput(
        tuple(predictions),
        torch.zeros(shape[0], 2, 8, 4, 4),
        GROUPS,
        (16, 16),
        (0, 1),
        object_slices=(slice(9, 11), slice(11, 13)),
        object_ids=(3, 8),
    )


def points_of(axes) -> np.ndarray:
    return np.concatenate([c.get_offsets() for c in axes.collections])


@pytest.mark.parametrize("shape", [(2, 13, 8), (2, 13, 2, 8)])
def test_distances_are_those_of_the_centred_queries_in_two_dimensions(shape) -> None:
    output = make_output(*shape)
    flat = torch.zeros(shape)
    flat[..., :2] = torch.randn(*shape[:-1], 2)
    turned = flat @ torch.linalg.qr(torch.randn(8, 8))[0]
    output.predictions[-1].queries.copy_(turned + 5)
    axes = plot_queries(output, [-1], clip=1).axes[0]
    expected = flat[1].reshape(-1, 8)[:, :2]
    torch.testing.assert_close(
        torch.pdist(torch.from_numpy(points_of(axes)).float()), torch.pdist(expected)
    )


def test_every_step_has_a_panel_and_objects_the_colour_of_their_mask() -> None:
    figure = plot_queries(make_output(1, 13, 8), (0, 1, -1), ids={2: 5})
    assert [axes.get_title() for axes in figure.axes] == [
        "initial queries",
        "prediction 1",
        "last prediction",
    ]
    instances, _, _, _, objects, _ = figure.axes[0].collections
    colors = np.rint(instances.get_facecolors()[:, :3] * 255).astype(int).tolist()
    assert tuple(colors[2]) == id_color(5)
    assert colors[0] == colors[1] == colors[3] != colors[2]
    shown = np.rint(objects.get_facecolors()[:, :3] * 255).astype(int).tolist()
    assert [tuple(color) for color in shown] == [id_color(3)] * 2 + [id_color(8)] * 2
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == list(GROUPS)


def test_an_empty_group_is_not_listed() -> None:
    output = replace(make_output(1, 13, 8), groups={**GROUPS, "prompt": slice(13, 13)})
    labels = plot_queries(output).legends[0].get_texts()
    assert [text.get_text() for text in labels] == list(GROUPS)


def test_a_figure_can_be_written_and_leaves_pyplot_alone() -> None:
    file = io.BytesIO()
    plot_queries(make_output(1, 13, 8)).savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")
    if "matplotlib.pyplot" in sys.modules:
        assert not sys.modules["matplotlib.pyplot"].get_fignums()


@pytest.mark.parametrize("steps", [(), (3,), (0, -4)])
def test_steps_must_be_predictions(steps: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="among the 3 predictions"):
        plot_queries(make_output(1, 13, 8), steps)


def test_steps_must_have_the_same_queries() -> None:
    output = make_output(1, 13, 8)
    more = Prediction(torch.zeros(1, 15, 8), torch.zeros(1, 15, 8))
    with pytest.raises(ValueError, match=r"same queries.*\(13, 8\), \(15, 8\)"):
        plot_queries(
            ClipOutput((*output.predictions, more), output.mask_features, GROUPS, (16, 16), (0, 1))
        )


def test_without_matplotlib_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [])
    with pytest.raises(ImportError, match=r"pip install 'segblocks\[viz\]'"):
        plot_queries(make_output(1, 13, 8))
