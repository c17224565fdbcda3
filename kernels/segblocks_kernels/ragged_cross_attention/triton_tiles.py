"""Tile sizes of ragged attention: heads, channels and edges of a program, and edges of a span."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import triton
from torch import Tensor

from .._tuning import Config, LaunchKey, launch_config

_OP = "ragged_cross_attention"
# Lists may be short: a lane with more edges than one would often wait for nothing.
_EDGES_PER_WARP = 32


def blocks(config: Config, q: Tensor) -> dict[str, int]:
    """The constants of a kernel for a configuration.

    Args:
        config: numbers that a program takes of one row (``ROW``) and of all the rows that it looks
            at together (``TILE``).
        q: (R, M, D).
    """
    heads, dim = q.shape[1:]
    block_d = triton.next_power_of_2(dim)
    block_m = min(triton.next_power_of_2(heads), max(1, config["ROW"] // block_d))
    block_e = max(1, config["TILE"] // (block_m * block_d))
    return {
        "HEADS": heads,
        "D": dim,
        "BLOCK_M": block_m,
        "BLOCK_D": block_d,
        "BLOCK_E": min(block_e, _EDGES_PER_WARP * config["num_warps"]),
        "num_warps": config["num_warps"],
    }


_PROGRAMS: list[Config] = [
    {"ROW": 256, "TILE": tile, "num_warps": warps}
    for tile, warps in ((1024, 1), (2048, 1), (4096, 2))
]


def span_candidates() -> list[Config]:
    """Configurations of the kernels that walk spans."""
    return [
        config | {"SPAN": span} for config, span in itertools.product(_PROGRAMS, (32, 64, 128, 256))
    ]


def key_candidates() -> list[Config]:
    """Configurations of the kernel that owns keys."""
    return [{"ROW": 256, "TILE": 512, "num_warps": 1}, *_PROGRAMS]


def launch_key(q: Tensor, indices: Tensor) -> LaunchKey:
    """What configurations are chosen by; the work is the number of edges."""
    return LaunchKey.of(q, head_dim=q.shape[-1], work=indices.shape[0])


def merge_config(kernel: str, key: LaunchKey) -> Config:
    """The configuration of a kernel that adds up pieces: timed as a part of what makes them."""
    return launch_config(f"{_OP}.{kernel}", key)


def run_tuned(
    kernel: str, key: LaunchKey, choices: list[Config], run: Callable[[Config], object]
) -> None:
    """Run a kernel of ``launch.json`` with the configuration for a key."""
    run(launch_config(f"{_OP}.{kernel}", key, choices, run))
