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


def describe_names() -> str:
    """Write what :func:`get_suite` knows, for the terminal.

    Example:
        >>> "space_time_attention" in describe_names()
        True
    """
    from segblocks.bench.models import PARTS
    from segblocks.zoo import list_models

    lines = ["operations:", *(f"  {name}" for name in OPS)]
    lines += ["models:", *(f"  {name}" for name in list_models())]
    lines += [f"parts, as in {list_models()[0]}.{PARTS[0]}:", *(f"  .{part}" for part in PARTS)]
    return "\n".join(lines)
