"""Which implementation an operation runs, and why."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch

ENVIRONMENT_VARIABLE = "SEGBLOCKS_BACKEND"
# Every name that some operation has: what the environment may ask for.
NAMES = ("auto", "triton", "cpp", "xformers", "reference")


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
    if triton_missing() is not None:
        return False
    from triton import knobs

    return bool(knobs.runtime.interpret)


@cache
def _has_c_compiler(chosen: str | None, path: str | None) -> bool:
    # The names that Triton tries; the arguments are what the answer depends on.
    return bool(chosen or shutil.which("gcc", path=path) or shutil.which("clang", path=path))


def _constant_to_compilers(function: Callable[[str], str | None]) -> Callable[[str], str | None]:
    # All that torch.compiler.assume_constant_result does, without importing the compiler for it,
    # which takes longer than all the rest of this package together.
    vars(function)["_dynamo_marked_constant"] = True
    return function


# Compilers cannot follow into Triton and the file system, and need not.
@_constant_to_compilers
def _triton_unavailable(device_type: str) -> str | None:
    missing = triton_missing()
    if missing is not None:
        return missing
    if device_type == "cuda":
        if _has_c_compiler(os.environ.get("CC"), os.environ.get("PATH")):
            return None
        return "Triton needs a C compiler for its launchers: there is neither CC, gcc nor clang"
    if device_type == "cpu":
        return None if interpreter_on() else "a CPU tensor needs TRITON_INTERPRET=1"
    return f"there is no Triton path for device {device_type!r}"


def triton_unavailable(device: torch.device) -> str | None:
    """Why Triton kernels cannot run on ``device``, or None when they can."""
    return _triton_unavailable(device.type)


def _check_name(op: str, source: str, name: str, choices: Sequence[str]) -> str:
    if name not in choices:
        raise ValueError(f"{op}: {source} must be one of {', '.join(choices)}, got {name!r}")
    return name


@dataclass(frozen=True)
class Candidate:
    """One implementation of an operation.

    Args:
        name: what ``backend=`` calls it, one of ``NAMES``.
        unavailable: why it cannot run on a device, or None when it can.
        auto: the device types on which ``auto`` considers it; None means every one, an empty set
            that it has to be named.
        preview: like ``unavailable`` where that takes long: at once, with a remark.
    """

    name: str
    unavailable: Callable[[torch.device], str | None]
    auto: frozenset[str] | None = None
    preview: Callable[[torch.device], tuple[str | None, str]] | None = None

    def look(self, device: torch.device) -> tuple[str | None, str]:
        """Why it cannot run, or None, and a remark; nothing is compiled to find out."""
        if self.preview is not None:
            return self.preview(device)
        return self.unavailable(device), ""


# Interpreted Triton is for tests, so auto leaves the CPU to other candidates.
TRITON = Candidate("triton", triton_unavailable, frozenset({"cuda"}))
REFERENCE = Candidate("reference", lambda device: None)


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

    def _environment(self) -> tuple[str, Candidate | None]:
        """What the environment says, and the candidate that it means here, if any."""
        name = os.environ.get(ENVIRONMENT_VARIABLE) or "auto"
        _check_name(self.op, ENVIRONMENT_VARIABLE, name, NAMES)
        meant = [c for c in self.candidates if c.name == name]
        return name, meant[0] if meant else None

    def request(self, backend: str) -> str:
        """Settle argument against environment; ``auto`` stays open for ``resolve``.

        The environment speaks to every operation that has the backend it names.

        Raises:
            ValueError: the operation has no ``backend``, or no operation has the environment's.
        """
        if backend != "auto":
            names = [candidate.name for candidate in self.candidates]
            return _check_name(self.op, "backend", backend, ("auto", *names))
        _, meant = self._environment()
        return "auto" if meant is None else meant.name

    def report(self, device: torch.device) -> tuple[str, str]:
        """What a call on ``device`` takes that names no backend, and why; compiles nothing.

        Raises:
            ValueError: the environment names a backend that no operation has.
        """
        name, meant = self._environment()
        if meant is None:
            chosen, reason = self._choose(device, Candidate.look)
            aside = f"{ENVIRONMENT_VARIABLE}={name} names none of its backends; "
            return chosen, reason if name == "auto" else aside + reason
        unavailable, remark = meant.look(device)
        reason = f"{ENVIRONMENT_VARIABLE}={name}"
        if unavailable is not None:
            return name, f"{reason}, but calls will fail: {unavailable}"
        return name, f"{reason}; {remark}" if remark else reason

    def explain(self, device: torch.device) -> tuple[str, str]:
        """What ``auto`` takes on ``device``, and why nothing faster."""
        return self._choose(device, lambda candidate, device: (candidate.unavailable(device), ""))

    def _choose(
        self,
        device: torch.device,
        look: Callable[[Candidate, torch.device], tuple[str | None, str]],
    ) -> tuple[str, str]:
        reasons = []
        for candidate in self.candidates:
            if candidate.auto is not None and device.type not in candidate.auto:
                continue
            unavailable, remark = look(candidate, device)
            if unavailable is None:
                reasons.append(f"{candidate.name} is the fastest that runs on {device.type}")
                return candidate.name, "; ".join([*reasons, remark] if remark else reasons)
            reasons.append(f"no {candidate.name}: {unavailable}")
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
