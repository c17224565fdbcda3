"""One step of training: gradients of a batch in parts, checks, an update of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from segblocks.training.averages import Averages
from segblocks.training.settings import LoopSettings

if TYPE_CHECKING:
    from accelerate import Accelerator

#: A loss scale of 65,536 has become 2^-16 by then.
MOST_SKIPPED = 32


class NonFiniteError(FloatingPointError):
    """A loss or gradient that is NaN or infinite; the weights are those before the step."""


class Update:
    """Update the weights of a model from batches of clips.

    Args:
        accelerator: what the module was prepared with.
        step: the prepared module, ``clips -> {name: weighted scalar}``.
        optimizer: the prepared one.
        settings: of the loop.

    Attributes:
        skipped: steps whose gradients overflowed in float16, as happens while the loss scale finds
            its place; they changed no weights.
        skipped_in_a_row: of these, the last ones.
    """

    def __init__(
        self, accelerator: Accelerator, step: nn.Module, optimizer: Any, settings: LoopSettings
    ) -> None:
        self._accelerator = accelerator
        self._step = step
        self._optimizer = optimizer
        self._settings = settings
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.skipped = self.skipped_in_a_row = 0

    def __call__(self, clips: Sequence[Any], number: int) -> dict[str, float]:
        """Make a step.

        Args:
            clips: of this process, on any device.
            number: of the step, for messages; its learning rate is set already.

        Returns:
            ``loss``, the terms as ``terms/name``, and ``grad_norm``, before clipping, where it is
            finite.

        Raises:
            NonFiniteError: NaN or infinite losses or gradients.
            ValueError: a module that returns no terms.
        """
        size = self._settings.batch_size
        parts = [clips[i : i + size] for i in range(0, len(clips), size)]
        self._optimizer.zero_grad(set_to_none=True)
        found = []
        for i, part in enumerate(parts):
            try:
                found.append(self._gradients(part, len(parts), last=i == len(parts) - 1))
            except Exception as error:
                error.add_note(f"train: in step {number}, on {_names(part)}")
                raise
        norm = self._clip()
        *values, grad_norm = torch.stack([*(v for t in found for v in t.values()), norm]).tolist()
        numbers = iter(values)
        terms = [{name: next(numbers) for name in part} for part in found]
        self._check(terms, grad_norm, parts, number)
        self._optimizer.step()
        self._count_skipped(number, parts)
        averages = Averages()
        for part in terms:
            averages.add({"loss": sum(part.values())})
            averages.add({f"terms/{name}": value for name, value in part.items()})
        return averages.means() | ({"grad_norm": grad_norm} if math.isfinite(grad_norm) else {})

    @property
    def skipped_now(self) -> bool:
        """Whether the last step changed no weights."""
        return self.skipped_in_a_row > 0

    def _gradients(self, clips: Sequence[Any], parts: int, *, last: bool) -> dict[str, Tensor]:
        accelerator = self._accelerator
        clips = [clip.to(accelerator.device) for clip in clips]
        with nullcontext() if last else accelerator.no_sync(self._step):
            terms: Mapping[str, Tensor] = self._step(clips)
            if not terms:
                raise ValueError(f"train: the step returned no terms for {_names(clips)}")
            loss = torch.stack([term.float() for term in terms.values()]).sum()
            accelerator.backward(loss / parts)
        return {name: term.detach().float() for name, term in terms.items()}

    def _clip(self) -> Tensor:
        """Bring the norm of all gradients below the limit, and return what it was."""
        self._accelerator.unscale_gradients(self._optimizer)
        norm = torch.nn.utils.get_total_norm(
            [p.grad for p in self._parameters if p.grad is not None]
        )
        if self._settings.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, self._settings.clip_norm, norm)
        return norm.float().to(self._accelerator.device)

    def _check(
        self,
        terms: Sequence[Mapping[str, float]],
        grad_norm: float,
        parts: Sequence[Sequence[Any]],
        number: int,
    ) -> None:
        for part, clips in zip(terms, parts, strict=True):
            bad = [f"{name} {value}" for name, value in part.items() if not math.isfinite(value)]
            if bad:
                raise NonFiniteError(
                    f"train: the loss of step {number} is not finite ({', '.join(bad)}) for "
                    f"{_names(clips)}; the weights were not changed"
                )
        if self._accelerator.scaler is None and not math.isfinite(grad_norm):
            everyone = self._accelerator.num_processes > 1
            raise NonFiniteError(
                f"train: the gradient of step {number} has the norm {grad_norm} for "
                f"{_names([clip for clips in parts for clip in clips])}"
                f"{', or because of clips of another process' if everyone else ''}; the weights "
                "were not changed"
            )

    def _count_skipped(self, number: int, parts: Sequence[Sequence[Any]]) -> None:
        if not self._optimizer.step_was_skipped:
            self.skipped_in_a_row = 0
            return
        self.skipped += 1
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row >= MOST_SKIPPED:
            raise NonFiniteError(
                f"train: the gradients of the {self.skipped_in_a_row} steps up to {number} were "
                f"not finite in float16, the last for {_names([c for p in parts for c in p])}; "
                "use bf16 or fp32"
            )


def _names(clips: Sequence[Any]) -> str:
    return f"the clips of {', '.join(str(clip.name) for clip in clips)}"
