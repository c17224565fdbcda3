"""The suites by name: a module an operation, and the models of the zoo with their parts."""

from __future__ import annotations

import difflib
from importlib import import_module

from segblocks.bench.suite import Suite

# Modules of this package, each with a SUITE of the function whose name it has.
OPS = (
    "ms_deform_attn",
    "ms_deform_attn_fused",
    "space_time_attention",
    "masked_cross_attention",
    "ragged_cross_attention",
)


def get_suite(name: str) -> Suite:
    """Return the suite of an operation, a model, or a part of a model.

    Args:
        name: of a function such as ``ms_deform_attn``, of a model such as ``tarvis_nano``, or of
            its backbone, neck or decoder, such as ``tarvis_nano.neck``.

    Returns:
        The suite.

    Raises:
        ValueError: an unknown name; names close ones.

    Example:
        >>> get_suite("masked_cross_attention").contenders[0].name
        'segblocks'
    """
    if name in OPS:
        return import_module(f"segblocks.bench.{name}").SUITE
    from segblocks.bench.models import PARTS, model_names, model_suite

    known = model_names()
    if name in known:
        return model_suite(name)
    close = difflib.get_close_matches(name, [*OPS, *known], n=3)
    advice = f"did you mean {' or '.join(close)}? " if close else ""
    raise ValueError(
        f"unknown operation {name!r}; {advice}there are {', '.join(OPS)}, the models of "
        f"`segblocks list-models`, and MODEL.PART with {', '.join(PARTS)}"
    )
