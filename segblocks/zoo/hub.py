"""Saving whole models and getting them back, from a folder or from the Hugging Face hub."""

from __future__ import annotations

import dataclasses
import json
import os
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

import torch
from huggingface_hub import PyTorchModelHubMixin, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from torch import nn

import segblocks
from segblocks._files import expand, whole_folder
from segblocks.zoo.checkpoint import (
    CheckpointError,
    check_finite,
    in_precision,
    load_checkpoint,
    save_safetensors,
)
from segblocks.zoo.key_map import compare_state_dicts
from segblocks.zoo.model_card import Metrics, write_card
from segblocks.zoo.sources import suggest

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"

# Which HTTP library the hub uses depends on its version; its own errors begin with that library's.
_HTTP_ERROR: type[Exception] = HfHubHTTPError.__mro__[1]


class PretrainedModel(
    nn.Module, PyTorchModelHubMixin, library_name="segblocks", tags=["video-segmentation"]
):
    """Let a model that is made from a config be saved and loaded whole.

    For modules whose constructor takes ``config: ModelConfig`` and keeps it as ``self.config``: a
    frozen dataclass of numbers, strings, tuples and further such dataclasses. A saved folder holds
    ``config.json``, ``model.safetensors`` and a model card.

    Attributes:
        config: What the model was made from.
        provenance: Where the weights come from: file, sha256, source. Empty for random ones.
    """

    config: Any
    provenance: Mapping[str, str]

    def __init__(self) -> None:
        super().__init__()
        self.provenance = {}

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        *,
        dtype: torch.dtype | None = None,
        metrics: Metrics | None = None,
        config: Any = None,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        model_card_kwargs: dict[str, Any] | None = None,
        **push_to_hub_kwargs: Any,
    ) -> str | None:
        """Write the model into a folder, which appears complete or not at all.

        In a folder that exists, files of the same names are replaced; others stay, and so does its
        model card.

        Args:
            save_directory: The folder.
            dtype: Of the floating-point numbers in the file, such as ``torch.float16``, which
                halves it; None keeps the model's. Loading gives back the model's own type.
            metrics: For the card: dataset -> metric -> value.
            config: Only for the signature of the hub; the model's own is saved.
            repo_id: ``owner/name`` on the hub, for the card and where to push; by default the
                folder's name.
            push_to_hub: Upload it, too.
            model_card_kwargs: What :meth:`push_to_hub` hands on: ``metrics`` and ``repo_id``.
            push_to_hub_kwargs: For :meth:`push_to_hub`.

        Returns:
            The address of the commit on the hub, if pushed.

        Raises:
            OSError: The folder cannot be written, or the disk is full; names it.
            ValueError: Another config, or something else for the card, was given.
            CheckpointError: Values are too large for ``dtype``; names them.
        """
        card = {"metrics": metrics, "repo_id": repo_id} | (model_card_kwargs or {})
        if config is not None or len(card) > 2:
            raise ValueError("save_pretrained: config and model card are made from the model")
        folder = expand(save_directory)
        with whole_folder(folder) as fresh:
            self._write_files(fresh, dtype, **card)
            if (folder / CARD_FILE).exists():
                (fresh / CARD_FILE).unlink(missing_ok=True)
        if push_to_hub:
            return self.push_to_hub(repo_id or folder.name, metrics=metrics, **push_to_hub_kwargs)
        return None

    def push_to_hub(  # type: ignore[override]
        self, repo_id: str, *, metrics: Metrics | None = None, **options: Any
    ) -> str:
        """Upload what :meth:`save_pretrained` writes, the card included, in one commit.

        The repository is made where there is none. ``hf auth login`` or ``token`` say who you are.

        Args:
            repo_id: ``owner/name``.
            metrics: For the card: dataset -> metric -> value.
            options: Of ``huggingface_hub.ModelHubMixin.push_to_hub``: ``commit_message``,
                ``private``, ``token``, ``branch``, ``create_pr``, ``delete_patterns`` and so on.

        Returns:
            The address of the commit.

        Raises:
            ConnectionError: The hub cannot be reached.
            OSError: It refuses, or the files cannot be written here.
            ValueError: No valid name of a repository.
        """
        card = {"metrics": metrics, "repo_id": repo_id}
        try:
            return super().push_to_hub(repo_id, model_card_kwargs=card, **options)
        except _HTTP_ERROR as error:
            if isinstance(error, OSError):
                raise
            raise ConnectionError(f"push_to_hub: {repo_id}: no way to the hub ({error})") from error

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        **overrides: Any,
    ) -> Self:
        """Load a model of this class.

        Args:
            pretrained_model_name_or_path: Folder, or ``owner/name`` on the hub.
            force_download: Ignore what was downloaded before.
            token: For private repositories.
            cache_dir: Where downloads are kept.
            local_files_only: Do not use the network.
            revision: Branch, tag or commit.
            overrides: Fields of the config to set differently; the weights must still fit.

        Returns:
            The model, in evaluation mode.

        Raises:
            FileNotFoundError: A local path that is not there, or not complete; a repository that
                is not on the hub, or was not downloaded before and is out of reach.
            ValueError: The folder holds a model of another class, or unknown config fields.
            CheckpointError: The weights do not fit, are damaged, or hold NaN.
        """
        folder = locate(
            pretrained_model_name_or_path,
            force_download=force_download,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            revision=revision,
        )
        return cls.load_folder(folder, overrides)

    @classmethod
    def load_folder(cls, folder: Path, overrides: Mapping[str, Any]) -> Self:
        """Load a model of this class from a local folder; see :meth:`from_pretrained`.

        Args:
            folder: With the files of :meth:`save_pretrained`.
            overrides: Fields of the config to set differently.

        Returns:
            The model, in evaluation mode.
        """
        record = read_record(folder)
        if record["architecture"] != cls.__name__:
            raise ValueError(
                f"{folder} holds a {record['architecture']}, not a {cls.__name__}; "
                "segblocks.zoo.from_pretrained finds the class by itself"
            )
        config = decode_config(config_class(cls), {**record["config"], **overrides})
        model = cls(config=config)  # type: ignore[call-arg]
        module = cast(nn.Module, model)
        path = folder / WEIGHTS_FILE
        state = load_checkpoint(path)
        try:
            compare_state_dicts(state, module.state_dict())
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        check_finite(state, path)
        module.load_state_dict(state)
        module.eval()
        model.provenance = record.get("provenance", {})
        model.load_extra(folder)
        return model

    def save_extra(self, folder: Path) -> None:
        """Write what does not belong in the state dict; nothing by default.

        Args:
            folder: The one being saved.
        """

    def load_extra(self, folder: Path) -> None:
        """Read what :meth:`save_extra` wrote; nothing by default.

        Args:
            folder: The saved one.
        """

    def _write_files(
        self,
        folder: Path,
        dtype: torch.dtype | None,
        *,
        metrics: Metrics | None,
        repo_id: str | None,
    ) -> None:
        name, version = type(self).__name__, segblocks.__version__
        module = cast(nn.Module, self)
        record = {
            "architecture": name,
            "segblocks_version": version,
            "config": dataclasses.asdict(self.config),
            "provenance": dict(self.provenance),
        }
        (folder / CONFIG_FILE).write_text(json.dumps(record, indent=2) + "\n")
        metadata = {"architecture": name, "segblocks_version": version}
        state = module.state_dict()
        if dtype is not None:
            state = in_precision(state, dtype)
        save_safetensors(state, folder / WEIGHTS_FILE, metadata)
        card = write_card(module, self.config, self.provenance, metrics=metrics, repo_id=repo_id)
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
        self.save_extra(folder)


