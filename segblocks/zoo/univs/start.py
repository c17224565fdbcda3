"""Beginning to train with the weights of Mask2Former."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from segblocks.text.vocabulary import Vocabulary
from segblocks.zoo.checkpoint import CheckpointError
from segblocks.zoo.univs.model import UniVS

_QUERIES = ("query_content", "query_position")
# Classes are told by text here.
_LEFT = re.compile(r"class_weights$|decoder\.blocks\.0\.class_head\.")
# What Mask2Former does not have: prompts, and classes by text.
_OWN = re.compile(r"prompts\.|reid_temperature$|decoder\.blocks\.1\.class_head\.")
# Blocks of a layer: attention to pixels and to queries, feed-forward; here prompts come first.
_THEIRS, _OURS = 3, 4


def start_from(
    model: UniVS,
    state_dict: Mapping[str, Tensor],
    classes: str | Vocabulary | Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Load the weights of a Mask2Former, of images or of videos.

    Backbone, neck and the attentions of the decoder to pixels and queries have to fit. Learnable
    queries are taken over as far as there are any; the official code draws all of them anew where
    their number differs. Prompts, and what tells classes by text, keep the values that they have.

    Args:
        model: changed in place.
        state_dict: of a ``mask2former_vis`` model, see :func:`segblocks.zoo.convert_state_dict`.
        classes: not read, as no row of a classifier is taken over.

    Returns:
        Nothing: the classes whose rows were taken over.

    Raises:
        CheckpointError: entries that are missing, unexpected or misshapen.
    """
    own = model.state_dict()
    given = {_renamed(name): v for name, v in state_dict.items() if not _LEFT.match(name)}
    expected = {name for name in own if not _OWN.match(name) and not _is_prompt_attention(name)}
    wrong = sorted(expected ^ given.keys()) + sorted(
        name
        for name in expected & given.keys()
        if name not in _QUERIES and own[name].shape != given[name].shape
    )
    if wrong:
        shown = ", ".join(wrong[:5]) + (", ..." if len(wrong) > 5 else "")
        raise CheckpointError(
            f"start_from: the state dict must be of a mask2former_vis like {model.config.backbone} "
            f"with the same sizes; missing, unexpected or misshapen: {shown}"
        )
    for name in _QUERIES:
        rows = min(len(own[name]), len(given[name]))
        merged = own[name].clone()
        merged[:rows] = given[name][:rows].to(merged)
        given[name] = merged
    model.load_state_dict({**own, **given})
    return ()


def _renamed(name: str) -> str:
    """The name of an entry of Mask2Former in a decoder whose layers begin with prompts."""
    found = re.match(r"decoder\.blocks\.(\d+)\.", name)
    if found is None:
        return name
    # Prediction is the first block there, and here the second, behind the first prompts.
    layer, place = divmod(int(found[1]) - 1, _THEIRS)
    block = 1 if layer < 0 else 2 + _OURS * layer + place
    return f"decoder.blocks.{block}.{name[found.end() :]}"


def _is_prompt_attention(name: str) -> bool:
    """Whether an entry is of the first block of a layer."""
    found = re.match(r"decoder\.blocks\.(\d+)\.", name)
    block = -1 if found is None else int(found[1])
    return block == 0 or (block > 1 and (block - 1) % _OURS == 0)
