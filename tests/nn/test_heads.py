import pytest
import torch
from torch import nn

from segblocks.nn import GroupMaskEmbedding, LinearClassHead, QueryClassHead

GROUPS = {"instance": slice(0, 4), "background": slice(4, 6), "semantic": slice(6, 9)}


def test_each_group_has_its_own_embedding() -> None:
    head = GroupMaskEmbedding({name: nn.Linear(8, 8) for name in (*GROUPS, "object")})
    x = torch.randn(2, 9, 8)
    got = head(x, dict(reversed(GROUPS.items())))
    for name, part in GROUPS.items():
        assert torch.equal(got[:, part], head.embeddings[name](x[:, part]))
    with pytest.raises(ValueError, match=r"groups must be among .* got \['prompt'\]"):
        head(x, {"prompt": slice(0, 9)})


def test_a_class_is_a_query_and_no_object_is_last() -> None:
    head, x = QueryClassHead(8), torch.randn(2, 9, 8)
    got = head(x, GROUPS)
    assert got.group == "instance"
    project = {name: head.projections[name](x[:, part]) for name, part in GROUPS.items()}
    for b in range(2):
        for q in range(4):
            query = project["instance"][b, q]
            want = [query @ c for c in project["semantic"][b]]
            want.append(max(query @ c for c in project["background"][b]))
            torch.testing.assert_close(got.logits[b, q], torch.stack(want))


def test_classes_are_left_out_where_their_queries_are() -> None:
    groups = {"object": slice(0, 9)}
    assert QueryClassHead(8)(torch.zeros(1, 9, 8), groups) is None
    assert LinearClassHead(8, 3, group="instance")(torch.zeros(1, 9, 8), groups) is None


def test_a_linear_head_classifies_its_group() -> None:
    head, x = LinearClassHead(8, 3, group="semantic"), torch.randn(1, 9, 8)
    assert torch.equal(head(x, GROUPS).logits, head.linear(x[:, 6:9]))
