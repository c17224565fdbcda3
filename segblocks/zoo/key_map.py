"""Strict, invertible conversion between the state dicts of two implementations.

A table of rules says how each entry of ours comes from entries of the source. It is read from our
side: given our model's entries, every rule tells which source entries it needs, so the expected
source (names, shapes, kinds of number) follows from the model, and whatever differs is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segblocks.zoo.checkpoint import CheckpointError
from segblocks.zoo.key_rules import Drop, Rule, Template

MAX_ROWS = 20


@dataclass(frozen=True)
class _Link:
    """A rule applied to certain names."""

    rule: Rule
    sources: tuple[str, ...]
    targets: tuple[str, ...]


class _BoundRule:
    """A rule with its templates compiled."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.sources = [Template(text) for text in rule.sources]
        self.targets = [Template(text) for text in rule.targets]
        if len({template.fields for template in (*self.sources, *self.targets)}) > 1:
            raise ValueError(
                f"KeyMap: the names of a rule must have the same placeholders, got "
                f"{rule.sources} and {rule.targets}"
            )

    def link(self, target: str) -> _Link | None:
        for template in self.targets:
            values = template.match(target)
            if values is not None:
                return _Link(
                    self.rule,
                    tuple(other.fill(values) for other in self.sources),
                    tuple(other.fill(values) for other in self.targets),
                )
        return None


class KeyMap:
    """Convert state dicts by a table of rules, in both directions.

    Args:
        rules: Of those whose target fits one of our names, the first counts. (So it is the target's
            placeholders that have to be exact; the source's only receive what was matched.)

    Example:
        >>> from segblocks.zoo.key_rules import Rename
        >>> key_map = KeyMap([Rename("conv.{rest}", "stem.{rest}"), Drop("steps")])
        >>> ours = {"stem.weight": torch.empty(2, 3)}
        >>> source = {"conv.weight": torch.ones(2, 3), "steps": torch.tensor(5)}
        >>> key_map.convert(source, ours)["stem.weight"].shape
        torch.Size([2, 3])
        >>> list(key_map.export({"stem.weight": torch.ones(2, 3)}))
        ['conv.weight']
    """

    def __init__(self, rules: Iterable[Rule | Drop]) -> None:
        rules = list(rules)
        self._rules = [_BoundRule(rule) for rule in rules if not isinstance(rule, Drop)]
        self._drops = [rule.template for rule in rules if isinstance(rule, Drop)]

    def convert(
        self, state_dict: Mapping[str, Tensor], target_shapes: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Turn a source state dict into ours.

        Args:
            state_dict: The source's, without containers.
            target_shapes: Our model's state dict; only shapes and types are read, so that it may
                be on the meta device, see :func:`meta_state_dict`.

        Returns:
            Our entries in the order of ``target_shapes``; parts share memory with the source.

        Raises:
            CheckpointError: With a table of the entries that are missing, unexpected or misshapen.
        """
        links = self._links(target_shapes)
        links = [
            link
            for link in links
            if not (link.rule.optional and not any(name in state_dict for name in link.sources))
        ]
        self._check(state_dict, _apply_backward(links, target_shapes))
        converted: dict[str, Tensor] = {}
        for link in links:
            sources = [state_dict[name] for name in link.sources]
            likes = [target_shapes[name] for name in link.targets]
            values = link.rule.to_targets(sources, likes)
            converted.update(zip(link.targets, values, strict=True))
        return {name: converted[name] for name in target_shapes if name in converted}

    def export(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Turn our state dict into the source's, less its dropped entries.

        Args:
            state_dict: Our model's, complete.

        Returns:
            The source's entries.

        Raises:
            CheckpointError: An entry fits no rule, or a part of a packed one is missing.
        """
        return _apply_backward(self._links(state_dict), state_dict)

    def source_shapes(self, target_shapes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Derive what the source must hold for a model of ours, optional entries included.

        Args:
            target_shapes: Our model's state dict, on any device.

        Returns:
            Source names to meta tensors of their shapes and types.
        """
        meta = {name: value.to("meta") for name, value in target_shapes.items()}
        return self.export(meta)

    def _links(self, names: Mapping[str, Tensor]) -> list[_Link]:
        links: dict[tuple[str, ...], _Link] = {}
        unmatched = []
        for name in names:
            found = (rule.link(name) for rule in self._rules)
            link = next((link for link in found if link is not None), None)
            if link is None:
                unmatched.append(name)
            else:
                links[link.targets] = link
        wanted = [name for targets in links for name in targets if name not in names]
        if unmatched or wanted:
            rows = [f"{name}: no rule makes it" for name in unmatched]
            rows += [f"{name}: not there, but its rule makes it" for name in wanted]
            raise CheckpointError(f"the key table does not fit the model\n{_rows(rows)}")
        return list(links.values())

    def _check(self, got: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
        missing = [f"{name} {_spec(expected[name])}" for name in expected if name not in got]
        unexpected = [
            f"{name} {_spec(got[name])}"
            for name in got
            if name not in expected
            and not any(drop.match(name) is not None for drop in self._drops)
        ]
        misshapen = [
            f"{name}: expected {_spec(value)}, got {_spec(got[name])}"
            for name, value in expected.items()
            if name in got and not _alike(got[name], value)
        ]
        raise_differences(missing, unexpected, misshapen)


def raise_differences(
    missing: Sequence[str], unexpected: Sequence[str], misshapen: Sequence[str]
) -> None:
    """Raise a :class:`CheckpointError` with a table, unless all three lists are empty.

    Args:
        missing: Rows about entries that the checkpoint lacks.
        unexpected: About those that it has too many.
        misshapen: About those of another shape or kind of number.
    """
    lists = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    if any(lists.values()):
        counts = ", ".join(f"{len(rows)} {title}" for title, rows in lists.items() if rows)
        tables = [f"{title} ({len(rows)})\n{_rows(rows)}" for title, rows in lists.items() if rows]
        raise CheckpointError("\n".join([f"the checkpoint does not fit: {counts}", *tables]))


def compare_state_dicts(got: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise a table of differences where a state dict does not fit the one expected.

    Args:
        got: Name to tensor.
        expected: The model's own; only shapes and types are read.

    Raises:
        CheckpointError: With the table.
    """
    KeyMap([])._check(got, expected)


def meta_state_dict(build: Callable[[], nn.Module]) -> dict[str, Tensor]:
    """Build a module without memory and return its state dict, for its names and shapes.

    Args:
        build: Makes the module.

    Returns:
        Name to meta tensor.
    """
    with torch.device("meta"):
        return build().state_dict()


def _apply_backward(links: Iterable[_Link], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    sources: dict[str, Tensor] = {}
    for link in links:
        values = link.rule.to_sources([state[name] for name in link.targets])
        for name, value in zip(link.sources, values, strict=True):
            if name in sources:
                raise CheckpointError(f"the key table makes {name} twice, from {link.targets} too")
            sources[name] = value
    return sources


def _alike(got: Tensor, expected: Tensor) -> bool:
    same_kind = got.is_floating_point() == expected.is_floating_point()
    return got.shape == expected.shape and same_kind


def _spec(value: Tensor) -> str:
    return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"


def _rows(rows: Sequence[str]) -> str:
    shown = [f"  {row}" for row in rows[:MAX_ROWS]]
    if len(rows) > MAX_ROWS:
        shown.append(f"  ... and {len(rows) - MAX_ROWS} more")
    return "\n".join(shown)
