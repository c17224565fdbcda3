"""Forward of masked cross-attention: programs share the keys, and their results are merged."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._triton_product import add_product
from .._triton_sizes import padded_head
from .._tuning import Config, LaunchKey, launch_config
from .op import OP
from .triton_common import (
    DOWN,
    LOG2_E,
    OPEN_SIZES,
    is_open,
    launch,
    load_keep,
    load_rows,
    masked_scores,
    store_rows,
    strides,
)
from .triton_tiles import forward_candidates, launch_key, run_tuned, split_keys


@triton.jit
def program_place(num_heads, num_blocks, num_splits):
    """Clip (int64), head, block of queries and split of this program.

    Heads run fastest: the heads of a key share cache lines, and all heads share the mask.
    """
    program = tl.program_id(0)
    head = program % num_heads
    program = program // num_heads
    block = program % num_blocks
    program = program // num_blocks
    return (program // num_splits).to(tl.int64), head, block, program % num_splits


@triton.jit(do_not_specialize=OPEN_SIZES)
def split_kernel(
    q,
    k,
    v,
    words,
    strips,
    bias,
    bias_scale,
    out,
    lse,
    q_strides,
    k_strides,
    v_strides,
    bias_strides,
    out_strides,
    scale_log2,
    log2_e,
    num_queries,
    num_keys,
    num_strips,
    num_heads,
    num_blocks,
    num_splits,
    keys_per_split,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    clip, head, block, split = program_place(num_heads, num_blocks, num_splits)
    query = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
    inside = query < num_queries
    opened = is_open(strips, clip, query, inside, num_queries, num_strips)
    b_q = load_rows(q, clip, head, query, inside, q_strides, HEAD_DIM, BLOCK_D)
    peak = tl.full([BLOCK_Q], float("-inf"), dtype=tl.float32)
    total = tl.zeros([BLOCK_Q], dtype=tl.float32)
    b_out = tl.zeros([BLOCK_Q, BLOCK_D], dtype=tl.float32)

    first = split * keys_per_split
    for start in range(first, min(first + keys_per_split, num_keys), BLOCK_N):
        keep, some = load_keep(
            words, clip, query, inside, opened, start, num_queries, num_keys, BLOCK_N, DOWN
        )  # [BLOCK_Q, BLOCK_N]
        if some:
            key = start + tl.arange(0, BLOCK_N)
            b_k = load_rows(k, clip, head, key, key < num_keys, k_strides, HEAD_DIM, BLOCK_D)
            scores = masked_scores(
                b_q, b_k, keep, scale_log2, bias, bias_scale, bias_strides, clip, head, query, key,
                log2_e, DOWN,
            )  # fmt: skip
            new_peak = tl.maximum(peak, tl.max(scores, 1))
            # A row may have met none of its keys yet.
            reference = tl.where(new_peak == float("-inf"), 0.0, new_peak)
            weights = tl.exp2(scores - reference[:, None])
            shrink = tl.exp2(peak - reference)
            total = total * shrink + tl.sum(weights, 1)
            b_v = load_rows(v, clip, head, key, key < num_keys, v_strides, HEAD_DIM, BLOCK_D)
            b_out = add_product(b_out * shrink[:, None], weights.to(b_v.dtype), b_v)
            peak = new_peak

    met = total > 0.0
    part = clip * num_splits + split
    b_out = b_out / tl.where(met, total, 1.0)[:, None]
    store_rows(out, b_out, part, head, query, inside, out_strides, HEAD_DIM, BLOCK_D)
    b_lse = tl.where(met, peak + tl.log2(tl.where(met, total, 1.0)), float("-inf"))
    tl.store(lse + (part * num_queries + query) * num_heads + head, b_lse, mask=inside)


@triton.jit(do_not_specialize=["num_rows", "num_splits"])
def merge_kernel(
    parts,
    part_lse,
    out,
    lse,
    num_rows,
    num_splits,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
):
    blocks = tl.cdiv(num_rows, BLOCK_ROWS)
    clip = (tl.program_id(0) // blocks).to(tl.int64)
    row = tl.program_id(0) % blocks * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    inside = row < num_rows
    d = tl.arange(0, BLOCK_D)
    present = inside[:, None] & (d < HEAD_DIM)[None, :]

    peak = tl.full([BLOCK_ROWS], float("-inf"), dtype=tl.float32)
    for split in range(num_splits):
        place = (clip * num_splits + split) * num_rows + row
        peak = tl.maximum(peak, tl.load(part_lse + place, mask=inside, other=0.0))
    # Of some row the bias may leave no key at all.
    reference = tl.where(peak == float("-inf"), 0.0, peak)
    total = tl.zeros([BLOCK_ROWS], dtype=tl.float32)
    b_out = tl.zeros([BLOCK_ROWS, BLOCK_D], dtype=tl.float32)
    for split in range(num_splits):
        place = (clip * num_splits + split) * num_rows + row
        share = tl.exp2(tl.load(part_lse + place, mask=inside, other=0.0) - reference)
        total += share
        b_part = tl.load(parts + place[:, None] * HEAD_DIM + d[None, :], mask=present, other=0.0)
        b_out += b_part * share[:, None]

    place = clip * num_rows + row
    total = tl.where(total > 0.0, total, 1.0)
    b_out = b_out / total[:, None]
    pointers = out + place[:, None] * HEAD_DIM + d[None, :]
    tl.store(pointers, b_out.to(out.dtype.element_ty), mask=present)
    tl.store(lse + place, peak + tl.log2(total), mask=inside)


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    packed: tuple[Tensor, Tensor] | None,
    bias: Tensor | None,
    bias_scale: Tensor | None,
    out: Tensor,
    lse: Tensor,
    scale: float,
) -> None:
    """Attend, into ``out`` (B, Q, M, D) and the log-sum-exp ``lse`` (B, Q, M), in base 2.

    Args:
        q: (B, Q, M, D).
        k: (B, N, M, D).
        v: (B, N, M, D).
        packed: words and flags of the mask, from ``triton_pack``.
        bias: (B, Q, N), or None.
        bias_scale: (M,) where there is a bias.
        out: contiguous, in the type of q.
        lse: contiguous, float32.
        scale: what products are multiplied with.
    """
    batch, queries, heads, dim = q.shape
    num_keys = k.shape[1]
    head = {"HEAD_DIM": dim, "BLOCK_D": padded_head(dim)}
    sizes = {
        "num_queries": queries,
        "num_keys": num_keys,
        "num_strips": 0 if packed is None else packed[1].shape[2],
        "num_heads": heads,
    }

    def run(config: Config) -> None:
        split = split_keys(q, num_keys, config)
        num_blocks = triton.cdiv(queries, config["BLOCK_Q"])
        parts, part_lse = out, lse
        if split.shares > 1:
            parts = q.new_empty((batch * split.shares, *q.shape[1:]), dtype=torch.float32)
            part_lse = lse.new_empty((batch * split.shares, *lse.shape[1:]))
        launch(
            split_kernel,
            q,
            (batch * heads * num_blocks * split.shares,),
            *(q, k, v, *(packed or (None, None)), bias, bias_scale, parts, part_lse),
            *strides(q, k, v, bias, parts),
            scale * LOG2_E,
            LOG2_E,
            **sizes,
            num_blocks=num_blocks,
            num_splits=split.shares,
            keys_per_split=split.keys,
            **head,
            **config,
        )
        if split.shares > 1:
            _merge(parts, part_lse, out, lse, split.shares)

    key = launch_key(q, num_keys)
    run_tuned("forward", key, queries, forward_candidates(q), run)


def _merge(parts: Tensor, part_lse: Tensor, out: Tensor, lse: Tensor, shares: int) -> None:
    batch, queries, heads, dim = out.shape
    rows = queries * heads  # of each clip: a query of a head
    key = LaunchKey.of(out, head_dim=dim, work=batch * rows * shares)
    # Timed as a part of the forward, whose tiles say how many shares there are.
    config = launch_config(f"{OP}.merge", key)
    launch(
        merge_kernel,
        out,
        (triton.cdiv(rows, config["BLOCK_ROWS"]) * batch,),
        *(parts, part_lse, out, lse, rows, shares),
        HEAD_DIM=dim,
        BLOCK_D=padded_head(dim),
        **config,
    )
