from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segblocks.ops import LabelledCells, describe_cells, propagate_labels


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    reaches=st.lists(st.none() | st.integers(0, 4), min_size=1, max_size=3),
    neighbours=st.integers(1, 6),
    seed=st.integers(0, 1000),
)
def test_votes_are_those_of_all_cells_in_reach(
    size: tuple[int, int], reaches: list[int | None], neighbours: int, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    cells, *others = torch.randn(1 + len(reaches), 8, *size, generator=rng, dtype=torch.float64)
    labels = torch.rand(len(reaches), 3, *size, generator=rng, dtype=torch.float64)
    places = [(y, x) for y in range(size[0]) for x in range(size[1])]
    expected = torch.zeros(3, *size, dtype=torch.float64)
    for y, x in places:
        votes = []
        for known, label, reach in zip(others, labels, reaches, strict=True):
            limit = math.inf if reach is None else reach
            near = [(v, u) for v, u in places if max(abs(v - y), abs(u - x)) <= limit]
            votes += [(float(cells[:, y, x] @ known[:, v, u]), label[:, v, u]) for v, u in near]
        votes = sorted(votes, key=lambda vote: -vote[0])[:neighbours]
        weights = torch.tensor([cosine for cosine, _ in votes], dtype=torch.float64) / 0.5
        for weight, (_, label) in zip(weights.softmax(0), votes, strict=True):
            expected[:, y, x] += weight * label
    memory = [LabelledCells(*known) for known in zip(others, labels, reaches, strict=True)]
    found = propagate_labels(cells, memory, neighbours=neighbours, temperature=0.5)
    torch.testing.assert_close(found, expected)


def test_a_frame_that_moved_brings_its_labels_along() -> None:
    rng = torch.Generator().manual_seed(0)
    cells = describe_cells([torch.randn(1, 32, 20, 30, generator=rng)], (20, 30))[0]
    labels = (torch.rand(1, 20, 30, generator=rng) < 0.5).float()
    moved, expected = cells.roll((2, -3), (1, 2)), labels.roll((2, -3), (1, 2))
    inside = (slice(None), slice(2, None), slice(None, -3))
    for reach, agrees in ((3, True), (2, False)):
        known = LabelledCells(cells, labels, reach)
        found = propagate_labels(moved, [known], neighbours=1)
        assert torch.equal(found[inside], expected[inside]) == agrees


def test_levels_count_alike_whatever_their_stride_and_scale() -> None:
    fine, coarse = torch.rand(2, 3, 8, 12), torch.rand(2, 5, 2, 3)
    cells = describe_cells([fine, 100 * coarse], (4, 6))
    parts = [F.avg_pool2d(fine, 2), F.interpolate(coarse, scale_factor=2, mode="bilinear")]
    expected = torch.cat([F.normalize(part, dim=1) for part in parts], dim=1) / 2**0.5
    torch.testing.assert_close(cells, expected)


@pytest.mark.parametrize("levels", [[], [torch.zeros(3, 4, 4)]])
def test_levels_must_be_maps(levels: list[Tensor]) -> None:
    with pytest.raises(ValueError, match="levels must be at least one map"):
        describe_cells(levels, (2, 2))


CELLS, LABELS = torch.zeros(2, 3, 4), torch.zeros(1, 3, 4)


@pytest.mark.parametrize(
    ("memory", "given", "message"),
    [
        ([], {}, "memory must hold at least one frame, got none"),
        ([LabelledCells(CELLS[:, :2], LABELS)], {}, r"same sizes, got .*\(2, 2, 4\)"),
        ([LabelledCells(CELLS, LABELS[:, :2])], {}, r"same sizes, got .*\(1, 2, 4\)"),
        ([LabelledCells(CELLS, LABELS.double())], {}, "must have the same dtype"),
        ([LabelledCells(CELLS, LABELS, -1)], {}, r"memory\[0\].reach must be None or >= 0"),
        ([LabelledCells(CELLS, LABELS)], {"neighbours": 0}, "neighbours must be at least 1"),
        ([LabelledCells(CELLS, LABELS)], {"temperature": 0.0}, "temperature must be above 0"),
    ],
)
def test_wrong_inputs_raise(
    memory: list[LabelledCells], given: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        propagate_labels(CELLS, memory, **given)  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_finds_the_same() -> None:
    rng = torch.Generator().manual_seed(0)
    levels = [torch.randn(3, 16, 20, 30, generator=rng), torch.randn(3, 16, 5, 8, generator=rng)]
    labels = torch.rand(2, 4, 10, 15, generator=rng)
    found = {}
    for device in ("cpu", "cuda"):
        cells = describe_cells([level.to(device) for level in levels], (10, 15))
        memory = [LabelledCells(cells[n], labels[n].to(device), 2 + n) for n in range(2)]
        found[device] = propagate_labels(cells[2], memory).cpu()
    torch.testing.assert_close(found["cuda"], found["cpu"], atol=1e-4, rtol=1e-4)
