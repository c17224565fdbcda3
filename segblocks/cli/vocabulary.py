"""The classes that a command looks for: those of its options, or those that the model knows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segblocks.text.vocabulary import Vocabulary

DEFAULTS = {"vis": "youtube_vis_2021", "vps": "vipseg", "vss": "vspw"}
HELP = (
    "vis, vps, vss: name of a class list, or class names with commas between them, one name with a "
    "comma behind it (default: that of the model, or where it knows it or takes any "
    f"{', '.join(f'{name} for {task}' for task, name in DEFAULTS.items())})"
)


def asked_vocabulary(
    task: str, text: str | None, model: str, checkpoint: Path | None
) -> str | list[str] | Vocabulary:
    """Return what ``--vocabulary`` says, or the model's classes where it is not given.

    Args:
        task: "vis", "vps" or "vss".
        text: of the option.
        model: as of ``--model``.
        checkpoint: as of ``--checkpoint``.

    Raises:
        ValueError: no such class list, or the model has several and none is chosen.
        OSError: the model's folder has no config.
    """
    own = {known.name: known for known in known_vocabularies(model, checkpoint)}
    name = DEFAULTS[task] if text is None else text
    if name in own or (text is None and len(own) == 1):
        return own.get(name) or next(iter(own.values()))
    if text is None and own:
        raise ValueError(
            f"--task {task} needs --vocabulary for {model}, which knows {', '.join(own)}; or "
            "class names of one of them, such as --vocabulary cat,dog"
        )
    return _named(name)


def known_vocabularies(model: str, checkpoint: Path | None) -> list[Vocabulary]:
    """Return the classes that a model was made for, without reading weights.

    Args:
        model: as of ``--model``.
        checkpoint: as of ``--checkpoint``.

    Returns:
        Its vocabularies; empty where it reads names, and so takes any.

    Raises:
        ValueError: an unknown name, or a folder that segblocks did not write.
        OSError: the folder has no config.
    """
    from segblocks.text.vocabulary import as_vocabulary

    config = _config_of(model, checkpoint)
    if hasattr(config, "text_encoder"):
        return []
    if hasattr(config, "vocabularies"):
        return [as_vocabulary(named) for named in config.vocabularies]
    return [config.resolve()] if hasattr(config, "resolve") else []


def _config_of(model: str, checkpoint: Path | None) -> Any:
    from segblocks import zoo
    from segblocks.cli.load_model import check_words
    from segblocks.zoo.hub import config_class, decode_config, read_record
    from segblocks.zoo.registry import get_entry, saved_class

    check_words(model, checkpoint)
    folder = checkpoint if model in zoo.list_models() else Path(model).expanduser()
    if folder is None or not folder.is_dir():
        return get_entry(model).config
    return decode_config(config_class(saved_class(folder)), read_record(folder)["config"])


def _named(text: str) -> str | list[str]:
    """A name, or a list of class names, which has a comma."""
    from segblocks.cli.arguments import words
    from segblocks.tasks import UNION
    from segblocks.text.vocabulary import get_vocabulary

    if "," in text:
        return words(text)
    if text == UNION:
        return text
    try:
        get_vocabulary(text)
    except ValueError as error:
        raise ValueError(f"--vocabulary: {error}; a list of one class is '{text},'") from error
    return text
