"""The models by name."""

from __future__ import annotations

import dataclasses
import fnmatch
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from segblocks._files import expand
from segblocks.zoo.checkpoint import (
    CheckpointError,
    check_finite,
    file_hash,
    load_checkpoint,
    read_metadata,
)
from segblocks.zoo.hub import WEIGHTS_FILE, PretrainedModel, locate, read_record
from segblocks.zoo.key_map import compare_state_dicts
from segblocks.zoo.sources import Weights, convert_state_dict, get_advice, suggest

#: Where weights lie that come with the package: a saved folder for each model, by its name.
SHIPPED_WEIGHTS = Path(__file__).parent / "weights"

#: What :func:`create_model` takes as ``checkpoint`` for weights that are drawn anew.
RANDOM = "random"


@dataclass(frozen=True)
class ModelEntry:
    """What is known of a name.

    Attributes:
        name: As given to :func:`create_model`.
        config: The defaults of this variant, a frozen dataclass.
        model_class: Made from a config.
        description: One line for listings.
        source: Whose checkpoints it can read besides our own, a name of ``zoo.sources``.
        default_checkpoint: Folder of ``save_pretrained`` whose weights it has where none are named,
            or None.
    """

    name: str
    config: Any
    model_class: type[PretrainedModel]
    description: str
    source: str | None = None
    default_checkpoint: Path | None = None


_MODELS: dict[str, ModelEntry] = {}


def register_model(
    name: str,
    config: Any,
    model_class: type[PretrainedModel],
    *,
    description: str,
    source: str | None = None,
    default_checkpoint: str | os.PathLike[str] | None = None,
) -> None:
    """Make a model known under a name.

    Args:
        name: System and variant, such as ``tarvis_resnet50``.
        config: Instance of the model's frozen config dataclass, with the variant's values.
        model_class: Takes such a config.
        description: One line.
        source: Whose checkpoints it can read besides our own.
        default_checkpoint: Folder of ``save_pretrained`` with its trained weights, which
            :func:`create_model` then loads where no others are named. Those that come with the
            package lie in ``SHIPPED_WEIGHTS / name``.

    Raises:
        ValueError: The name is taken.
    """
    if name in _MODELS:
        raise ValueError(f"register_model: {name!r} is registered already")
    default = None if default_checkpoint is None else expand(default_checkpoint)
    _MODELS[name] = ModelEntry(name, config, model_class, description, source, default)


def list_models(pattern: str = "*") -> list[str]:
    """List the names of the models.

    Args:
        pattern: With the wildcards of the shell, such as ``*swin*``.

    Returns:
        The names that fit, sorted.
    """
    return sorted(fnmatch.filter(_MODELS, pattern))


def models_for(task: str) -> list[str]:
    """List the models that can do a task.

    Args:
        task: Its name, such as "vos".

    Returns:
        Names, sorted.
    """
    return sorted(
        name for name, entry in _MODELS.items() if task in getattr(entry.model_class, "tasks", ())
    )


def get_entry(name: str) -> ModelEntry:
    """Look up a model.

    Args:
        name: Of the model.

    Returns:
        Its entry.

    Raises:
        ValueError: Unknown; lists close and known names.
    """
    if name not in _MODELS:
        raise ValueError(f"unknown model {name!r}{suggest(name, _MODELS)}")
    return _MODELS[name]


def create_model(
    name: str,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    weights: Weights = "student",
    **overrides: Any,
) -> PretrainedModel:
    """Build a model, with the weights of a checkpoint, those that come with it, or random ones.

    A model with weights is in evaluation mode, and ``model.provenance`` says where they come from,
    through a conversion too; one with random weights is in training mode.

    Args:
        name: One of :func:`list_models`.
        checkpoint: File of the published implementation, converted strictly, or of our own. A
            folder is read by :func:`from_pretrained`. None takes the trained weights that come
            with the model, as with ``*_nano``, and random ones where none do; ``"random"`` draws
            them in any case, for training from scratch (``./random`` is a file of this name).
        weights: Where an official file holds two sets: the trained one, or its moving average.
        overrides: Fields of the model's config to set differently.

    Returns:
        The model.

    Raises:
        ValueError: Unknown name or field.
        FileNotFoundError: There is no such checkpoint, or the model's own is not installed.
        IsADirectoryError: The checkpoint is a folder.
        CheckpointError: The file is damaged, unsafe, holds NaN, or is of another model; or the
            weights that come with the model do not fit the overrides.
    """
    entry = get_entry(name)
    config = _override(entry, overrides)
    if checkpoint is None and entry.default_checkpoint is not None:
        return _load_default(entry, entry.default_checkpoint, overrides)
    model = entry.model_class(config=config)  # type: ignore[call-arg]
    module = cast(nn.Module, model)
    if checkpoint is not None and checkpoint != RANDOM:
        path = expand(checkpoint)
        state, own = _read_for(name, module.state_dict(), path, weights)
        module.load_state_dict(state)
        model.provenance = _provenance(path, "segblocks" if own else str(entry.source))
        module.eval()
    return model


