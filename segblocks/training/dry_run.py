"""Whether a training run would work, and what it would cost, before it is begun."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from segblocks.data.clips import ClipDataset, ClipSource, TrainingClip
from segblocks.data.sampler import Draw
from segblocks.training.memory import peak_memory, reset_peak_memory
from segblocks.training.optimizer import freeze
from segblocks.training.recipe import Recipe
from segblocks.training.settings import LoopSettings
from segblocks.training.step import TrainingStep

_MIB = 2**20
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class ClipCheck:
    """Say what a dataset gives for a task.

    Args:
        source: name of the dataset in the recipe.
        task: its name.
        share: of all clips of the training.
        clip: that was drawn; None where none could be.
        seconds: that loading it took.
        problem: why there is none.
    """

    source: str
    task: str
    share: float
    clip: TrainingClip | None = None
    seconds: float = 0.0
    problem: str | None = None


@dataclass(frozen=True)
class StepCost:
    """Say what forward and backward of one batch cost.

    Args:
        task: of its clips.
        clips: in the batch.
        pixels: of all its frames.
        seconds: for both.
        losses: the terms.
        problem: what is wrong.
    """

    task: str
    clips: int
    pixels: int
    seconds: float = 0.0
    losses: Mapping[str, float] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True)
class DryRun:
    """Hold what a dry run has found.

    Attributes:
        recipe: that was tried.
        videos: number of videos of each dataset that opens.
        checks: of each dataset and task.
        costs: of each task.
        weights: what the model starts from.
        parameters: of the model.
        trained: how many of them are trained.
        memory: greatest use in bytes, of the GPU, or of the whole process on a CPU; None where the
            system does not tell.
        device: where it ran.
        processes: that the training is estimated for.
        problems: what has to be mended; none where the training can begin.
    """

    recipe: Recipe
    videos: Mapping[str, int]
    checks: tuple[ClipCheck, ...]
    costs: tuple[StepCost, ...]
    weights: tuple[str, ...]
    parameters: int
    trained: int
    memory: int | None
    device: str
    processes: int
    problems: tuple[str, ...]

    @property
    def seconds_per_step(self) -> float:
        """Estimate the time of one step of the optimiser: by task, and by pixels within a task."""
        costs = {cost.task: cost for cost in self.costs if cost.problem is None}
        total = 0.0
        for check in self.checks:
            cost = costs.get(check.task)
            if cost is not None and check.clip is not None:
                pixels = _pixels([check.clip]) * cost.clips
                total += check.share * cost.seconds * pixels / cost.pixels
        return total * self.recipe.loop.accumulate

    @property
    def seconds_per_clip(self) -> float:
        """Estimate the time in which one worker loads a clip."""
        return sum(check.share * check.seconds for check in self.checks)


def dry_run(
    recipe: Recipe,
    roots: Mapping[str, Path],
    *,
    device: torch.device | str = "cpu",
    processes: int = 1,
) -> DryRun:
    """Open each dataset, draw a clip for each task, and train one step of each task.

    Nothing is written, and no weights are updated. On a GPU each step is made twice, and the second
    is counted, as the first may compile kernels.

    Args:
        recipe: what is to be trained.
        roots: name of a dataset -> folder.
        device: where.
        processes: that will train together, for the estimate.

    Returns:
        What it found; ``problems`` lists all that would stop the training.

    Raises:
        ValueError: a folder is missing, or given for nothing; the model cannot be made.
    """
    place = torch.device(device)
    asked, problems = recipe, []
    if recipe.loop.precision == "fp16" and place.type != "cuda":
        problems.append("fp16 needs a GPU: loop.precision=bf16 or fp32; tried in fp32")
        recipe = replace(recipe, loop=replace(recipe.loop, precision="fp32"))
    reset_peak_memory(place)
    checks: list[ClipCheck] = []
    sources: dict[str, ClipSource] = {}
    used = recipe.used_sources(roots)
    weight = sum(source.weight for source in used.values())
    for name, source in used.items():
        shares = {
            task: source.weight / weight * value / sum(source.tasks.values())
            for task, value in source.tasks.items()
        }
        try:
            sources[name] = recipe.open_source(name, roots)
        # What a reader may meet in a stranger's files is not known; the report shall hold all.
        except Exception as error:
            said = _say(error)
            checks += [ClipCheck(name, t, share, problem=said) for t, share in shares.items()]
        else:
            checks += [_draw(recipe, name, sources[name], task, s) for task, s in shares.items()]
    recipe = recipe.with_classes_of(sources.values())
    try:
        model, lines = recipe.build_model()
    # Weights that are not there: the rest can be tried with random ones.
    except (ValueError, OSError, ImportError) as error:
        problems.append(f"initial: {_say(error)}")
        model, lines = recipe.build_model(initial=False)
    freeze(model, recipe.loop.frozen)
    step = recipe.build_step(model).to(place).train()
    costs = [_cost(step, recipe, sources, checks, task, place) for task in _tasks(checks)]
    parameters = list(model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    problems += [f"sources.{c.source}, {c.task}: {c.problem}" for c in checks if c.problem]
    problems += [f"{c.task}: {c.problem}" for c in costs if c.problem]
    return DryRun(
        recipe=asked,
        videos={name: source.sampled().length for name, source in sources.items()},
        checks=tuple(checks),
        costs=tuple(costs),
        weights=tuple(lines),
        parameters=sum(p.numel() for p in parameters),
        trained=trained,
        memory=peak_memory(place),
        device=str(place),
        processes=processes,
        problems=tuple(dict.fromkeys(problems)),
    )


def _draw(recipe: Recipe, name: str, source: ClipSource, task: str, share: float) -> ClipCheck:
    start = time.perf_counter()
    try:
        clip = ClipDataset([source], recipe.loop.seed)[Draw(0, 0, task, 0)]
    except Exception as error:
        return ClipCheck(name, task, share, problem=_say(error))
    return ClipCheck(name, task, share, clip, time.perf_counter() - start)


def _tasks(checks: list[ClipCheck]) -> list[str]:
    return list(dict.fromkeys(check.task for check in checks if check.clip is not None))


def _cost(
    step: TrainingStep,
    recipe: Recipe,
    sources: Mapping[str, ClipSource],
    checks: list[ClipCheck],
    task: str,
    device: torch.device,
) -> StepCost:
    """Train on the dataset whose clips for this task are the largest."""
    sizes = {c.source: _pixels([c.clip]) for c in checks if c.task == task and c.clip is not None}
    name = max(sizes, key=lambda source: sizes[source])
    source, size = sources[name], recipe.loop.batch_size
    dataset = ClipDataset([source], recipe.loop.seed)
    length = source.sampled().length
    # Until the batch is drawn, its clips are taken to be like the one that was.
    cost = StepCost(task, size, sizes[name] * size)
    try:
        batch = [dataset[Draw(0, i % length, task, i // length)] for i in range(size)]
        cost = replace(cost, pixels=_pixels(batch))
        batch = [clip.to(device) for clip in batch]
        if device.type == "cuda":
            _train_once(step, batch, recipe.loop, device)
        seconds, losses = _train_once(step, batch, recipe.loop, device)
    except Exception as error:
        return replace(cost, problem=f"{name}: {_say(error)}")
    cost = replace(cost, seconds=seconds, losses=losses)
    if bad := [name for name, value in losses.items() if not torch.isfinite(torch.tensor(value))]:
        return replace(cost, problem=f"{name}: {', '.join(bad)} is not finite")
    return cost


def _train_once(
    step: TrainingStep, batch: list[TrainingClip], loop: LoopSettings, device: torch.device
) -> tuple[float, dict[str, float]]:
    """Go forward and backward once; return the seconds and the losses."""
    step.zero_grad(set_to_none=True)
    _wait(device)
    start = time.perf_counter()
    with torch.autocast(device.type, _TYPES.get(loop.precision), enabled=loop.precision in _TYPES):
        terms = step(batch)
    total: Tensor = torch.stack([value.float() for value in terms.values()]).sum()
    total.backward()
    _wait(device)
    seconds = time.perf_counter() - start
    return seconds, {name: value.item() for name, value in terms.items()}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _pixels(clips: list[TrainingClip]) -> int:
    return sum(clip.frames[:, 0].numel() for clip in clips)


def _say(error: Exception) -> str:
    text = str(error).strip() or "no reason given"
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}"
    return f"{type(error).__name__}: {text}"


def report(found: DryRun) -> str:
    """Return what a dry run has found, in words.

    Args:
        found: by :func:`dry_run`.
    """
    recipe, loop = found.recipe, found.recipe.loop
    lines = [f"{recipe.name}: {recipe.description}", "", "data"]
    for check in found.checks:
        lines.append(f"  {check.source}, {check.task}, {check.share:.1%}: {_of_clip(found, check)}")
    lines += ["", f"model {recipe.model} on {found.device}, {loop.precision}"]
    lines += [f"  {line}" for line in found.weights]
    lines.append(f"  {found.trained:,} of {found.parameters:,} parameters are trained")
    lines += ["", f"forward and backward of {_count(loop.batch_size, 'clip')}"]
    for cost in found.costs:
        terms = ", ".join(f"{name} {value:.3g}" for name, value in cost.losses.items())
        lines.append(f"  {cost.task}: {cost.problem or f'{cost.seconds:.2f} s; {terms}'}")
    if found.memory is not None:
        where = "of the GPU" if found.device.startswith("cuda") else "of the process"
        used = f"{found.memory / _MIB:,.0f} MiB {where}"
        lines.append(f"  at most {used}, before the optimiser's state")
    lines += ["", "training", *(f"  {line}" for line in _of_training(found))]
    if found.problems:
        lines += ["", "to be mended", *(f"  {problem}" for problem in found.problems)]
    return "\n".join(lines)


def _of_clip(found: DryRun, check: ClipCheck) -> str:
    if check.clip is None:
        return "FAILED" if check.source in found.videos else "DOES NOT OPEN"
    clip, frames = check.clip, check.clip.frames
    videos = _count(found.videos[check.source], "video")
    return (
        f"{videos}; {clip.name!r} gives {len(frames)} frames of "
        f"{frames.shape[-2]} x {frames.shape[-1]} with {_count(len(clip.masks), 'object')}, in "
        f"{check.seconds:.2f} s"
    )


def _of_training(found: DryRun) -> list[str]:
    loop, wanted = found.recipe.loop, found.recipe.total_batch
    clips = loop.batch_size * loop.accumulate * found.processes
    lines = [
        f"{loop.steps:,} steps of {_count(clips, 'clip')}: {_count(found.processes, 'process')} x "
        f"{_count(loop.accumulate, 'batch')} x {_count(loop.batch_size, 'clip')}"
    ]
    if wanted is not None and clips != wanted:
        fitting = max(1, round(wanted / (loop.batch_size * found.processes)))
        lines.append(
            f"the recipe means {wanted} clips a step: loop.accumulate={fitting} gives "
            f"{loop.batch_size * found.processes * fitting}"
        )
    seconds = found.seconds_per_step
    lines.append(
        f"about {seconds:.2f} s a step and {_duration(seconds * loop.steps)} in all, where data "
        "come in time"
        if seconds
        else "no estimate of the time"
    )
    loading = found.seconds_per_clip * loop.batch_size * loop.accumulate / max(1, loop.workers)
    if seconds and loading > seconds:
        lines.append(
            f"{loop.workers} workers need {loading:.2f} s to load a step, longer than it takes to "
            f"train: loop.workers={int(-(-loop.workers * loading // seconds)) or 1} keeps up"
        )
    return lines


def _count(number: int, noun: str) -> str:
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}{'es' if noun.endswith(('s', 'ch')) else 's'}"


def _duration(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
