"""Beginning to train with the weights of Mask2Former."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from segblocks.text.vocabulary import Vocabulary, get_vocabulary
from segblocks.zoo.checkpoint import CheckpointError
from segblocks.zoo.gvseg.model import GvSeg

_HEAD = "decoder.blocks.0.class_head.linear."
_LEFT = ("query_content", "query_position", "class_weights")
# What Mask2Former does not have.
_OWN = (
    "grid_queries.",
    "class_queries.",
    "hint_queries.",
    "identity.",
    "thing_position",
    "object_position",
    "class_position",
)
# The place of the injection among the blocks of the decoder: after the first cross-attention.
_INJECTION = 2


def start_from(
    model: GvSeg,
    state_dict: Mapping[str, Tensor],
    classes: str | Vocabulary | Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Load the weights of a Mask2Former, of images or of videos.

    Backbone, neck and decoder have to fit. The rows of the classifier are taken over of classes
    that both have by name, and that of no-object. The learned queries are left out, as queries
    begin elsewhere; what makes them keeps the values that it has.

    Args:
        model: changed in place.
        state_dict: of a ``mask2former_vis`` model, see :func:`segblocks.zoo.convert_state_dict`.
        classes: that the rows of its classifier stand for, or the name of a vocabulary; None takes
            over no row.

    Returns:
        The names of the classes whose rows were taken over.

    Raises:
        CheckpointError: entries that are missing, unexpected or misshapen.
        ValueError: another number of classes than rows.
    """
    own = model.state_dict()
    given = {_renamed(name, model): v for name, v in state_dict.items() if name not in _LEFT}
    expected = {name for name in own if not name.startswith(_OWN)}
    wrong = sorted(expected ^ given.keys()) + sorted(
        name
        for name in expected & given.keys()
        if not name.startswith(_HEAD) and own[name].shape != given[name].shape
    )
    if wrong:
        shown = ", ".join(wrong[:5]) + (", ..." if len(wrong) > 5 else "")
        raise CheckpointError(
            f"start_from: the state dict must be of a mask2former_vis like {model.config.backbone} "
            f"with the same sizes; missing, unexpected or misshapen: {shown}"
        )
    known = _names(classes)
    rows = len(given[f"{_HEAD}bias"]) - 1
    if known and len(known) != rows:
        raise ValueError(
            f"start_from: classes must be {rows}, one a row of the classifier, got {len(known)}"
        )
    shared = tuple(name for name in model.vocabulary.classes if name in known)
    new = [model.vocabulary.index(name) for name in shared] + [-1] * bool(known)
    old = [known.index(name) for name in shared] + [-1] * bool(known)
    for leaf in ("weight", "bias"):
        merged = own[_HEAD + leaf].clone()
        merged[new] = given[_HEAD + leaf][old].to(merged)
        given[_HEAD + leaf] = merged
    model.load_state_dict({**own, **given})
    return shared


def _renamed(name: str, model: GvSeg) -> str:
    """The name of an entry of Mask2Former in a decoder that has an injection."""
    found = re.match(r"decoder\.blocks\.(\d+)\.", name)
    if found is None or not model.config.injection or int(found[1]) < _INJECTION:
        return name
    return f"decoder.blocks.{int(found[1]) + 1}.{name[found.end() :]}"


def _names(classes: str | Vocabulary | Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(classes, str):
        classes = get_vocabulary(classes)
    if isinstance(classes, Vocabulary):
        return classes.classes
    return tuple(classes or ())
