"""Where the predictions of an evaluation come from: a model, or files."""

from __future__ import annotations

import hashlib
import platform
from abc import ABC, abstractmethod
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segblocks.data.dataset import VideoDataset
from segblocks.data.sample import VideoSample
from segblocks.inference.checks import check_model, check_settings, find_device
from segblocks.inference.engine import segment
from segblocks.inference.evaluation.predictions import Predictions, open_predictions, stamp_files
from segblocks.inference.evaluation.sample_task import asks_nothing, open_sample, task_of
from segblocks.results import VideoSegmentation

_EXEMPLAR_TASKS = ("vos", "pet")


class Source(ABC):
    """Give the prediction for each video.

    Attributes:
        run: what it is, as plain values, compared when an evaluation is taken up.
        made_with: what it runs on, as plain values, stored with each record.
        is_model: whether predictions cost so much that they are kept.
    """

    run: dict[str, Any]
    made_with: dict[str, Any]
    is_model: bool

    @abstractmethod
    def stamp(self, sample: VideoSample) -> str | None:
        """Return what changes when the prediction for a video does, None where it never does."""

    @abstractmethod
    def predict(self, sample: VideoSample) -> VideoSegmentation | None:
        """Return the prediction for a video, None where nothing is to be predicted."""


class ModelSource(Source):
    """Ask a model.

    Args:
        model: as for :func:`segblocks.segment`.
        dataset: whose task it is to do.
        device: move the model there first.
        settings: others of :func:`segblocks.segment`.

    Raises:
        ValueError: the model cannot do the task of the dataset.
        TypeError: no model, or a setting that it does not know.
    """

    is_model = True

    def __init__(
        self, model: nn.Module, dataset: VideoDataset, device: Any, settings: dict[str, Any]
    ) -> None:
        check_model("evaluate", model)
        check_task(model, dataset)
        own = ("clip_length", "overlap", "short_side", "device")
        others = {name: value for name, value in settings.items() if name not in own}
        check_settings("evaluate", model, others, own)
        if device is not None:
            model.to(find_device(device))
        self._model, self._kind, self._settings = model, dataset.task, settings
        tensors = [t for t in model.state_dict().values() if isinstance(t, Tensor)]
        self.made_with = versions() | {"device": tensors[0].device.type if tensors else "cpu"}
        described = {
            "class": type(model).__name__,
            "config": repr(getattr(model, "config", None)),
            "weights_sha256": hash_weights(model),
            "checkpoint": getattr(model, "provenance", None),
        }
        self.run = {"model": described, "settings": settings}

    def stamp(self, sample: VideoSample) -> str | None:
        return None

    def predict(self, sample: VideoSample) -> VideoSegmentation | None:
        task = task_of(sample, self._kind)
        if task is None:
            return None
        return segment(self._model, open_sample(sample), task, **self._settings)


class SavedSource(Source):
    """Read files.

    Args:
        place: what `open_predictions` takes.
        dataset: what they are predictions for.
        out: folder of the evaluation.

    Raises:
        FileNotFoundError: there is no such folder, or no prediction in it.
        ValueError: the predictions lie in the folder of the evaluation.
    """

    is_model = False

    def __init__(self, place: Path, dataset: VideoDataset, out: Path) -> None:
        where = place.resolve()
        if out.resolve() in (where, *where.parents):
            raise ValueError(
                f"evaluate: the predictions ({place}) lie in the folder of the evaluation ({out}); "
                "choose another"
            )
        self._files: Predictions = open_predictions(place, dataset)
        self._kind = dataset.task
        self.made_with = versions()
        self.run = {"predictions": {"place": str(where), "form": type(self._files).__name__}}

    def stamp(self, sample: VideoSample) -> str | None:
        return None if asks_nothing(sample, self._kind) else stamp_files(self._files.files(sample))

    def predict(self, sample: VideoSample) -> VideoSegmentation | None:
        return None if asks_nothing(sample, self._kind) else self._files.read(sample)


def check_task(model: nn.Module, dataset: VideoDataset) -> None:
    """Raise ValueError unless a model can do the task of a dataset."""
    tasks = getattr(model, "tasks", None)
    wanted = {dataset.task} | ({"evs"} if dataset.task in _EXEMPLAR_TASKS else set())
    if tasks is None or wanted & set(tasks):
        return
    from segblocks.zoo.registry import models_for

    able = ", ".join(models_for(dataset.task)) or "none yet"
    raise ValueError(
        f"{type(model).__name__} cannot do the task {dataset.task!r} of {dataset.name}, only "
        f"{', '.join(tasks)}; models that can: {able}"
    )


def hash_weights(model: nn.Module) -> str:
    """Compute the SHA-256 of all that a model's ``state_dict`` holds, as hexadecimal digits."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Return what numbers may depend on besides this library."""
    found = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    for package in ("pycocotools", "trackeval"):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
