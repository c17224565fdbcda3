"""A model from the words of a user: a name and weights, or a saved folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any


def check_words(model: str, checkpoint: Path | None) -> None:
    """Raise what `load_model` would raise about its arguments, without reading weights.

    Args:
        model: as for `load_model`.
        checkpoint: as for `load_model`.

    Raises:
        ValueError: an unknown name, or a checkpoint too many or too few.
    """
    from segblocks import zoo
    from segblocks.zoo.registry import get_entry

    if model in zoo.list_models():
        if checkpoint is None and get_entry(model).default_checkpoint is None:
            raise ValueError(
                f"--model needs --checkpoint, a file with the weights of {model} or a folder made "
                "by save_pretrained"
            )
    elif Path(model).expanduser().is_dir():
        if checkpoint is not None:
            raise ValueError(f"--model {model} is a folder, which holds its own --checkpoint")
    else:
        get_entry(model)


def load_model(model: str, checkpoint: Path | None) -> Any:
    """Make the model that ``--model`` and ``--checkpoint`` ask for.

    Args:
        model: a name of ``list-models``, or a folder made by ``save_pretrained``.
        checkpoint: a file with weights, or such a folder; None where ``model`` is one, or comes
            with weights.

    Returns:
        The model, in evaluation mode.

    Raises:
        ValueError: an unknown name, a checkpoint too many or too few, or a folder that holds
            another model than the named one.
    """
    from segblocks import zoo

    check_words(model, checkpoint)
    if checkpoint is None and model not in zoo.list_models():
        return zoo.from_pretrained(Path(model).expanduser())
    if checkpoint is None or not checkpoint.is_dir():
        return zoo.create_model(model, checkpoint=checkpoint)
    loaded = zoo.from_pretrained(checkpoint)
    _check_named(model, checkpoint, loaded)
    return loaded


def _check_named(name: str, folder: Path, loaded: Any) -> None:
    """Refuse a folder that holds another model than the named one."""
    from segblocks.zoo.registry import get_entry

    entry = get_entry(name)
    if type(loaded) is not entry.model_class:
        found = f"a {type(loaded).__name__}"
    elif loaded.config != entry.config:
        fields = [field.name for field in dataclasses.fields(entry.config)]
        other = [f for f in fields if getattr(loaded.config, f) != getattr(entry.config, f)]
        found = f"a {type(loaded).__name__} of another {' and '.join(other)}"
    else:
        return
    raise ValueError(
        f"{folder}: holds {found}, not {name}; --model {folder} alone takes it as it is"
    )
