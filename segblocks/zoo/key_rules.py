"""The rules that a key table is made of: how entries of two implementations correspond."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor


class Template:
    """A name with placeholders, matched and filled.

    ``{i}`` (one letter) stands for digits, ``{rest}`` for any text, ``{leaf:weight|bias}`` for one
    of the alternatives. The literal parts stand for themselves.

    Args:
        text: The template.

    Example:
        >>> Template("layers.{i}.{leaf:weight|bias}").match("layers.3.bias")
        {'i': '3', 'leaf': 'bias'}
        >>> Template("blocks.{i}.{leaf}").fill({"i": "3", "leaf": "bias"})
        'blocks.3.bias'
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts = re.split(r"\{(\w+)(?::([^{}]*))?\}", text)
        pattern, seen = "", set()
        for i in range(0, len(self._parts), 3):
            pattern += re.escape(self._parts[i])
            if i + 1 < len(self._parts):
                name, choice = self._parts[i + 1 : i + 3]
                kind = choice or (r"\d+" if len(name) == 1 else ".+")
                pattern += f"(?P={name})" if name in seen else f"(?P<{name}>{kind})"
                seen.add(name)
        self.fields = frozenset(seen)
        self._pattern = re.compile(pattern)

    def match(self, name: str) -> dict[str, str] | None:
        """Return what the placeholders stand for in ``name``, or None where it does not fit."""
        found = self._pattern.fullmatch(name)
        return found.groupdict() if found else None

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the name with the placeholders replaced."""
        parts = list(self._parts)
        parts[1::3] = [values[name] for name in parts[1::3]]
        parts[2::3] = [""] * len(parts[2::3])
        return "".join(parts)


class Rule(Protocol):
    """How some of our entries come from some entries of the source, and back.

    Both directions must work on meta tensors, because shapes are derived by running them.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    optional: bool

    def to_targets(self, sources: list[Tensor], likes: list[Tensor]) -> list[Tensor]:
        """Make our tensors; ``likes`` have the shapes wanted."""
        ...

    def to_sources(self, targets: list[Tensor]) -> list[Tensor]:
        """Make the source's tensors."""
        ...


class Rename:
    """One entry under another name.

    Args:
        source: Template of the source's name.
        target: Template of ours, with the same placeholders.
        optional: The source may lack it; the result then lacks it too.
    """

    def __init__(self, source: str, target: str, *, optional: bool = False) -> None:
        self.sources, self.targets, self.optional = (source,), (target,), optional

    def to_targets(self, sources: list[Tensor], likes: list[Tensor]) -> list[Tensor]:
        """Pass the tensor on."""
        return sources

    def to_sources(self, targets: list[Tensor]) -> list[Tensor]:
        """Pass the tensor on."""
        return targets


class Split:
    """One packed entry of the source cut into several of ours, whose shapes say where.

    Args:
        source: Template of the packed entry's name.
        targets: Templates of ours, in order.
        dim: Along which they lie.
        optional: The source may lack it; the result then lacks them all.
    """

    def __init__(
        self, source: str, targets: Sequence[str], *, dim: int = 0, optional: bool = False
    ) -> None:
        self.sources, self.targets, self.dim = (source,), tuple(targets), dim
        self.optional = optional

    def to_targets(self, sources: list[Tensor], likes: list[Tensor]) -> list[Tensor]:
        """Cut."""
        return list(sources[0].split([like.shape[self.dim] for like in likes], self.dim))

    def to_sources(self, targets: list[Tensor]) -> list[Tensor]:
        """Concatenate."""
        return [torch.cat(targets, self.dim)]


class Join:
    """Several entries of the source laid one after another in one of ours.

    Args:
        sources: Templates of the source's names, in order.
        target: Template of ours.
        sizes: Of the parts along ``dim``; equal parts without it.
        dim: Along which they lie.
        optional: The source may lack all of them; the result then lacks ours.
    """

    def __init__(
        self,
        sources: Sequence[str],
        target: str,
        *,
        sizes: Sequence[int] | None = None,
        dim: int = 0,
        optional: bool = False,
    ) -> None:
        self.sources, self.targets, self.optional = tuple(sources), (target,), optional
        self.sizes, self.dim = sizes, dim

    def to_targets(self, sources: list[Tensor], likes: list[Tensor]) -> list[Tensor]:
        """Concatenate."""
        return [torch.cat(sources, self.dim)]

    def to_sources(self, targets: list[Tensor]) -> list[Tensor]:
        """Cut."""
        length = targets[0].shape[self.dim]
        sizes = self.sizes or [length // len(self.sources)] * len(self.sources)
        return list(targets[0].split(list(sizes), self.dim))


class Transform:
    """One entry changed by a pair of inverse functions, such as a transposition.

    Args:
        source: Template of the source's name.
        target: Template of ours.
        forward: Source tensor to ours.
        backward: Its inverse.
        optional: The source may lack it; the result then lacks it too.
    """

    def __init__(
        self,
        source: str,
        target: str,
        forward: Callable[[Tensor], Tensor],
        backward: Callable[[Tensor], Tensor],
        *,
        optional: bool = False,
    ) -> None:
        self.sources, self.targets, self.optional = (source,), (target,), optional
        self.forward, self.backward = forward, backward

    def to_targets(self, sources: list[Tensor], likes: list[Tensor]) -> list[Tensor]:
        """Apply the function."""
        return [self.forward(sources[0])]

    def to_sources(self, targets: list[Tensor]) -> list[Tensor]:
        """Apply the inverse."""
        return [self.backward(targets[0])]


class Drop:
    """Entries of the source that ours does without, such as constants; never exported.

    Args:
        source: Template of the source's name. Such entries may be missing.
    """

    def __init__(self, source: str) -> None:
        self.template = Template(source)


def packed_attention(source: str, target: str) -> list[Rule]:
    """Make the rules from ``nn.MultiheadAttention`` to attention with separate projections.

    Args:
        source: Template of the module with ``in_proj_weight``, ``in_proj_bias``, ``out_proj``.
        target: Template of the one with ``query``, ``key``, ``value``, ``output``.

    Returns:
        Rules for its eight entries.
    """
    rules: list[Rule] = [
        Split(
            f"{source}.in_proj_{leaf}",
            [f"{target}.{part}.{leaf}" for part in ("query", "key", "value")],
        )
        for leaf in ("weight", "bias")
    ]
    return [
        *rules,
        Rename(f"{source}.out_proj.{{leaf}}", f"{target}.output.{{leaf:weight|bias}}"),
    ]
