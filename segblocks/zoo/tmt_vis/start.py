"""Begin TMT-VIS with the weights of a Mask2Former-VIS, or of a Mask2Former of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from segblocks.nn import PredictAs, TaxonomyInjection
from segblocks.text.union import canonical_name
from segblocks.text.vocabulary import Vocabulary, get_vocabulary
from segblocks.zoo.checkpoint import CheckpointError
from segblocks.zoo.key_map import compare_state_dicts
from segblocks.zoo.tmt_vis.model import TMTVIS

_BLOCKS = "decoder.blocks."
_CLASSES = (f"{_BLOCKS}0.class_head.linear.weight", f"{_BLOCKS}0.class_head.linear.bias")
# Mask2Former-VIS holds the weights of its loss; TMT-VIS does not.
_LEFT_OUT = "class_weights"
_NEW = "compiler."


@torch.no_grad()
def start_from(
    model: TMTVIS,
    state_dict: Mapping[str, Tensor],
    classes: str | Vocabulary | Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Load the weights of a Mask2Former-VIS, as the paper begins with one trained on COCO.

    Everything but compiler, injections and classifier has to fit. Rows of the classifier are taken
    over where both have a class of the same meaning, as is that of no-object. Injections whose norm
    comes first become the identity, so that the model begins as the Mask2Former-VIS that it got.

    Args:
        model: changed in place.
        state_dict: that of a :class:`~segblocks.zoo.mask2former_vis.Mask2FormerVIS`, such as
            :func:`segblocks.zoo.convert_state_dict` gives.
        classes: that the rows of its classifier stand for; None takes over that of no-object alone.

    Returns:
        The names of the classes of the model whose rows were taken over.

    Raises:
        CheckpointError: something that should fit does not.
        ValueError: another number of classes than rows, or a class twice.
    """
    places = _places(model)
    renamed = {
        _renamed(name, places): value for name, value in state_dict.items() if name != _LEFT_OUT
    }
    own = model.state_dict()
    injections = [
        f"{_BLOCKS}{i}."
        for i, block in enumerate(model.decoder.blocks)
        if isinstance(block, TaxonomyInjection)
    ]
    fixed = (_NEW, *injections, *_CLASSES)
    shared = {name for name in own if not name.startswith(fixed)}
    compare_state_dicts(
        {name: value for name, value in renamed.items() if name not in _CLASSES},
        {name: own[name] for name in shared},
    )
    taken = _take_rows(model, renamed, own, classes)
    model.load_state_dict({**own, **{name: renamed[name] for name in shared}})
    for block in model.decoder.blocks:
        if isinstance(block, TaxonomyInjection) and block.norm_first:
            block.start_as_identity()
    return taken


def _places(model: TMTVIS) -> dict[int, int]:
    """Where each block of a decoder without injections stands in this one."""
    kept = [
        place
        for place, block in enumerate(model.decoder.blocks)
        if not isinstance(block, TaxonomyInjection | PredictAs)
    ]
    return dict(enumerate(kept))


def _renamed(name: str, places: Mapping[int, int]) -> str:
    if not name.startswith(_BLOCKS):
        return name
    number, _, rest = name.removeprefix(_BLOCKS).partition(".")
    return f"{_BLOCKS}{places.get(int(number), number)}.{rest}"


def _take_rows(
    model: TMTVIS,
    given: Mapping[str, Tensor],
    own: dict[str, Tensor],
    classes: str | Vocabulary | Sequence[str] | None,
) -> tuple[str, ...]:
    """Copy rows of the classifier into ``own``; returns the classes that got one."""
    if missing := [name for name in _CLASSES if name not in given]:
        raise CheckpointError(f"start_from: the state dict must have {', '.join(missing)}")
    names = _names(classes)
    rows = len(given[_CLASSES[1]]) - 1
    if names and len(names) != rows:
        raise ValueError(
            f"start_from: classes must be the {rows} of the classifier, got {len(names)}"
        )
    places = {name: row for row, name in enumerate(names)}
    pairs = [(k, places[c]) for k, c in enumerate(model.vocabulary.classes) if c in places]
    for name in _CLASSES:
        own[name] = own[name].clone()
        own[name][-1] = given[name][-1]
        for to, row in pairs:
            own[name][to] = given[name][row]
    return tuple(model.vocabulary.classes[to] for to, _ in pairs)


def _names(classes: str | Vocabulary | Sequence[str] | None) -> list[str]:
    if not classes:
        return []
    if isinstance(classes, str):
        classes = get_vocabulary(classes)
    elif not isinstance(classes, Vocabulary):
        classes = Vocabulary("classes", tuple(classes))
    return [canonical_name(name, classes.name) for name in classes.classes]
