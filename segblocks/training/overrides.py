"""Fields of settings, changed by words such as ``loop.steps=100``."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union

T = TypeVar("T")

_NOTHING = ("none", "null", "None")


class _RefusedError(Exception):
    """A value that a field does not take; becomes a ValueError that names the field."""


def close_matches(name: str, known: Iterable[str]) -> str:
    """Say which of the known names are close to a wrong one, or else list them all.

    Args:
        name: the wrong one.
        known: the right ones.

    Returns:
        Text to end an error message with.

    Example:
        >>> close_matches("step", ["steps", "seed"])
        "; did you mean 'steps'? known: seed, steps"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ";"
    return f"{hint} known: {', '.join(names) or 'none'}"


def split_word(word: str) -> tuple[tuple[str, ...], Any]:
    """Take a word apart into the path of a field and its value.

    Args:
        word: such as ``loop.steps=100``. The value may be a number, true or false, none, a list
            in brackets or with commas, or text.

    Returns:
        The names, and the value.

    Raises:
        ValueError: no name, or no equals sign.

    Example:
        >>> split_word("sources.ovis.weight=0.5")
        (('sources', 'ovis', 'weight'), 0.5)
    """
    path, equals, text = word.partition("=")
    names = tuple(name.strip() for name in path.split("."))
    if not equals or not all(names):
        raise ValueError(f"expected FIELD=VALUE such as loop.steps=100, got {word!r}")
    return names, _parse(text.strip())


def replace_field(
    settings: T, path: Sequence[str], value: Any, *, where: str = "", hint: Any = None
) -> T:
    """Return settings with one field changed.

    Args:
        settings: a dataclass or a mapping, of numbers, texts, tuples, further dataclasses and
            mappings.
        path: names from the outside to the field; a mapping takes new names for its values only
            where they are no settings of their own.
        value: as `split_word` returns it.
        where: names before ``path``, for messages.
        hint: type of ``settings``, from which a mapping knows that of its values.

    Returns:
        A changed copy.

    Raises:
        ValueError: an unknown field (close matches are listed), or a value that it does not take.

    Example:
        >>> from segblocks.data.synthetic import WorldConfig
        >>> replace_field(WorldConfig(), ["size"], [64, 96]).size
        (64, 96)
    """
    name, rest = path[0], path[1:]
    here = f"{where}.{name}" if where else name
    known, hints = _fields(settings, where, hint)
    is_table = isinstance(settings, Mapping) and not any(map(_is_settings, known.values()))
    if name not in known and (rest or not is_table):
        raise ValueError(f"{where or 'there'} has no field {name!r}{close_matches(name, known)}")
    if rest:
        changed = replace_field(known[name], rest, value, where=here, hint=hints.get(name))
    elif _is_settings(known.get(name)) and not isinstance(value, dict):
        inner = ", ".join(sorted(_fields(known[name], here, None)[0])) or "any name"
        raise ValueError(f"{here} holds fields of its own, set as {here}.FIELD=VALUE: {inner}")
    else:
        changed = fit_value(value, hints.get(name, hints.get("", Any)), here)
    if isinstance(settings, Mapping):
        return {**settings, name: changed}  # type: ignore[return-value]
    return dataclasses.replace(settings, **{name: changed})  # type: ignore[type-var]


def fit_value(value: Any, hint: Any, where: str) -> Any:
    """Make of a value what a type hint asks for, such as a tuple of a list.

    Args:
        value: as `split_word` returns it.
        hint: numbers, texts, None, literals, tuples, and what may be any of several.
        where: name of the field, for messages.

    Raises:
        ValueError: the value cannot be that.

    Example:
        >>> fit_value([1, 2], tuple[float, float], "betas")
        (1.0, 2.0)
    """
    try:
        return _coerce(value, hint)
    except _RefusedError as error:
        raise ValueError(f"{where} must be {error}, got {value!r}") from None


def _parse(text: str) -> Any:
    if text in _NOTHING:
        return None
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _is_settings(value: Any) -> bool:
    is_instance = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return is_instance or isinstance(value, Mapping)


def _fields(settings: Any, where: str, hint: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of settings with their values, and what is known of their types.

    The type of all values of a mapping stands under the empty name.
    """
    if isinstance(settings, Mapping):
        inner = typing.get_args(hint)
        return dict(settings), {"": inner[1]} if len(inner) == 2 else {}
    if not _is_settings(settings):
        raise ValueError(f"{where} is {settings!r}, which has no fields")
    values = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings) if f.init}
    return values, typing.get_type_hints(type(settings))


def _coerce(value: Any, hint: Any) -> Any:
    """Make of a value what a type hint asks for."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _first_that_takes(value, inner)
    if origin is Literal:
        if value not in inner:
            raise _RefusedError(f"one of {', '.join(map(str, inner))}")
        return value
    if hint is Any:
        return _tuples(value)
    if hint is type(None):
        if value is not None:
            raise _RefusedError("none")
        return None
    kind = origin or hint
    if kind is tuple or kind is Sequence:
        return _coerce_items(value, (*inner, ...) if kind is Sequence and inner else inner)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    if kind in names:
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise _RefusedError(names[kind])
        return value
    if isinstance(kind, type) and issubclass(kind, Mapping) and isinstance(value, dict):
        return value
    raise _RefusedError("set in Python")


def _first_that_takes(value: Any, hints: Sequence[Any]) -> Any:
    wanted: list[str] = []
    for hint in hints:
        try:
            return _coerce(value, hint)
        except _RefusedError as error:
            wanted.append(str(error))
    raise _RefusedError(" or ".join(dict.fromkeys(wanted)))


def _coerce_items(value: Any, hints: Sequence[Any]) -> tuple[Any, ...]:
    """Make a tuple; one value alone, or texts with commas between them, are a list too."""
    if isinstance(value, str):
        value = [part for part in (part.strip() for part in value.split(",")) if part]
    items = list(value) if isinstance(value, list | tuple) else [value]
    if not hints:
        return _tuples(items)
    if len(hints) == 2 and hints[1] is ...:
        hints = [hints[0]] * len(items)
    if len(hints) != len(items):
        raise _RefusedError(f"{len(hints)} values")
    return tuple(_coerce(item, hint) for item, hint in zip(items, hints, strict=True))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
