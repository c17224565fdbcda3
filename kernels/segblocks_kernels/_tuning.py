"""Launch configurations of the Triton kernels: block sizes and warps by device, type and size.

A kernel writes its launch as a function of the configuration and passes that function along::

    def launch(config: Config) -> None:
        grid = (triton.cdiv(rows, config["BLOCK"]),)
        kernel[grid](x, out, rows, **config)

    key = LaunchKey.of(x, head_dim=x.shape[-1], work=rows * keys)
    launch(launch_config("my_op.forward", key, CANDIDATES, launch))

A configuration has the kernel's block constants, ``num_warps`` and perhaps ``num_stages`` (Triton
takes 3). While tuning, a launch is repeated with other configurations: a kernel that adds into its
output has to clear it inside ``launch``.

Nothing is timed unless a person asks for it, with ``segblocks_kernels.tune`` or SEGBLOCKS_TUNE=1.
The configuration is the first of these that exists for the key:

1. what was measured in this process;
2. what was measured here before: one file a key in the folder ``launch`` of the cache
   (``SEGBLOCKS_CACHE``), by GPU and version of Triton;
3. the first fitting row in ``<op>/launch.json``, of a table for this GPU by name, else by compute
   capability ("sm_90"), else for "any" device. The last is the default, says ``"measured": false``
   and must have a row for every key. A row fits where each bound that it has holds: ``dtypes``, and
   ``head_dim`` and ``log2_work``, each lowest and highest, inclusive. Rows are tried in order.

On a CPU, where kernels are interpreted, it is always the default.
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._device import on_device
from ._native import NativeUnavailableError, cache_folder

TUNE_VARIABLE = "SEGBLOCKS_TUNE"
# Each candidate is a compilation of seconds.
MAX_CANDIDATES = 12

Config = dict[str, int]
Launch = Callable[[Config], object]


class LaunchKey(NamedTuple):
    """What a configuration is chosen by.

    Args:
        dtype: element type, by its name in PyTorch.
        head_dim: channels of a head, rounded up to a power of two.
        log2_work: order of magnitude of the work, in units that the kernel chooses.
        device: where it runs.
    """

    dtype: str
    head_dim: int
    log2_work: int
    device: torch.device

    @classmethod
    def of(cls, x: Tensor, *, head_dim: int, work: int) -> LaunchKey:
        """The key of a launch on tensors of the type and on the device of ``x``."""
        padded = 1 << max(head_dim - 1, 0).bit_length()
        magnitude = max(work, 1).bit_length() - 1
        return cls(str(x.dtype).removeprefix("torch."), padded, magnitude, x.device)


class Choice(NamedTuple):
    """The configuration of a kernel for a key, and its median time where it was measured here."""

    op: str
    key: LaunchKey
    config: Config
    milliseconds: float | None = None


_settled: dict[tuple[str, LaunchKey], Choice] = {}
# What a running ``tune`` has measured so far. Not local to a thread: autograd has its own.
_session: list[Choice] | None = None


def launch_config(
    op: str, key: LaunchKey, candidates: Sequence[Config] = (), launch: Launch | None = None
) -> Config:
    """The configuration to launch a kernel with; see the top of the module.

    Args:
        op: the folder of the operation and the kernel, as in "space_time_attention.forward".
        key: type, size and place of the launch.
        candidates: at most 12 configurations to choose from when asked to tune.
        launch: runs the kernel once with a configuration; without it nothing is measured.

    Raises:
        ValueError: more than 12 candidates.
        LookupError: the shipped table has no row for the key.
    """
    if len(candidates) > MAX_CANDIDATES:
        raise ValueError(
            f"{op}: candidates must be at most {MAX_CANDIDATES}, got {len(candidates)}"
        )
    choice = _settled.get((op, key))
    if choice is None:
        choice = _settled[op, key] = _look_up(op, key, candidates)
    if launch is not None and candidates and _asked(choice) and _can_measure(key.device):
        choice = _settled[op, key] = _measure(op, key, candidates, launch)
        _remember(choice)
        if _session is not None:
            _session.append(choice)
    return dict(choice.config)


def tune(call: Callable[[], object]) -> list[Choice]:
    """Run ``call``, and time the candidates of each Triton kernel that it launches on a GPU.

    Results hold for this process and for later ones on this machine. Sums may be taken in another
    order afterwards, so outputs can differ in the last bits from those before.

    Args:
        call: a function without arguments, such as a forward and backward of a model on inputs of
            the shapes that matter. Each kernel is timed once for each type, head size and power of
            two of the work, for about a second.

    Returns:
        What was chosen, in the order of the launches.

    Raises:
        RuntimeError: no kernel was timed.

    Example:
        >>> import segblocks_kernels
        >>> try:
        ...     choices = segblocks_kernels.tune(lambda: None)
        ... except RuntimeError as error:
        ...     print(error)
        tune: the call launched no tunable Triton kernel on a CUDA device
    """
    global _session
    outer, _session = _session, []
    try:
        call()
        chosen = _session
    finally:
        _session = outer
    if not chosen:
        raise RuntimeError("tune: the call launched no tunable Triton kernel on a CUDA device")
    return chosen


def _asked(choice: Choice) -> bool:
    if _session is not None:
        return all(done[:2] != choice[:2] for done in _session)
    return choice.milliseconds is None and os.environ.get(TUNE_VARIABLE) == "1"


def _can_measure(device: torch.device) -> bool:
    return device.type == "cuda" and not torch.cuda.is_current_stream_capturing()


def _measure(op: str, key: LaunchKey, candidates: Sequence[Config], launch: Launch) -> Choice:
    default = _shipped(op, key)
    others = [config for config in candidates if config != default]
    with on_device(key.device):
        times = [(_median_ms(launch, config), config) for config in [default, *others]]
    milliseconds, config = min(times, key=lambda time: time[0])
    if math.isinf(milliseconds):
        raise RuntimeError(f"{op}: no candidate fits {_device_names(key.device)[0]}")
    return Choice(op, key, config, milliseconds)


def _median_ms(launch: Launch, config: Config) -> float:
    """Median time of a launch, infinite where the device has too little memory for it."""
    from triton.runtime.errors import OutOfResources
    from triton.testing import do_bench

    try:
        median: Any = do_bench(lambda: launch(config), return_mode="median")
    except OutOfResources:
        return math.inf
    return median


def _look_up(op: str, key: LaunchKey, candidates: Sequence[Config]) -> Choice:
    default = _shipped(op, key)
    if key.device.type == "cuda":
        stored = _recall(op, key, [default, *candidates])
        if stored is not None:
            return stored
    return Choice(op, key, default)


@cache
def _device_names(device: torch.device) -> tuple[str, ...]:
    """How tables may call a device, the most special name first."""
    if device.type != "cuda":
        return ("any",)
    major, minor = torch.cuda.get_device_capability(device)
    return torch.cuda.get_device_name(device), f"sm_{major}{minor}", "any"


@cache
def _tables(op: str) -> list[dict[str, Any]]:
    folder = op.partition(".")[0]
    return json.loads((Path(__file__).parent / folder / "launch.json").read_text())["tables"]


def _shipped(op: str, key: LaunchKey) -> Config:
    kernel = op.partition(".")[2]
    for name in _device_names(key.device):
        for table in _tables(op):
            if name not in table["devices"]:
                continue
            for row in table["kernels"].get(kernel, ()):
                if _fits(row, key):
                    return dict(row["config"])
    raise LookupError(f"{op}: launch.json has no row for {key}")


def _fits(row: dict[str, Any], key: LaunchKey) -> bool:
    if key.dtype not in row.get("dtypes", (key.dtype,)):
        return False
    for bound, size in (("head_dim", key.head_dim), ("log2_work", key.log2_work)):
        lowest, highest = row.get(bound, (size, size))
        if not lowest <= size <= highest:
            return False
    return True


# One file a key: processes that tune at the same time cannot lose each other's results.
def _cache_file(op: str, key: LaunchKey) -> Path:
    import triton

    name, capability, _ = _device_names(key.device)
    device = re.sub(r"\W+", "_", name)
    folder = cache_folder() / "launch" / f"{device}-{capability}-triton_{triton.__version__}"
    return folder / f"{op}-{key.dtype}-{key.head_dim}-{key.log2_work}.json"


def _recall(op: str, key: LaunchKey, known: Sequence[Config]) -> Choice | None:
    """What the cache holds; a file that makes no sense is warned of and ignored."""
    try:
        path = _cache_file(op, key)
        written = path.read_bytes()
    except (NativeUnavailableError, OSError):
        return None
    try:
        stored = json.loads(written)
        config, milliseconds = stored["config"], float(stored["milliseconds"])
        if config not in known:
            raise ValueError(f"{config} is no candidate of this version")
    except (ValueError, TypeError, KeyError) as error:
        warnings.warn(f"ignoring the launch configuration in {path}: {error!r}", stacklevel=2)
        return None
    return Choice(op, key, config, milliseconds)


def _remember(choice: Choice) -> None:
    """Write to the cache at once or not at all; who cannot write keeps it for this process."""
    stored = {"config": choice.config, "milliseconds": choice.milliseconds}
    try:
        path = _cache_file(choice.op, choice.key)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as scratch:
            written = Path(scratch) / path.name
            written.write_text(json.dumps(stored))
            written.replace(path)
    except (NativeUnavailableError, OSError) as error:
        warnings.warn(f"cannot keep the launch configuration: {error}", stacklevel=2)
