"""Fields of settings, changed by words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from segblocks.training.overrides import close_matches, replace_field, split_word


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    sides: tuple[int, ...] = (1, 2)
    pair: tuple[float, float] = (0.0, 1.0)
    limit: int | None = None
    kind: Literal["one", "two"] = "one"
    name: str = "x"
    flag: bool = False


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    table: Mapping[str, Any] = field(default_factory=lambda: {"vis": 1.0})
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    parts: Mapping[str, Inner] = field(default_factory=lambda: {"first": Inner()})


def changed(word: str) -> Outer:
    return replace_field(Outer(), *split_word(word))


@pytest.mark.parametrize(
    ("word", "name", "value"),
    [
        ("inner.rate=1", "rate", 1.0),
        ("inner.rate=2e-3", "rate", 0.002),
        ("inner.sides=[3,4,5]", "sides", (3, 4, 5)),
        ("inner.sides=3,4", "sides", (3, 4)),
        ("inner.sides=3", "sides", (3,)),
        ("inner.pair=1,2.5", "pair", (1.0, 2.5)),
        ("inner.limit=7", "limit", 7),
        ("inner.limit=none", "limit", None),
        ("inner.kind=two", "kind", "two"),
        ("inner.name=a=b c", "name", "a=b c"),
        ("inner.flag=true", "flag", True),
    ],
)
def test_values(word: str, name: str, value: Any) -> None:
    found = getattr(changed(word).inner, name)
    assert found == value
    assert type(found) is type(value)
    assert Outer().inner == Inner()


def test_tables_take_new_names_and_mappings_of_settings_do_not() -> None:
    assert changed("table.vos=0.3").table == {"vis": 1.0, "vos": 0.3}
    assert changed("lists.a=x").lists == {"a": ("x",)}
    assert changed("lists.a=x, y").lists == {"a": ("x", "y")}
    assert changed("shares.vis=1").shares == {"vis": 1.0}
    assert changed("parts.first.rate=0").parts["first"].rate == 0.0
    with pytest.raises(ValueError, match=r"parts has no field 'fist'; did you mean 'first'"):
        changed("parts.fist.rate=0")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("inner.rat=1", r"inner has no field 'rat'; did you mean 'rate'\? known: flag, kind"),
        ("iner.rate=1", r"there has no field 'iner'; did you mean 'inner'"),
        ("inner.rate=fast", r"inner.rate must be a number, got 'fast'"),
        ("inner.rate=true", r"inner.rate must be a number, got True"),
        ("inner.limit=1.5", r"inner.limit must be a whole number or none, got 1.5"),
        ("inner.kind=three", r"inner.kind must be one of one, two, got 'three'"),
        ("inner.pair=1,2,3", r"inner.pair must be 2 values"),
        ("inner.flag=1", r"inner.flag must be true or false"),
        ("shares.vis=much", r"shares.vis must be a number, got 'much'"),
        ("inner=3", r"inner holds fields of its own, set as inner.FIELD=VALUE: flag, kind"),
        ("inner.rate.more=3", r"inner.rate is 0.5, which has no fields"),
        ("inner.rate", r"expected FIELD=VALUE such as loop.steps=100, got 'inner.rate'"),
        ("inner..rate=1", r"expected FIELD=VALUE"),
    ],
)
def test_refused(word: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        changed(word)


def test_all_names_are_listed_where_none_is_close() -> None:
    assert close_matches("zzz", ["b", "a"]) == "; known: a, b"
