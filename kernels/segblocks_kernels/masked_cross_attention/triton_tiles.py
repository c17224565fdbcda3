"""Tile sizes of masked cross-attention: what they may be, what fits, and how keys are split."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from .._triton_sizes import MIN_BLOCK, padded_head
from .._tuning import Config, LaunchKey, launch_config
from .op import OP

# A program of fewer keys would write more of partial sums than it reads of keys and values.
MIN_KEYS_PER_SPLIT = 256
# Two programs of 256 threads fit a multiprocessor; two waves even out what empty tiles save.
_PROGRAMS_PER_PROCESSOR = 4
_PROCESSORS_WITHOUT_GPU = 2


def _candidates(q: Tensor, sums: int) -> list[Config]:
    """Tiles whose scores and ``sums`` take 16 to 128 registers of each thread, in float32."""
    queries = (32, 64, 128) if q.element_size() == 2 else (16, 32, 64)
    found = []
    for block_q, block_n, warps in itertools.product(queries, (32, 64), (4, 8)):
        registers = block_q * (block_n + sums * padded_head(q.shape[-1])) / (32 * warps)
        if 16 <= registers <= 128:
            found.append(
                {"BLOCK_Q": block_q, "BLOCK_N": block_n, "num_warps": warps, "num_stages": 2}
            )
    return found


def forward_candidates(q: Tensor) -> list[Config]:
    """Configurations of the forward kernel, which keeps scores and one sum."""
    return _candidates(q, 1)


def backward_candidates(q: Tensor) -> list[Config]:
    """Configurations of the backward kernels, which keep scores twice and up to two sums."""
    return _candidates(q, 2)


def pack_candidates() -> list[Config]:
    """Configurations of packing a mask: four to sixteen values for each thread."""
    return [
        {"BLOCK_Q": block_q, "BLOCK_WORDS": words, "num_warps": 4, "num_stages": 2}
        for block_q, words in itertools.product((4, 8, 16), (2, 4, 8))
        if 16 <= block_q * words <= 64
    ]


def pack_product_candidates(features: Tensor) -> list[Config]:
    """Configurations of packing a product: 32 or 64 registers of logits for each thread."""
    lines = (64, 128) if features.element_size() == 2 else (32, 64)
    return [
        {"BLOCK_Q": 128, "BLOCK_WORDS": words, "BLOCK_C": line, "num_warps": 8, "num_stages": 2}
        for words, line in itertools.product((2, 4), lines)
    ]


def fit(config: Config, num_queries: int) -> Config:
    """The configuration with no larger blocks of queries than there are."""
    fitting = max(MIN_BLOCK, triton.next_power_of_2(num_queries))
    if fitting >= config["BLOCK_Q"]:
        return config
    return config | {"BLOCK_Q": fitting, "num_warps": min(config["num_warps"], 4)}


def launch_key(q: Tensor, num_keys: int) -> LaunchKey:
    """What the kernels of attention are chosen by; the work is the number of scores."""
    batch, queries, heads, dim = q.shape
    return LaunchKey.of(q, head_dim=dim, work=batch * queries * heads * num_keys)


def run_tuned(
    kernel: str,
    key: LaunchKey,
    num_queries: int,
    choices: list[Config],
    run: Callable[[Config], object],
) -> None:
    """Run a kernel of ``launch.json`` with the configuration for a key."""

    def launch(config: Config) -> None:
        run(fit(config, num_queries))

    launch(launch_config(f"{OP}.{kernel}", key, choices, launch))


class Split(NamedTuple):
    """How many programs share the keys, and how many keys each takes."""

    shares: int
    keys: int


def split_keys(q: Tensor, num_keys: int, config: Config) -> Split:
    """Split the keys, which are many, where clips, heads and queries are few programs."""
    processors = _PROCESSORS_WITHOUT_GPU
    if q.is_cuda:
        processors = torch.cuda.get_device_properties(q.device).multi_processor_count
    block = config["BLOCK_N"]
    programs = q.shape[0] * q.shape[2] * triton.cdiv(q.shape[1], config["BLOCK_Q"])
    count = triton.cdiv(_PROGRAMS_PER_PROCESSOR * processors, programs)
    count = min(count, triton.cdiv(num_keys, MIN_KEYS_PER_SPLIT))
    keys = triton.cdiv(triton.cdiv(num_keys, count), block) * block
    return Split(triton.cdiv(num_keys, keys), keys)
