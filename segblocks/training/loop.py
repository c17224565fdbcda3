"""The training loop, of any system."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from segblocks._files import expand
from segblocks.training.averages import Averages
from segblocks.training.checkpoints import Checkpoint, CheckpointFolder
from segblocks.training.distributed import any_process, gather
from segblocks.training.ema import AveragedWeights
from segblocks.training.interrupt import Interruption
from segblocks.training.journal import Journal
from segblocks.training.loader import ClipData, loading, make_sampler
from segblocks.training.memory import peak_memory, reset_peak_memory
from segblocks.training.optimizer import freeze, parameter_groups
from segblocks.training.processes import open_processes
from segblocks.training.random_state import (
    own_chance,
    random_state,
    seed_everything,
    set_random_state,
)
from segblocks.training.resume import find_checkpoint
from segblocks.training.settings import LoopSettings
from segblocks.training.update import Update
from segblocks.zoo.key_map import compare_state_dicts

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class TrainingSummary:
    """Say how a training ended.

    Args:
        step: steps that were made, over all runs.
        finished: whether these are all; a signal may have come before.
        checkpoint: folder of the last checkpoint, which holds the weights.
        skipped: steps that changed nothing, as their gradients overflowed in float16.
        seconds: of this run.
    """

    step: int
    finished: bool
    checkpoint: Path
    skipped: int
    seconds: float


def train(
    step: nn.Module,
    dataset: ClipData,
    settings: LoopSettings,
    *,
    out: str | os.PathLike[str],
    resume: bool = True,
    progress: bool = True,
    on_save: Callable[[Path], object] | None = None,
    device: str | torch.device | None = None,
) -> TrainingSummary:
    """Train a model, or go on where its training stands.

    Under ``accelerate launch`` or ``torchrun`` every process calls it, and ``out`` must be a folder
    that all of them see. In ``out`` lie ``checkpoints/step_...`` and ``log.jsonl``; a process that
    is killed at any moment goes on from its last checkpoint as if nothing had happened. SIGTERM and
    Ctrl-C end the training after the step at hand, with a checkpoint; a second one ends it at once.

    Args:
        step: ``step(clips)`` returns named weighted losses, scalars of which the sum is minimised,
            such as `TrainingStep`; the parameters of ``step.model`` are trained, in place.
        dataset: ``dataset[draw]`` is a clip with ``name`` and ``to(device)``, and
            ``sources_for_sampler()`` what is drawn from, such as ``ClipDataset``.
        settings: of the loop.
        out: folder of this training.
        resume: go on where ``out`` stands, or begin if there is nothing; False forgets what was
            there.
        progress: show a bar.
        on_save: called in the first process with the folder of each new checkpoint, such as to
            evaluate it; what it draws from random generators does not change the training. The
            other processes wait, on GPUs for 10 minutes at most if NCCL's default stands.
        device: where to train, such as "cpu"; None takes the GPUs if there are any.

    Returns:
        How it ended; the model has the weights of the last step, in evaluation mode.

    Raises:
        ValueError: ``out`` holds a training of other settings, with what differs; a step without
            ``model``, or with parameters outside it; a device or precision that is not there.
        NonFiniteError: a loss or gradient that is NaN or infinite, with step and clips.
        CheckpointError: a damaged checkpoint, or weights of another model.

    Example:
        >>> from segblocks.training import LoopSettings, TrainingStep, train
        >>> step = TrainingStep(model, criterion)  # doctest: +SKIP
        >>> train(step, clips, LoopSettings(steps=1000), out="runs/a").finished  # doctest: +SKIP
        True
    """
    start = time.monotonic()
    _check_step(step)
    with Interruption() as interruption, open_processes(settings.precision, device) as accelerator:
        run = _Run(accelerator, step, dataset, settings, expand(out), resume)
        try:
            place = run.go(interruption, progress=progress, on_save=on_save)
        finally:
            run.close()
    return TrainingSummary(
        run.step,
        run.step == settings.steps,
        place,
        run.update.skipped,
        time.monotonic() - start,
    )


class _Run:
    """A training in this process, from a checkpoint or from the start, to its end."""

    def __init__(
        self,
        accelerator: Accelerator,
        step: nn.Module,
        dataset: ClipData,
        settings: LoopSettings,
        out: Path,
        resume: bool,
    ) -> None:
        self.accelerator, self.settings, self.dataset = accelerator, settings, dataset
        self.model: nn.Module = step.model  # type: ignore[assignment]
        self.processes = accelerator.num_processes
        self.sampler = make_sampler(
            dataset, settings, rank=accelerator.process_index, processes=self.processes
        )
        self.folder = CheckpointFolder(out, keep=settings.keep)
        self.journal: Journal | None = None
        self.module = step
        checkpoint = find_checkpoint(
            self.folder,
            settings,
            self.sampler,
            main=accelerator.is_main_process,
            resume=resume,
        )
        self.step = checkpoint.step if checkpoint else 0
        freeze(self.model, settings.frozen)
        step.to(accelerator.device).train()
        if checkpoint:
            compare_state_dicts(checkpoint.model, self.model.state_dict())
            self.model.load_state_dict(checkpoint.model)
        groups = parameter_groups(
            self.model,
            learning_rate=settings.learning_rate,
            backbone_factor=settings.backbone_factor,
            weight_decay=settings.weight_decay,
        )
        prepared, self.optimizer = accelerator.prepare(
            step, torch.optim.AdamW(groups, betas=settings.betas, fused=True)
        )
        self.update = Update(accelerator, prepared, self.optimizer, settings)
        # After DDP has given all processes the weights of the first.
        self.averaged = AveragedWeights(self.model, settings.ema) if settings.ema else None
        self.averages = Averages()
        seed_everything(settings.seed, accelerator.process_index, self.step)
        if checkpoint:
            self._take_up(checkpoint)
        if accelerator.is_main_process:
            self.journal = Journal(out, step=self.step)

    def go(
        self,
        interruption: Interruption,
        *,
        progress: bool,
        on_save: Callable[[Path], object] | None,
    ) -> Path:
        """Make the steps that are left; return the folder of the last checkpoint."""
        settings, place = self.settings, None
        hidden = not progress or not self.accelerator.is_main_process
        reset_peak_memory(self.accelerator.device)
        with (
            loading(self.dataset, self.sampler, settings) as batches,
            tqdm(total=settings.steps, initial=self.step, unit="step", disable=hidden) as bar,
        ):
            while self.step < settings.steps:
                values = self._advance(batches)
                bar.update()
                bar.set_postfix(loss=f"{values['loss']:.4g}", refresh=False)
                ended = self.step == settings.steps
                if self.step % settings.log_every == 0 or ended:
                    self._log()
                stopped = any_process(interruption.requested, self.accelerator.device)
                if self.step % settings.save_every == 0 or ended or stopped:
                    place = self._save(on_save)
                if stopped:
                    break
        return place or self.folder.list()[-1]

    def close(self) -> None:
        """Give the model back as it was handed in, and close the log."""
        self.accelerator.unwrap_model(self.module, keep_fp32_wrapper=False).eval()
        # Last, as it fails where the disk is full.
        if self.journal is not None:
            self.journal.close()

    def _advance(self, batches: Any) -> dict[str, float]:
        """Make a step."""
        begin = time.monotonic()
        clips = next(batches)
        loaded = time.monotonic()
        rate = self.settings.schedule.rate(self.step, self.settings.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["full_lr"] * rate
        values = self.update(clips, self.step + 1)
        if self.averaged is not None and not self.update.skipped_now:
            self.averaged.update()
        after_update = getattr(self.module, "after_update", None)
        if after_update is not None:
            after_update()
        self.step += 1
        end = time.monotonic()
        self.averages.add(values | {"seconds": end - begin, "data_seconds": loaded - begin})
        return values

    def _log(self) -> None:
        """Write a line about the steps since the last."""
        states = gather((self.averages.state_dict(), peak_memory(self.accelerator.device)))
        self.averages = Averages()
        reset_peak_memory(self.accelerator.device)
        if self.journal is None:
            return
        means = Averages.joined(state for state, _ in states).means()
        settings = self.settings
        rate = settings.schedule.rate(self.step - 1, settings.steps)
        line: dict[str, Any] = {
            "step": self.step,
            "loss": means["loss"],
            "terms": {
                name.removeprefix("terms/"): value
                for name, value in means.items()
                if name.startswith("terms/")
            },
            "learning_rate": settings.learning_rate * rate,
            "grad_norm": means.get("grad_norm"),
            "seconds": means["seconds"],
            "data_seconds": means["data_seconds"],
            "clips_per_second": settings.step_size * self.processes / means["seconds"],
            "peak_memory": max((m for _, m in states if m is not None), default=None),
        }
        if self.accelerator.scaler is not None:
            line |= {
                "loss_scale": self.accelerator.scaler.get_scale(),
                "skipped": self.update.skipped,
            }
        self.journal.write(line)

    def _save(self, on_save: Callable[[Path], object] | None) -> Path:
        """Write a checkpoint; all processes come here together."""
        device = self.accelerator.device
        random = gather(random_state(device))
        averages = gather(self.averages.state_dict())
        if self.journal is not None:
            self.journal.to_disk()
            place = self.folder.save(self._checkpoint(random, averages))
            if on_save is not None:
                with own_chance(device):
                    on_save(place)
                self.module.train()
        self.accelerator.wait_for_everyone()
        return self.folder.list()[-1]

    def _checkpoint(self, random: list[Any], averages: list[Any]) -> Checkpoint:
        scaler = self.accelerator.scaler
        state = {
            "optimizer": self.optimizer.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "random": random,
            "averages": averages,
            "skipped": [self.update.skipped, self.update.skipped_in_a_row],
            "beside_model": _beside_model(self.module, self.model),
        }
        record = {
            "settings": self.settings.identity(self.processes),
            "processes": self.processes,
            "sampler": self.sampler.state_dict(self.step),
        }
        averaged = None if self.averaged is None else self.averaged.state_dict()
        return Checkpoint(self.step, self.model.state_dict(), averaged, state, record)

    def _take_up(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint, of which the model has the weights already."""
        state, accelerator = checkpoint.state, self.accelerator
        self.optimizer.load_state_dict(state["optimizer"])
        if accelerator.scaler is not None and state["scaler"] is not None:
            accelerator.scaler.load_state_dict(state["scaler"])
        if self.averaged is not None and checkpoint.averaged is not None:
            self.averaged.load_state_dict(checkpoint.averaged)
        self.update.skipped, self.update.skipped_in_a_row = state["skipped"]
        # Checkpoints of earlier versions have none.
        self.module.load_state_dict(self.module.state_dict() | state.get("beside_model", {}))
        if checkpoint.record["processes"] == self.processes:
            self.averages = Averages(state["averages"][accelerator.process_index])
            set_random_state(state["random"][accelerator.process_index], accelerator.device)


def _beside_model(step: nn.Module, model: nn.Module) -> dict[str, Tensor]:
    """What a step holds besides its model, such as the queues of a criterion."""
    kept, of_model = step.state_dict().keys(), {id(buffer) for buffer in model.buffers()}
    return {
        name: buffer
        for name, buffer in step.named_buffers()
        if name in kept and id(buffer) not in of_model
    }


def _check_step(step: nn.Module) -> None:
    model: object = getattr(step, "model", None)
    if not isinstance(model, nn.Module):
        raise ValueError(f"train: step must have a module as its model, got {type(model).__name__}")
    own = {id(parameter) for parameter in model.parameters()}
    outside = [name for name, p in step.named_parameters() if id(p) not in own]
    if outside:
        raise ValueError(
            f"train: step has parameters outside its model, which nothing would save: {outside[:5]}"
        )
