from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from segblocks.zoo.checkpoint import CheckpointError
from segblocks.zoo.key_map import KeyMap, compare_state_dicts, meta_state_dict
from segblocks.zoo.key_rules import (
    Drop,
    Join,
    Rename,
    Split,
    Template,
    Transform,
    packed_attention,
)

RULES = [
    Rename("enc.{i}.{rest}", "blocks_{i}.{rest:w|b}"),
    Split("qkv", ["q", "k"]),
    Join(["first", "second"], "both", sizes=[1, 2]),
    Transform("head", "classes", lambda x: x.roll(-1, 0), lambda x: x.roll(1, 0)),
    Rename("extra", "extra", optional=True),
    Drop("const.{i}"),
    Drop("step"),
]


def ours() -> dict[str, Tensor]:
    torch.manual_seed(0)
    shapes = {
        "blocks_0.w": (2, 3),
        "blocks_12.b": (4,),
        "q": (2, 5),
        "k": (3, 5),
        "both": (3, 2),
        "classes": (4,),
        "extra": (1,),
    }
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def test_export_and_convert_are_inverse() -> None:
    key_map, state = KeyMap(RULES), ours()
    source = key_map.export(state)
    assert set(source) == {"enc.0.w", "enc.12.b", "qkv", "first", "second", "head", "extra"}
    torch.testing.assert_close(source["qkv"], torch.cat([state["q"], state["k"]]), rtol=0, atol=0)
    torch.testing.assert_close(source["second"], state["both"][1:], rtol=0, atol=0)
    torch.testing.assert_close(source["head"], state["classes"][[3, 0, 1, 2]], rtol=0, atol=0)
    converted = key_map.convert(source, state)
    assert list(converted) == list(state)
    for name in state:
        torch.testing.assert_close(converted[name], state[name], rtol=0, atol=0)


def test_dropped_entries_may_come_and_are_not_exported() -> None:
    key_map, state = KeyMap(RULES), ours()
    source = key_map.export(state)
    with_constant = {**source, "const.3": torch.zeros(2), "step": torch.tensor(1)}
    assert key_map.export(key_map.convert(with_constant, state)).keys() == source.keys()


def test_optional_entries_may_be_missing() -> None:
    key_map, state = KeyMap(RULES), ours()
    source = key_map.export(state)
    del source["extra"]
    assert list(key_map.convert(source, state)) == [name for name in state if name != "extra"]


def test_source_shapes_need_no_memory() -> None:
    shapes = KeyMap(RULES).source_shapes({k: v.to("meta") for k, v in ours().items()})
    assert all(value.is_meta for value in shapes.values())
    assert {name: tuple(value.shape) for name, value in shapes.items()} == {
        "enc.0.w": (2, 3),
        "enc.12.b": (4,),
        "qkv": (5, 5),
        "first": (1, 2),
        "second": (2, 2),
        "head": (4,),
        "extra": (1,),
    }


def test_all_differences_are_listed_at_once() -> None:
    key_map, state = KeyMap(RULES), ours()
    source = key_map.export(state)
    del source["enc.0.w"]
    source["enc.7.w"] = torch.zeros(9)
    source["qkv"] = torch.zeros(5, 4)
    source["head"] = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(CheckpointError) as error:
        key_map.convert(source, state)
    text = str(error.value)
    assert "1 missing, 1 unexpected, 2 misshapen" in text
    assert "enc.0.w (2, 3) float32" in text
    assert "enc.7.w (9,) float32" in text
    assert "qkv: expected (5, 5) float32, got (5, 4) float32" in text
    assert "head: expected (4,) float32, got (4,) int64" in text


def test_half_precision_weights_are_accepted() -> None:
    key_map, state = KeyMap(RULES), ours()
    source = {name: value.half() for name, value in key_map.export(state).items()}
    assert key_map.convert(source, state)["q"].dtype == torch.float16


def test_long_tables_are_cut() -> None:
    state = {f"x{i}": torch.zeros(1) for i in range(50)}
    with pytest.raises(CheckpointError, match=r"50 missing(.|\n)*and 30 more"):
        compare_state_dicts({}, state)


def test_half_of_an_optional_join_is_missing() -> None:
    key_map = KeyMap([Join(["a", "b"], "ab", optional=True)])
    state = {"ab": torch.zeros(4)}
    assert key_map.convert({}, state) == {}
    with pytest.raises(CheckpointError, match="missing"):
        key_map.convert({"a": torch.zeros(2)}, state)


def test_entries_of_ours_that_no_rule_makes_are_an_error() -> None:
    key_map = KeyMap(RULES)
    with pytest.raises(CheckpointError, match="stray: no rule makes it"):
        key_map.export({**ours(), "stray": torch.zeros(1)})
    part = ours()
    del part["k"]
    with pytest.raises(CheckpointError, match="k: not there, but its rule makes it"):
        key_map.export(part)


def test_a_table_that_makes_an_entry_twice_is_an_error() -> None:
    key_map = KeyMap([Rename("same", "a"), Rename("same", "b")])
    with pytest.raises(CheckpointError, match="makes same twice"):
        key_map.export({"a": torch.zeros(1), "b": torch.zeros(1)})


def test_the_first_rule_counts() -> None:
    key_map = KeyMap([Rename("special", "x.0"), Rename("{i}.x", "x.{i}")])
    assert list(key_map.export({"x.0": torch.zeros(1), "x.1": torch.zeros(1)})) == [
        "special",
        "1.x",
    ]


def test_placeholders_must_agree() -> None:
    with pytest.raises(ValueError, match="same placeholders"):
        KeyMap([Rename("a.{i}", "b.{j}")])


def test_packed_attention_is_the_attention_of_torch() -> None:
    class Separate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            parts = ("query", "key", "value", "output")
            self.layers = nn.ModuleList(
                [nn.ModuleDict({part: nn.Linear(8, 8) for part in parts}) for _ in range(2)]
            )

    module = Separate()
    theirs = nn.ModuleList([nn.MultiheadAttention(8, 2) for _ in range(2)])
    key_map = KeyMap(packed_attention("{i}", "layers.{i}"))
    shapes = meta_state_dict(Separate)
    expected = {name: value.shape for name, value in theirs.state_dict().items()}
    got = {name: value.shape for name, value in key_map.source_shapes(shapes).items()}
    assert got == expected
    module.load_state_dict(key_map.convert(theirs.state_dict(), shapes))
    x = torch.randn(5, 8)
    for ours, official in zip(module.layers, theirs, strict=True):
        q, k, v = (ours[part](x).unflatten(-1, (2, 4)) for part in ("query", "key", "value"))
        scores = torch.einsum("qmd,kmd->mqk", q, k) / 2
        out = torch.einsum("mqk,kmd->qmd", scores.softmax(-1), v).flatten(1)
        torch.testing.assert_close(ours["output"](out), official(x, x, x)[0])


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=2), st.text("ab.", min_size=1))
def test_a_template_reads_what_it_writes(numbers: list[int], rest: str) -> None:
    template = Template("x.{i}+y{j}.{rest}")
    values = {"i": str(numbers[0]), "j": str(numbers[1]), "rest": rest}
    assert template.match(template.fill(values)) == values


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("a.{i}", "a.b"),
        ("a.{i}", "a.1.w"),
        ("a.b", "axb"),
        ("a.{rest}", "a."),
        ("{leaf:weight|bias}", "weights"),
        ("{i}.{i}", "1.2"),
    ],
)
def test_a_template_matches_whole_names_only(template: str, name: str) -> None:
    assert Template(template).match(name) is None
