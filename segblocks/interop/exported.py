"""Models of the zoo as programs: tensors in, tensors out, for one task and one size of a clip."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from segblocks._files import write_atomically
from segblocks.hints import Hints
from segblocks.interop._spelled_out import SpelledOut
from segblocks.nn import ClipOutput
from segblocks.tasks import UNION, CategoryTask, HintTask, Task
from segblocks.zoo.clip_model import ClipModel

#: Names of what goes in and comes out, in their order; a task may do without the second one.
INPUTS = ("frames", "hints")
OUTPUTS = ("mask_logits", "class_logits")


@dataclass(frozen=True)
class Signature:
    """What goes into a program and what comes out.

    Args:
        task: its name, such as "vis".
        num_frames: T of a clip.
        size: (H, W) of its frames.
        inputs: name -> shape.
        outputs: name -> shape.
        classes: names of the columns of the class logits that are classes; a column after them is
            for no object. Empty for tasks with objects.
        groups: name -> first query and the one after the last; empty for tasks with objects.
        object_ids: of the objects, in the order of the masks; empty for tasks with classes.
    """

    task: str
    num_frames: int
    size: tuple[int, int]
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    classes: tuple[str, ...]
    groups: dict[str, tuple[int, int]]
    object_ids: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make a signature from the values of :meth:`as_dict`, after JSON or before."""
        return cls(**{name: _tuples(value) for name, value in values.items()})


class ClipProgram(nn.Module):
    """A model that does one task on clips of one size: tensors in, tensors out.

    With classes (VIS, VPS, VSS), frames give ``mask_logits`` (1, Q, T, h, w) of all queries at
    stride 4 of the padded frames, and ``class_logits`` (1, Q_c, K) or (1, Q_c, K + 1). With hints
    (VOS, PVOS, PET, EVS, as the model can), frames and the hints give ``mask_logits``
    (1, O, T, h, w) of the objects, each the maximum over the queries of the object. With
    expressions (RefVOS), which become part of the program, frames give the masks of their objects
    likewise.

    Args:
        model: of the zoo, in evaluation mode.
        task: with classes, or with hints; of these, the kind, the frames and the ids hold for all
            clips, while their values are an input.
        size: (H, W) of the frames, which the program pads but does not resize.
        num_frames: T.

    Attributes:
        signature: names and shapes of inputs and outputs, and what their axes mean.

    Raises:
        TypeError: no model of the zoo, or several tasks.
        ValueError: a model in training mode, a task that it cannot do, sizes that are not positive,
            or hints that do not fit.

    Example:
        >>> from segblocks import VIS
        >>> from segblocks.zoo.tarvis import TarViS, TarViSConfig
        >>> model = TarViS(TarViSConfig(neck_layers=1, decoder_layers=1, encoder_layers=1,
        ...                             neck_hidden_dim=64, decoder_hidden_dim=64)).eval()
        >>> program = ClipProgram(model, VIS("ovis"), (64, 96), 2)
        >>> mask_logits, class_logits = program(torch.zeros(1, 2, 3, 64, 96))
        >>> mask_logits.shape, class_logits.shape, program.signature.groups["instance"]
        (torch.Size([1, 154, 2, 16, 32]), torch.Size([1, 128, 26]), (0, 128))
    """

    def __init__(
        self, model: ClipModel, task: Task, size: tuple[int, int], num_frames: int
    ) -> None:
        super().__init__()
        _check(model, task, size, num_frames)
        self.model = model
        self.task = task
        self.size = (int(size[0]), int(size[1]))
        self.num_frames = num_frames
        with torch.no_grad():
            self.signature = self._describe()

    def forward(self, frames: Tensor, hints: Tensor | None = None) -> tuple[Tensor, ...]:
        """Segment one clip.

        Args:
            frames: (1, T, 3, H, W) float32, RGB on the scale 0..255.
            hints: for tasks with hints, those of all hinted frames, one frame after the other:
                masks (O, H, W) bool, points (O, 2) or boxes (O, 4) float32 in pixels. None takes
                those of the task. A program does not check them: each must lie in the frame, and
                each mask have a pixel.

        Returns:
            Mask logits, and class logits where there are classes.
        """
        output = self.model(frames, self._asked(hints))
        if not isinstance(self.task, CategoryTask):
            return (_object_logits(output),)
        if output.class_logits is None:
            return (output.mask_logits,)
        return output.mask_logits, output.class_logits

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return black frames, and the hints of the task where there are any."""
        device = self.model.pixel_mean.device
        frames = torch.zeros((1, self.num_frames, 3, *self.size), device=device)
        if not isinstance(self.task, HintTask):
            return (frames,)
        values = torch.cat([hints.tensor() for hints in self.task.hints.values()]).to(device)
        return frames, values if values.dtype == torch.bool else values.float()

    def _asked(self, hints: Tensor | None) -> Task:
        if hints is None or not isinstance(self.task, HintTask):
            return self.task
        return _HintsAsInput(self.task, hints)

    def _describe(self) -> Signature:
        inputs = self.example_inputs()
        output = self.model(inputs[0], self.task)
        by_class = isinstance(self.task, CategoryTask)
        return Signature(
            self.task.name,
            self.num_frames,
            self.size,
            _shapes(INPUTS, inputs),
            _shapes(OUTPUTS, self(*inputs)),
            _classes(self.task),
            {name: (g.start, g.stop) for name, g in output.groups.items()} if by_class else {},
            () if by_class else tuple(output.object_ids),
        )


@dataclass(frozen=True, eq=False)
class _TracedHints(Hints):
    """Hints of which only the kind, the number and the ids are known yet."""

    traced: Tensor

    def tensor(self) -> Tensor:
        """Return what stands for the values."""
        return self.traced


class _HintsAsInput(HintTask):
    """A task whose hints have values that are not known before the program runs."""

    def __init__(self, task: HintTask, values: Tensor) -> None:
        self.name = task.name  # type: ignore[misc]
        self.given = task
        parts = values.split([len(hints) for hints in task.hints.values()])
        self.hints = {
            frame: _TracedHints(hints.kind, hints.values, hints.ids, part)
            for (frame, hints), part in zip(task.hints.items(), parts, strict=True)
        }

    def window(self, start: int, stop: int) -> Any:
        """Return the task's own: the state of a video, which reads its values, is not exported."""
        return self.given.window(start, stop)

    def validate(self, height: int, width: int, *, padded: tuple[int, int] | None = None) -> None:
        """Pass over values: those of the task were checked, others come when the program runs."""


