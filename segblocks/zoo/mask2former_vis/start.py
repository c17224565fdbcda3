"""Beginning to train with the weights of a model for other classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from segblocks.text.vocabulary import Vocabulary, get_vocabulary
from segblocks.zoo.checkpoint import CheckpointError
from segblocks.zoo.key_map import compare_state_dicts
from segblocks.zoo.mask2former_vis.model import Mask2FormerVIS

_HEAD = "decoder.blocks.0.class_head.linear."
_CLASSES = (f"{_HEAD}weight", f"{_HEAD}bias")
_WEIGHTS = "class_weights"


def start_from(
    model: Mask2FormerVIS,
    state_dict: Mapping[str, Tensor],
    classes: str | Vocabulary | Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Load the weights of a model with other classes, such as one of images.

    Everything but the classifier has to fit. The rows of classes that both have by name, and that
    of no-object, are taken over; the others keep the values that they have, as all rows do in the
    official code where the numbers of classes differ.

    Args:
        model: changed in place.
        state_dict: converted, see :func:`segblocks.zoo.convert_state_dict`.
        classes: that the rows of its classifier stand for, or the name of a vocabulary; None takes
            over no row.

    Returns:
        The names of the classes whose rows were taken over.

    Raises:
        CheckpointError: something else than the classifier differs.
        ValueError: another number of classes than rows, or a class twice.

    Example:
        >>> from segblocks.zoo.mask2former_vis import Mask2FormerVISConfig
        >>> small = dict(neck_layers=1, decoder_layers=1, num_queries=4)
        >>> image = Mask2FormerVIS(Mask2FormerVISConfig(vocabulary=("cat", "chair"), **small))
        >>> video = Mask2FormerVIS(Mask2FormerVISConfig(vocabulary=("dog", "cat"), **small))
        >>> start_from(video, image.state_dict(), ["cat", "chair"])
        ('cat',)
    """
    own = model.state_dict()
    compare_state_dicts(_without_classes(state_dict), _without_classes(own))
    rows = {name: state_dict[name] for name in _CLASSES if name in state_dict}
    if len(rows) < len(_CLASSES):
        raise CheckpointError(f"start_from: the state dict must have {', '.join(_CLASSES)}")
    known = _names(classes)
    num_classes = len(rows[_CLASSES[0]]) - 1
    if known and num_classes != len(known):
        raise ValueError(
            f"start_from: classes must be {num_classes}, one a row of the classifier, "
            f"got {len(known)}"
        )
    shared = tuple(name for name in model.vocabulary.classes if name in known)
    new = [model.vocabulary.index(name) for name in shared] + [-1] * bool(known)
    old = [known.index(name) for name in shared] + [-1] * bool(known)
    merged = {name: own[name].clone() for name in _CLASSES}
    for name, value in merged.items():
        value[new] = rows[name][old].to(value)
    model.load_state_dict({**state_dict, **merged, _WEIGHTS: own[_WEIGHTS]})
    return shared


def _without_classes(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: value for k, value in state_dict.items() if k not in (*_CLASSES, _WEIGHTS)}


def _names(classes: str | Vocabulary | Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(classes, str):
        classes = get_vocabulary(classes)
    elif classes and not isinstance(classes, Vocabulary):
        classes = Vocabulary("classes", tuple(classes))
    return classes.classes if isinstance(classes, Vocabulary) else ()
