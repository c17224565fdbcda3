"""A recipe, from its data to the saved model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from segblocks._files import expand
from segblocks.training.checkpoints import latest_checkpoint, weights_file
from segblocks.training.loop import TrainingSummary, train
from segblocks.training.random_state import seed_everything
from segblocks.training.recipe import Recipe
from segblocks.training.run_record import RUN_FILE, check_same_run, write_run_record
from segblocks.zoo import PretrainedModel, load_checkpoint
from segblocks.zoo.checkpoint import file_hash

MODEL_FOLDER = "model"


@dataclass(frozen=True)
class RunResult:
    """Say how a run ended.

    Args:
        summary: of the loop.
        model: folder of the saved model; None where the training was stopped before its end.
    """

    summary: TrainingSummary
    model: Path | None


def run_recipe(
    recipe: Recipe,
    roots: Mapping[str, str | os.PathLike[str]] | None = None,
    *,
    out: str | os.PathLike[str],
    resume: bool = True,
    progress: bool = True,
    device: str | torch.device | None = None,
) -> RunResult:
    """Train by a recipe, or go on, and save the model.

    In ``out`` lie what :func:`~segblocks.training.train` writes, ``run.json``, which says what was
    trained on what, and at the end ``model``, which ``from_pretrained`` reads: the averaged weights
    where the recipe keeps them, else the last ones. Under a launcher every process calls it.

    Args:
        recipe: what to train.
        roots: name of a dataset of the recipe -> its folder.
        out: folder of this run.
        resume: go on where ``out`` stands, or begin if there is nothing; False begins anew, and
            removes what an earlier run left.
        progress: show a bar.
        device: such as "cpu"; None takes the GPUs if there are any.

    Raises:
        ValueError: a dataset is missing or broken, or ``out`` holds another run, with what
            differs.
        OSError: weights to start from cannot be read, or ``out`` cannot be written.

    Example:
        >>> from segblocks.training.recipes import get_recipe
        >>> recipe = get_recipe("tarvis_synthetic").override(["loop.steps=100"])
        >>> run_recipe(recipe, out="runs/a").model  # doctest: +SKIP
        PosixPath('runs/a/model')
    """
    out = expand(out)
    folders = {name: expand(root) for name, root in (roots or {}).items()}
    goes_on = resume and latest_checkpoint(out) is not None
    dataset = recipe.build_dataset(folders)
    recipe = recipe.with_classes_of(dataset.sources)
    if goes_on:
        check_same_run(recipe, folders, out)
    # The weights that are not given begin at random.
    seed_everything(recipe.loop.seed)
    model, weights = recipe.build_model(initial=not goes_on)
    if is_main_process() and not goes_on:
        out.mkdir(parents=True, exist_ok=True)
        if not resume and (out / RUN_FILE).is_file() and (out / MODEL_FOLDER).is_dir():
            # That of the run which is forgotten would be taken for this one's.
            shutil.rmtree(out / MODEL_FOLDER)
        write_run_record(recipe, folders, weights, out)
    step = recipe.build_step(model)
    summary = train(
        step, dataset, recipe.loop, out=out, resume=resume, progress=progress, device=device
    )
    if not summary.finished:
        return RunResult(summary, None)
    if is_main_process():
        _save_model(recipe, model, summary, out / MODEL_FOLDER)
    return RunResult(summary, out / MODEL_FOLDER)


def is_main_process() -> bool:
    """Say whether this is the first of the processes that a launcher has started."""
    return os.environ.get("RANK", "0") == "0"


def _save_model(
    recipe: Recipe, model: PretrainedModel, summary: TrainingSummary, folder: Path
) -> None:
    path = weights_file(summary.checkpoint)
    model.load_state_dict(load_checkpoint(path))
    model.to("cpu").eval()
    model.provenance = {
        "source": "segblocks",
        "recipe": recipe.name,
        "steps": str(summary.step),
        "file": f"{path.parent.name}/{path.name}",
        "sha256": file_hash(path),
    }
    model.save_pretrained(folder)
