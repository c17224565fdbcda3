"""Tile sizes of the space-time kernels: what they may be, and what fits a cell."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import triton
from torch import Tensor

from .._triton_sizes import MIN_BLOCK, padded_head
from .._tuning import Config, LaunchKey, launch_config
from .cells import OP

# Keys and values that stay in shared memory: four tiles of each take 64 KiB at D = 64, which lets
# two programs share a multiprocessor, and take seconds to compile, unrolled; sixteen take half a
# minute and spill. float32 products run on the scalar units, which would keep them in registers.
RESIDENT_VISIT = 64
MAX_RESIDENT_TILES = 4
MAX_RESIDENT_DIM = 64


def is_resident(x: Tensor, num_slots: int) -> bool:
    """Whether keys and values of a cell stay in shared memory while its queries pass."""
    fits = num_slots <= MAX_RESIDENT_TILES * RESIDENT_VISIT
    return fits and x.element_size() == 2 and padded_head(x.shape[-1]) <= MAX_RESIDENT_DIM


def _candidates(x: Tensor, sums: int) -> list[Config]:
    """Tiles whose scores and ``sums`` take 16 to 128 registers of each thread, in float32."""
    halves = x.element_size() == 2
    owns, visits = ((64, 128), (32, 64)) if halves else ((16, 32, 64), (16, 32))
    found = []
    for own, visit, warps in itertools.product(owns, visits, (4, 8)):
        registers = own * (visit + sums * padded_head(x.shape[-1])) / (32 * warps)
        if 16 <= registers <= 128:
            found.append({"OWN": own, "VISIT": visit, "num_warps": warps, "num_stages": 2})
    return found


def forward_candidates(x: Tensor, *, resident: bool) -> list[Config]:
    """Configurations of the forward kernels, which keep scores and one sum."""
    if not resident:
        return _candidates(x, 1)
    return [
        {"OWN": own, "VISIT": RESIDENT_VISIT, "num_warps": warps, "num_stages": stages}
        for own, warps in ((64, 4), (128, 4), (128, 8))
        for stages in (1, 2)
    ]


def backward_candidates(x: Tensor) -> list[Config]:
    """Configurations of the backward kernels, which keep scores twice and up to two sums."""
    return _candidates(x, 2)


def fit(config: Config, num_slots: int) -> Config:
    """The configuration with tiles no larger than a cell needs."""
    fitting = max(MIN_BLOCK, triton.next_power_of_2(num_slots))
    if fitting >= config["OWN"]:
        return config
    cut = {name: min(config[name], fitting) for name in ("OWN", "VISIT")}
    return config | cut | {"num_warps": min(config["num_warps"], 4)}


def run_tuned(
    kernel: str,
    q: Tensor,
    num_slots: int,
    choices: list[Config],
    run: Callable[[Config], object],
) -> None:
    """Run a kernel with the configuration for these tensors; the work is the number of scores."""
    _, frames, tokens, heads, dim = q.shape
    work = q.shape[0] * frames * tokens * heads * num_slots
    key = LaunchKey.of(q, head_dim=dim, work=work)

    def launch(config: Config) -> None:
        run(fit(config, num_slots))

    launch(launch_config(f"{OP}.{kernel}", key, choices, launch))
