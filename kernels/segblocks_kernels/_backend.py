"""Which implementation an operation runs, and why."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch

ENVIRONMENT_VARIABLE = "SEGBLOCKS_BACKEND"


@cache
def triton_missing() -> str | None:
    """Why Triton cannot be imported, or None when it can."""
    try:
        import triton  # noqa: F401
    except ImportError as error:
        return f"Triton is not installed ({error})"
    return None


def interpreter_on() -> bool:
    """Whether Triton kernels are interpreted, which lets them run on CPU tensors."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def triton_unavailable(device: torch.device) -> str | None:
    """Why Triton kernels cannot run on ``device``, or None when they can."""
    missing = triton_missing()
    if missing is not None:
        return missing
    if device.type == "cuda":
        return None
    if device.type == "cpu":
        return None if interpreter_on() else "a CPU tensor needs TRITON_INTERPRET=1"
    return f"there is no Triton path for device {device.type!r}"


def requested_backend(op: str, backend: str, choices: Sequence[str]) -> str:
    """``backend``, or the environment's wish where the argument leaves the choice open.

    Raises:
        ValueError: the name is not among ``choices``.
    """
    source = "backend"
    if backend == "auto":
        backend = os.environ.get(ENVIRONMENT_VARIABLE, "auto")
        source = ENVIRONMENT_VARIABLE
    if backend not in choices:
        raise ValueError(f"{op}: {source} must be one of {', '.join(choices)}, got {backend!r}")
    return backend


@dataclass(frozen=True)
class Candidate:
    """One implementation of an operation.

    Args:
        name: what ``backend=`` calls it.
        unavailable: why it cannot run on a device, or None when it can.
        auto: the device types on which ``auto`` considers it; None means every one.
    """

    name: str
    unavailable: Callable[[torch.device], str | None]
    auto: frozenset[str] | None = None


# Interpreted Triton is for tests, so auto leaves the CPU to other candidates.
TRITON = Candidate("triton", triton_unavailable, frozenset({"cuda"}))
REFERENCE = Candidate("reference", lambda device: None)


def planned_triton(op: str) -> Candidate:
    """The place of a Triton kernel that does not exist yet: a name, and a reason to give."""
    return Candidate("triton", lambda device: f"{op} has no Triton kernel yet", frozenset({"cuda"}))


@dataclass(frozen=True)
class Backends:
    """The implementations of one operation, in the order in which ``auto`` tries them.

    The last candidate has to run everywhere.

    Args:
        op: the public function.
        candidates: fastest first.
    """

    op: str
    candidates: tuple[Candidate, ...] = (TRITON, REFERENCE)

    def request(self, backend: str) -> str:
        """Settle argument against environment; ``auto`` stays open for ``resolve``."""
        names = [candidate.name for candidate in self.candidates]
        return requested_backend(self.op, backend, ("auto", *names))

    def explain(self, device: torch.device) -> tuple[str, str]:
        """What ``auto`` takes on ``device``, and why nothing faster."""
        passed_over = []
        for candidate in self.candidates:
            if candidate.auto is not None and device.type not in candidate.auto:
                continue
            reason = candidate.unavailable(device)
            if reason is None:
                passed_over.append(f"{candidate.name} is the fastest that runs on {device.type}")
                return candidate.name, "; ".join(passed_over)
            passed_over.append(f"no {candidate.name}: {reason}")
        raise AssertionError(f"{self.op}: no candidate runs on {device}")

    def resolve(self, backend: str, device: torch.device) -> str:
        """The candidate to run on ``device`` for a settled request.

        Raises:
            ValueError: ``backend`` is explicit and cannot run on ``device``.
        """
        if backend == "auto":
            return self.explain(device)[0]
        candidate = next(c for c in self.candidates if c.name == backend)
        reason = candidate.unavailable(device)
        if reason is not None:
            raise ValueError(
                f"{self.op}: backend {backend!r} cannot run on device {device.type!r}: {reason}"
            )
        return backend