def config_class(model_class: type[Any]) -> type[Any]:
    """Find the dataclass that a model is made from, by the annotation of its constructor.

    Args:
        model_class: Its constructor takes ``config``.

    Returns:
        The dataclass.

    Raises:
        TypeError: The annotation names none.
    """
    hint = typing.get_type_hints(model_class.__init__).get("config")
    for kind in (hint, *typing.get_args(hint)):
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            return kind
    raise TypeError(f"{model_class.__name__}.__init__: config must be annotated with a dataclass")


def decode_config(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """Make a config from what JSON kept of it.

    Args:
        kind: A dataclass; fields may be dataclasses themselves.
        values: Field to value, with lists for tuples.

    Returns:
        The config.

    Raises:
        ValueError: A field that the class does not have.
    """
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in values:
        if name not in fields:
            raise ValueError(f"{kind.__name__} has no field {name!r}{suggest(name, fields)}")
    return kind(**{name: _decode(hints[name], value) for name, value in values.items()})


def locate(path_or_repo: str | os.PathLike[str], **download: Any) -> Path:
    """Find a saved folder, downloading it if it is on the hub.

    Args:
        path_or_repo: Folder, or ``owner/name`` on the hub.
        download: For ``huggingface_hub.snapshot_download``.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: A local path that is not there; or a repository that is not on the hub,
            or neither here nor within reach.
    """
    text = os.fspath(path_or_repo)
    path = expand(text)
    if path.is_dir():
        return path
    is_repo = text.count("/") == 1 and not text.startswith((".", "/", "~"))
    if isinstance(path_or_repo, Path) or not is_repo:
        raise FileNotFoundError(f"from_pretrained: no such folder: {text}")
    files = ["*.json", "*.safetensors", CARD_FILE]
    try:
        return Path(snapshot_download(text, allow_patterns=files, **download))
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"from_pretrained: there is neither a folder {text} here nor such a repository on the "
            "hub; a private one needs token="
        ) from error
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"from_pretrained: there is no folder {text} here, and it cannot be had from the hub "
            f"without a network: {error}"
        ) from error


def read_record(folder: Path) -> dict[str, Any]:
    """Read the ``config.json`` of a saved folder.

    Args:
        folder: The folder.

    Returns:
        With the keys architecture, config, segblocks_version and provenance.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It was not written by segblocks.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"from_pretrained: no {CONFIG_FILE} in {folder}")
    try:
        record = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(record, dict) or not {"architecture", "config"} <= record.keys():
        raise ValueError(f"{path}: not written by segblocks (no architecture and config in it)")
    return record


def _decode(hint: Any, value: Any) -> Any:
    if isinstance(value, dict):
        for kind in (hint, *typing.get_args(hint)):
            if isinstance(kind, type) and dataclasses.is_dataclass(kind):
                return decode_config(kind, value)
    return _tuples(value)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
