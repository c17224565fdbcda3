"""Which parameters are trained, how fast, and which of them decay."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

BACKBONE = "backbone"

# By type, not by name: a norm is one wherever it stands.
_NORMS = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.modules.batchnorm._NormBase,
    nn.LocalResponseNorm,
)


def parameter_groups(
    model: nn.Module,
    *,
    learning_rate: float,
    backbone_factor: float = 0.1,
    weight_decay: float = 0.05,
) -> list[dict[str, Any]]:
    """Sort the parameters that are trained into groups for AdamW.

    What is below ``model.backbone`` learns more slowly. Weights of normalisation layers do not
    decay, nor do embeddings, nor what a module in the model lists in its attribute
    ``no_decay_names``: names of its own parameters, or of modules in it. Biases decay. This is what
    the official code of TarViS (Athar et al., CVPR 2023) does.

    Args:
        model: parameters with ``requires_grad`` are taken, each once, even where it is shared.
        learning_rate: of all but the backbone.
        backbone_factor: the backbone's learning rate, relative to ``learning_rate``.
        weight_decay: of what decays.

    Returns:
        Groups that are not empty, with ``params``, ``lr``, ``full_lr`` (what schedules multiply),
        ``weight_decay`` and ``names``, which keep the order of the model.

    Raises:
        ValueError: ``no_decay_names`` holds a name that fits no parameter, or nothing is trained.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        >>> groups = parameter_groups(model, learning_rate=1e-4)
        >>> [(group["names"], group["weight_decay"]) for group in groups]
        [(['0.weight', '0.bias'], 0.05), (['1.weight', '1.bias'], 0.0)]
    """
    spared = _without_decay(model)
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        key = below(name, [BACKBONE]), name in spared
        rate = learning_rate * (backbone_factor if key[0] else 1.0)
        group = groups.setdefault(
            key,
            {
                "params": [],
                "names": [],
                "lr": rate,
                "full_lr": rate,
                "weight_decay": 0.0 if key[1] else weight_decay,
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    if not groups:
        raise ValueError("parameter_groups: the model has no parameter that is trained")
    return [groups[key] for key in sorted(groups)]


def freeze(model: nn.Module, prefixes: Sequence[str]) -> None:
    """Keep parameters of a model from being trained.

    Args:
        model: its parameters of these names stop requiring gradients.
        prefixes: names of parameters, or of modules, such as "backbone" or "neck.level_embedding".

    Raises:
        ValueError: a name that fits no parameter, with the close ones.
    """
    # A shared parameter has several names, and any of them stops it.
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for prefix in prefixes:
        _check_known(prefix, list(parameters), "frozen")
    for name, parameter in parameters.items():
        if below(name, prefixes):
            parameter.requires_grad_(False)


def below(name: str, prefixes: Iterable[str]) -> bool:
    """Say whether a dotted name is one of some names, or in one of them.

    Example:
        >>> below("neck.norm.weight", ["neck"]), below("necklace.weight", ["neck"])
        (True, False)
    """
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _without_decay(model: nn.Module) -> set[str]:
    """The names, as `named_parameters` gives them, of what does not decay."""
    # A shared parameter has several names, of which one may be below a norm.
    first: dict[int, str] = {}
    for name, parameter in model.named_parameters():
        first.setdefault(id(parameter), name)
    found: set[str] = set()
    for _, module in model.named_modules():
        inner = dict(module.named_parameters())
        given = tuple(getattr(module, "no_decay_names", ()))
        for name in given:
            _check_known(name, list(inner), f"{type(module).__name__}.no_decay_names")
        if isinstance(module, (*_NORMS, nn.Embedding)):
            found |= {first[id(parameter)] for parameter in module.parameters(recurse=False)}
        found |= {first[id(inner[name])] for name in inner if below(name, given)}
    return found


def _check_known(prefix: str, names: Sequence[str], what: str) -> None:
    if any(below(name, [prefix]) for name in names):
        return
    known = {
        ".".join(name.split(".")[: i + 1]) for name in names for i in range(name.count(".") + 1)
    }
    close = difflib.get_close_matches(prefix, sorted(known), n=3)
    hint = f"; close: {', '.join(close)}" if close else ""
    raise ValueError(f"{what}: no parameter is called {prefix!r} or lies below it{hint}")
