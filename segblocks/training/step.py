"""A model and its criterion, as one module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from segblocks.data.clips import TrainingClip
from segblocks.matching import seeded_generator
from segblocks.nn import ClipOutput
from segblocks.tasks import Task


class ClipModel(Protocol):
    """What is asked of a model in training."""

    def forward_clips(
        self,
        frames: Tensor,
        tasks: Sequence[Sequence[Task]],
        *,
        generators: Sequence[torch.Generator] | None = None,
        **options: Any,
    ) -> tuple[ClipOutput, ...]: ...


class TrainingStep(nn.Module):
    """From a batch of clips to named losses.

    One module, so that what distributes or compiles a training step has all of it. Clips of one
    size go through the model together; the losses are those of the clips one by one.

    Args:
        model: of the zoo, or one with the same ``forward_clips``.
        criterion: ``(outputs, clips) -> {name: weighted scalar}``, such as ``TarViSCriterion``. It
            may have ``model_options(clips)``, further arguments of ``forward_clips`` for clips of
            one size, and ``after_update(model)``, which is called once a step of the optimiser.

    Example:
        >>> from segblocks.training.criteria import TarViSCriterion
        >>> from segblocks.zoo import create_model
        >>> model = create_model("tarvis_nano", checkpoint="random")
        >>> step = TrainingStep(model, TarViSCriterion(num_points=128))
        >>> step.model is model
        True
    """

    def __init__(self, model: Any, criterion: nn.Module) -> None:
        super().__init__()
        self.model: Any = model
        self.criterion = criterion

    def forward(self, clips: Sequence[TrainingClip]) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            clips: on the device of the model; of any sizes and tasks.

        Returns:
            Weighted scalars, the sum of which is the loss.

        Raises:
            ValueError: no clip, or a clip that does not fit the model or the criterion.
        """
        if not clips:
            raise ValueError("TrainingStep: clips must hold at least one, got none")
        outputs: dict[int, ClipOutput] = {}
        for members in _same_size(clips):
            found = self.model.forward_clips(
                torch.stack([clips[i].frames for i in members]),
                [clips[i].tasks for i in members],
                generators=[seeded_generator(*clips[i].seed, "model") for i in members],
                **self._options([clips[i] for i in members]),
            )
            outputs.update(zip(members, found, strict=True))
        return self.criterion([outputs[i] for i in range(len(clips))], clips)

    def after_update(self) -> None:
        """Let the criterion take in a step of the optimiser that is over, on all processes."""
        take_in = getattr(self.criterion, "after_update", None)
        if take_in is not None:
            take_in(self.model)

    def _options(self, clips: Sequence[TrainingClip]) -> dict[str, Any]:
        """What the criterion asks of the model besides the tasks, for clips of one size."""
        options = getattr(self.criterion, "model_options", None)
        return {} if options is None else options(clips)


def _same_size(clips: Sequence[TrainingClip]) -> list[list[int]]:
    sizes: dict[torch.Size, list[int]] = {}
    for i, clip in enumerate(clips):
        sizes.setdefault(clip.frames.shape, []).append(i)
    return list(sizes.values())
