"""Training: the step of a system, the loop, checkpoints, recipes."""

from __future__ import annotations

from segblocks.training.checkpoints import latest_checkpoint, read_checkpoint, weights_file
from segblocks.training.ema import AveragedWeights
from segblocks.training.journal import read_log
from segblocks.training.loop import TrainingSummary, train
from segblocks.training.optimizer import freeze, parameter_groups
from segblocks.training.schedule import Schedule
from segblocks.training.settings import LoopSettings
from segblocks.training.step import TrainingStep
from segblocks.training.update import NonFiniteError

__all__ = [
    "AveragedWeights",
    "LoopSettings",
    "NonFiniteError",
    "Schedule",
    "TrainingStep",
    "TrainingSummary",
    "freeze",
    "latest_checkpoint",
    "parameter_groups",
    "read_checkpoint",
    "read_log",
    "train",
    "weights_file",
]