def _load_default(entry: ModelEntry, folder: Path, overrides: Mapping[str, Any]) -> PretrainedModel:
    """A model with the weights that come with it."""
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"create_model: the weights of {entry.name} are not where they should be ({path}); "
            f"install segblocks anew, or name a checkpoint ({RANDOM!r} draws random weights)"
        )
    try:
        model = entry.model_class.load_folder(folder, overrides)
    except CheckpointError as error:
        if not overrides:
            raise
        raise CheckpointError(
            f"create_model: the weights of {entry.name} do not fit {', '.join(overrides)}; "
            f"checkpoint={RANDOM!r} draws others that do: {error}"
        ) from error
    origin = {"file": f"{folder.name}/{WEIGHTS_FILE}", "sha256": file_hash(path)}
    model.provenance = origin | {"source": "segblocks"} | dict(model.provenance)
    return model


def _override(entry: ModelEntry, overrides: Mapping[str, Any]) -> Any:
    fields = {field.name: field for field in dataclasses.fields(entry.config)}
    for key in overrides:
        if key not in fields:
            raise ValueError(
                f"create_model: {entry.name} has no option {key!r}{suggest(key, fields)}"
            )
    return dataclasses.replace(entry.config, **overrides)


def _read_for(
    name: str, expected: Mapping[str, Tensor], path: Path, weights: Weights
) -> tuple[dict[str, Tensor], bool]:
    """Read what fits a model; returns also whether the file has our names already."""
    source = get_entry(name).source
    state = read = load_checkpoint(path)
    # The names tell, not the suffix: anybody may store an official state dict as safetensors.
    own = source is None or 2 * len(read.keys() & expected.keys()) >= len(read)
    try:
        if not own:
            state = convert_state_dict(read, str(source), weights=weights)
        compare_state_dicts(state, expected)
    except CheckpointError as error:
        advice = None if source is None else get_advice(source, read)
        more = "" if advice is None else f"\n{advice}"
        raise CheckpointError(f"create_model: {path} is not for {name}: {error}{more}") from error
    check_finite(state, path)
    return state, own


def _provenance(path: Path, source: str) -> dict[str, str]:
    """Say where weights come from; of a converted file also what it was converted from."""
    origin = read_metadata(path)
    kept = {key: origin[key] for key in ("source", "source_file", "source_sha256") if key in origin}
    return {"file": path.name, "sha256": file_hash(path), "source": source, **kept}


def from_pretrained(
    path_or_repo: str | os.PathLike[str], *, revision: str | None = None, **overrides: Any
) -> PretrainedModel:
    """Load a saved model of any registered class.

    Args:
        path_or_repo: Folder, or ``owner/name`` on the hub.
        revision: Branch, tag or commit on the hub.
        overrides: Fields of the config to set differently; the weights must still fit.

    Returns:
        The model, in evaluation mode.

    Raises:
        ValueError: The class is not registered.
        CheckpointError: The weights do not fit, are damaged, or hold NaN.
    """
    folder = locate(path_or_repo, revision=revision)
    return saved_class(folder).load_folder(folder, overrides)


def saved_class(folder: Path) -> type[PretrainedModel]:
    """Return the class of the model that a folder holds.

    Args:
        folder: Of ``save_pretrained``.

    Raises:
        FileNotFoundError: There is no config.
        ValueError: It was not written by segblocks, or the class is not registered.
    """
    architecture = read_record(folder)["architecture"]
    classes = {entry.model_class.__name__: entry.model_class for entry in _MODELS.values()}
    if architecture not in classes:
        raise ValueError(
            f"{folder} holds the unknown architecture {architecture!r}"
            f"{suggest(architecture, classes)}"
        )
    return classes[architecture]