def export_program(
    model: ClipModel, task: Task, size: tuple[int, int], num_frames: int
) -> ExportedProgram:
    """Export a model for one task and one size of a clip by ``torch.export``.

    The program holds PyTorch's own operators alone: what segblocks has kernels for is spelled out.
    So it runs, and is saved and loaded, where segblocks is not installed.

    Args:
        model: of the zoo, in evaluation mode; its device becomes that of the program.
        task: with classes or with hints, see :class:`ClipProgram`, which has also the inputs and
            outputs.
        size: (H, W) of the frames.
        num_frames: T of a clip.

    Returns:
        The program; ``program.module()`` is a module. An example, which takes half a minute, is in
        ``docs/interop.md``.

    Raises:
        TypeError: no model of the zoo, or several tasks.
        ValueError: a task that cannot be exported, sizes that are not positive, or a model in
            training mode.
    """
    return trace(ClipProgram(model, task, size, num_frames))


def save_program(
    model: ClipModel,
    task: Task,
    size: tuple[int, int],
    num_frames: int,
    path: str | os.PathLike[str],
) -> Signature:
    """Write what :func:`export_program` makes to a file, for ``torch.export.load``.

    Args:
        model: of the zoo, in evaluation mode.
        task: with classes or with hints.
        size: (H, W) of the frames.
        num_frames: T of a clip.
        path: the file, as a rule ``.pt2``, which appears whole or not at all. Beside the program
            it holds ``signature.json``, an extra file of ``torch.export.load``.

    Returns:
        The signature of the program.

    Raises:
        TypeError: as :func:`export_program`.
        ValueError: as :func:`export_program`.
        OSError: the file cannot be written.
    """
    program = ClipProgram(model, task, size, num_frames)
    exported = trace(program)
    extra = {"signature.json": json.dumps(program.signature.as_dict())}
    write_atomically(
        path, lambda temporary: torch.export.save(exported, temporary, extra_files=extra)
    )
    return program.signature


def trace(program: ClipProgram) -> ExportedProgram:
    """Export a program that was made already.

    Args:
        program: of a model on its device.

    Returns:
        The same with PyTorch's own operators.
    """
    with torch.no_grad(), SpelledOut():
        return torch.export.export(program, program.example_inputs(), strict=False)


def _check(model: Any, task: Any, size: tuple[int, int], num_frames: int) -> None:
    if not isinstance(model, ClipModel):
        raise TypeError(
            f"export: model must be one of the zoo, such as create_model('tarvis_nano'), got "
            f"{type(model).__name__}"
        )
    if not isinstance(task, Task):
        raise TypeError(f"export: task must be one task such as VIS(...), got {task!r}")
    if isinstance(task, HintTask) and getattr(model.config, "official_compat", False):
        raise ValueError(
            "export: model must have official_compat=False for tasks with hints, as sizes depend "
            f"on what a hint covers otherwise, got {type(model).__name__} with official_compat=True"
        )
    if model.training:
        raise ValueError("export: model must be in evaluation mode; call model.eval() before")
    if len(size) != 2 or min(*size, num_frames) < 1:
        raise ValueError(
            f"export: size must be (height, width) and num_frames positive, got {size} and "
            f"{num_frames}"
        )


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _shapes(names: tuple[str, ...], tensors: tuple[Tensor, ...]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in zip(names, tensors, strict=False)}


def _object_logits(output: ClipOutput) -> Tensor:
    logits = output.mask_logits
    return torch.stack([logits[:, part].amax(1) for part in output.object_slices], dim=1)


def _classes(task: Task) -> tuple[str, ...]:
    if not isinstance(task, CategoryTask) or task.vocabulary == UNION:
        return ()
    return task.resolve().classes
