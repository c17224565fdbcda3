"""Whether a folder holds a training that can be taken up, and where it stands."""

from __future__ import annotations

from pathlib import Path

from segblocks.data.sampler import MixtureSampler
from segblocks.training.checkpoints import (
    Checkpoint,
    CheckpointFolder,
    read_checkpoint,
    read_checkpoint_record,
)
from segblocks.training.distributed import gather
from segblocks.training.journal import clear_log
from segblocks.training.settings import LoopSettings


def find_checkpoint(
    folder: CheckpointFolder,
    settings: LoopSettings,
    sampler: MixtureSampler,
    *,
    main: bool,
    resume: bool,
) -> Checkpoint | None:
    """Read the checkpoint to go on from, and let the sampler go on from there.

    All processes come here together; the first one tidies the folder up.

    Args:
        folder: of the checkpoints.
        settings: which must be those of the training that lies there.
        sampler: likewise.
        main: whether this is the first process.
        resume: False removes what lies there.

    Returns:
        None where training begins.

    Raises:
        ValueError: another training lies there, with what differs, or processes see other folders.
        CheckpointError: the newest checkpoint is damaged.
    """
    if main:
        folder.out.mkdir(parents=True, exist_ok=True)
        folder.sweep()
        if not resume:
            folder.clear()
            clear_log(folder.out)
    seen = gather([path.name for path in folder.list()] if main else None)
    found = folder.list()
    theirs = gather([path.name for path in found])
    if any(names != seen[0] for names in theirs):
        raise ValueError(
            f"train: out must be one folder for all processes, which {folder.out} is not"
        )
    if not found:
        return None
    _check_same(found[-1], folder.out, settings, sampler)
    return read_checkpoint(found[-1])


def _check_same(place: Path, out: Path, settings: LoopSettings, sampler: MixtureSampler) -> None:
    record = read_checkpoint_record(place)
    there, here = record["settings"], settings.identity(sampler.world_size)
    other = [
        f"{name} is {there[name]} there and {value} here"
        for name, value in here.items()
        if name in there and there[name] != value
    ]
    advice = "choose another out, or begin anew with resume=False"
    if other:
        raise ValueError(
            f"train: {out} holds a training of other settings: {'; '.join(other)}; {advice}"
        )
    if record["step"] > settings.steps:
        raise ValueError(
            f"train: {out} holds a training of {record['step']} steps, more than the "
            f"{settings.steps} of these settings; {advice}"
        )
    try:
        sampler.load_state_dict(record["sampler"])
    except ValueError as error:
        raise ValueError(
            f"train: {out} holds a training on other data: {error}; {advice}"
        ) from error
