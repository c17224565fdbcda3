import pytest
import torch

from segblocks.nn import concatenate_queries


def test_groups_follow_each_other_and_types_are_spread() -> None:
    a, b, c = torch.zeros(2, 3, 4), torch.ones(2, 0, 4), torch.full((2, 2, 4), 2.0)
    queries = concatenate_queries(
        [
            (n, x, x[:, :1].mean() + torch.zeros(1, 1, 4))
            for n, x in [("instance", a), ("background", a[:, :0] + b), ("object", c)]
            if n != "background"
        ]
    )
    assert queries.groups == {"instance": slice(0, 3), "object": slice(3, 5)}
    assert torch.equal(queries.content, torch.cat([a, c], 1))
    assert torch.equal(queries.position, torch.cat([a, c], 1))
    assert torch.equal(queries.group("object"), c)


def test_an_empty_group_keeps_its_name() -> None:
    x, nothing = torch.zeros(1, 2, 4), torch.zeros(1, 0, 4)
    assert concatenate_queries([("a", nothing, nothing), ("b", x, x)]).groups["a"] == slice(0, 0)


def test_names_are_distinct() -> None:
    x = torch.zeros(1, 1, 2)
    with pytest.raises(ValueError, match="distinct names"):
        concatenate_queries([("a", x, x), ("a", x, x)])
