from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from segblocks.nn import GridQueries


def made(**options) -> GridQueries:
    torch.manual_seed(0)
    return GridQueries(8, 20, hidden_dim=16, **options)


def test_cells_are_distinct_and_fixed_in_evaluation() -> None:
    queries, features = made().eval(), torch.randn(3, 8, 18, 30)
    content, cells = queries(features)
    assert content.shape == (3, 20, 8)
    assert all(len(row.unique()) == 20 for row in cells)
    assert (cells == cells[0]).all()
    assert torch.equal(queries(features)[0], content)
    fewer, _ = queries(features, num_queries=5)
    torch.testing.assert_close(fewer, content[:, :5])


def test_cells_are_drawn_anew_for_each_clip_in_training() -> None:
    queries, features = made(), torch.randn(3, 8, 18, 30)
    draws = [
        queries(features, generator=torch.Generator().manual_seed(seed))[1] for seed in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0][0], draws[0][1])
    assert all(len(row.unique()) == 20 for row in draws[0])


def test_a_query_is_the_mean_of_its_cell() -> None:
    queries = made(cells=6).eval()
    features = torch.randn(1, 8, 12, 18)
    content, cells = queries(features)
    for n, cell in enumerate(cells[0].tolist()):
        row, column = divmod(cell, 6)
        part = features[0, :, 2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
        torch.testing.assert_close(content[0, n], queries.feed_forward(part.mean((1, 2))))
    x, y = queries.centres(cells)[0, 0].tolist()
    row, column = divmod(int(cells[0, 0]), 6)
    assert (x, y) == pytest.approx(((column + 0.5) / 6, (row + 0.5) / 6))


def test_permuted_cells_permute_the_queries() -> None:
    queries, features = made().eval(), torch.randn(1, 8, 14, 14)
    content, _ = queries(features)
    turn = torch.randperm(20)
    queries.order[:20] = queries.order[:20][turn]
    torch.testing.assert_close(queries(features)[0], content[:, turn])


def test_the_choice_is_in_the_state_and_depends_on_the_seed() -> None:
    assert torch.equal(made().state_dict()["order"], made().order)
    assert not torch.equal(made(seed=1).order, made().order)


def test_small_features_are_enough() -> None:
    content, _ = made().eval()(torch.randn(1, 8, 2, 3))
    assert content.isfinite().all()
    assert F.layer_norm(content, (8,)).isfinite().all()


def test_wrong_arguments_are_named() -> None:
    assert GridQueries(8, 100, hidden_dim=8).cells == 12
    with pytest.raises(ValueError, match="num_queries must be from 1 to 9"):
        GridQueries(8, 10, cells=3)
    with pytest.raises(ValueError, match="num_queries must be from 0 to 20"):
        made()(torch.randn(1, 8, 4, 4), num_queries=21)
