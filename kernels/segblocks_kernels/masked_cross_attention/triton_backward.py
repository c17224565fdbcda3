"""Backward of masked cross-attention: each program owns what it writes, no atomics."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._triton_product import add_product, product
from .._triton_sizes import padded_head
from .._tuning import Config
from .triton_common import (
    ACROSS,
    DOWN,
    LOG2_E,
    OPEN_SIZES,
    bias_pointers,
    is_open,
    launch,
    load_bias,
    load_keep,
    load_rows,
    masked_scores,
    store_rows,
    strides,
)
from .triton_forward import program_place
from .triton_tiles import backward_candidates, launch_key, run_tuned, split_keys


@triton.jit
def load_queries(
    q,
    out,
    grad_out,
    lse,
    q_strides,
    out_strides,
    grad_out_strides,
    clip,
    head,
    query,
    inside,
    num_queries,
    num_heads,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """What the gradients of a block of queries need: q, grad_out, the log-sum-exp and delta."""
    b_q = load_rows(q, clip, head, query, inside, q_strides, HEAD_DIM, BLOCK_D)
    b_out = load_rows(out, clip, head, query, inside, out_strides, HEAD_DIM, BLOCK_D)
    b_grad_out = load_rows(grad_out, clip, head, query, inside, grad_out_strides, HEAD_DIM, BLOCK_D)
    place = (clip * num_queries + query) * num_heads + head
    b_lse = tl.load(lse + place, mask=inside, other=0.0)
    # A row without any key: finite, so that all its weights are zero.
    b_lse = tl.where(b_lse == float("-inf"), 0.0, b_lse)
    delta = tl.sum(b_out.to(tl.float32) * b_grad_out.to(tl.float32), 1)
    return b_q, b_grad_out, b_lse, delta


@triton.jit(do_not_specialize=OPEN_SIZES)
def query_kernel(
    q,
    k,
    v,
    words,
    strips,
    bias,
    bias_scale,
    out,
    grad_out,
    lse,
    grad_q,
    q_strides,
    k_strides,
    v_strides,
    bias_strides,
    out_strides,
    grad_out_strides,
    grad_q_strides,
    scale,
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
    b_q, b_grad_out, b_lse, delta = load_queries(
        q, out, grad_out, lse, q_strides, out_strides, grad_out_strides, clip, head, query, inside,
        num_queries, num_heads, HEAD_DIM, BLOCK_D,
    )  # fmt: skip
    b_grad_q = tl.zeros([BLOCK_Q, BLOCK_D], dtype=tl.float32)

    first = split * keys_per_split
    for start in range(first, min(first + keys_per_split, num_keys), BLOCK_N):
        keep, some = load_keep(
            words, clip, query, inside, opened, start, num_queries, num_keys, BLOCK_N, DOWN
        )  # [BLOCK_Q, BLOCK_N]
        if some:
            key = start + tl.arange(0, BLOCK_N)
            b_k = load_rows(k, clip, head, key, key < num_keys, k_strides, HEAD_DIM, BLOCK_D)
            b_v = load_rows(v, clip, head, key, key < num_keys, v_strides, HEAD_DIM, BLOCK_D)
            scores = masked_scores(
                b_q, b_k, keep, scale * log2_e, bias, bias_scale, bias_strides, clip, head, query,
                key, log2_e, DOWN,
            )  # fmt: skip
            weights = tl.exp2(scores - b_lse[:, None])
            grad_weights = product(b_grad_out, tl.trans(b_v))
            grad_scores = weights * (grad_weights - delta[:, None])  # pyright: ignore
            b_grad_q = add_product(b_grad_q, grad_scores.to(b_k.dtype), b_k)

    store_rows(
        grad_q, b_grad_q * scale, clip * num_splits + split, head, query, inside, grad_q_strides,
        HEAD_DIM, BLOCK_D,
    )  # fmt: skip


@triton.jit(do_not_specialize=OPEN_SIZES)
def key_kernel(
    q,
    k,
    v,
    words,
    strips,
    bias,
    bias_scale,
    out,
    grad_out,
    lse,
    grad_k,
    grad_v,
    q_strides,
    k_strides,
    v_strides,
    bias_strides,
    out_strides,
    grad_out_strides,
    grad_k_strides,
    grad_v_strides,
    scale,
    log2_e,
    num_queries,
    num_keys,
    num_strips,
    num_heads,
    num_blocks,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    clip, head, block, _ = program_place(num_heads, num_blocks, 1)
    start = block * BLOCK_N
    key = start + tl.arange(0, BLOCK_N)
    there = key < num_keys
    b_k = load_rows(k, clip, head, key, there, k_strides, HEAD_DIM, BLOCK_D)
    b_v = load_rows(v, clip, head, key, there, v_strides, HEAD_DIM, BLOCK_D)
    b_grad_k = tl.zeros([BLOCK_N, BLOCK_D], dtype=tl.float32)
    b_grad_v = tl.zeros([BLOCK_N, BLOCK_D], dtype=tl.float32)

    for first in range(0, num_queries, BLOCK_Q):
        query = first + tl.arange(0, BLOCK_Q)
        inside = query < num_queries
        opened = is_open(strips, clip, query, inside, num_queries, num_strips)
        keep, some = load_keep(
            words, clip, query, inside, opened, start, num_queries, num_keys, BLOCK_N, ACROSS
        )  # [BLOCK_N, BLOCK_Q]
        if some:
            b_q, b_grad_out, b_lse, delta = load_queries(
                q, out, grad_out, lse, q_strides, out_strides, grad_out_strides, clip, head, query,
                inside, num_queries, num_heads, HEAD_DIM, BLOCK_D,
            )  # fmt: skip
            scores = masked_scores(
                b_q, b_k, keep, scale * log2_e, bias, bias_scale, bias_strides, clip, head, query,
                key, log2_e, ACROSS,
            )  # fmt: skip
            weights = tl.exp2(scores - b_lse[None, :])
            b_grad_v = add_product(b_grad_v, weights.to(b_grad_out.dtype), b_grad_out)
            grad_weights = product(b_v, tl.trans(b_grad_out))
            grad_scores = weights * (grad_weights - delta[None, :])  # pyright: ignore
            b_grad_k = add_product(b_grad_k, grad_scores.to(b_q.dtype), b_q)

    store_rows(grad_k, b_grad_k * scale, clip, head, key, there, grad_k_strides, HEAD_DIM, BLOCK_D)
    store_rows(grad_v, b_grad_v, clip, head, key, there, grad_v_strides, HEAD_DIM, BLOCK_D)


@triton.jit(do_not_specialize=[*OPEN_SIZES, "num_tiles"])
def bias_kernel(
    q,
    k,
    v,
    words,
    strips,
    bias,
    bias_scale,
    out,
    grad_out,
    lse,
    grad_bias,
    part_grad_scale,
    q_strides,
    k_strides,
    v_strides,
    bias_strides,
    out_strides,
    grad_out_strides,
    grad_bias_strides,
    scale,
    log2_e,
    num_queries,
    num_keys,
    num_strips,
    num_heads,
    num_blocks,
    num_tiles,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    # One program for all heads: they add up to one gradient.
    clip, block, number, _ = program_place(num_blocks, num_tiles, 1)
    query = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
    inside = query < num_queries
    opened = is_open(strips, clip, query, inside, num_queries, num_strips)
    start = number * BLOCK_N
    key = start + tl.arange(0, BLOCK_N)
    there = key < num_keys
    keep, some = load_keep(
        words, clip, query, inside, opened, start, num_queries, num_keys, BLOCK_N, DOWN
    )  # [BLOCK_Q, BLOCK_N]
    b_bias = load_bias(bias, clip, query, key, keep, bias_strides, DOWN)
    b_grad_bias = tl.zeros([BLOCK_Q, BLOCK_N], dtype=tl.float32)
    parts = part_grad_scale + tl.program_id(0).to(tl.int64) * num_heads
    for head in range(num_heads):
        grad_factor = 0.0
        if some:
            b_q, b_grad_out, b_lse, delta = load_queries(
                q, out, grad_out, lse, q_strides, out_strides, grad_out_strides, clip, head, query,
                inside, num_queries, num_heads, HEAD_DIM, BLOCK_D,
            )  # fmt: skip
            b_k = load_rows(k, clip, head, key, there, k_strides, HEAD_DIM, BLOCK_D)
            b_v = load_rows(v, clip, head, key, there, v_strides, HEAD_DIM, BLOCK_D)
            scores = masked_scores(
                b_q, b_k, keep, scale * log2_e, bias, bias_scale, bias_strides, clip, head, query,
                key, log2_e, DOWN,
            )  # fmt: skip
            weights = tl.exp2(scores - b_lse[:, None])
            grad_weights = product(b_grad_out, tl.trans(b_v))
            grad_scores = weights * (grad_weights - delta[:, None])  # pyright: ignore
            b_grad_bias += grad_scores * tl.load(bias_scale + head).to(tl.float32)
            grad_factor = tl.sum(tl.sum(grad_scores * b_bias, 1), 0)
        tl.store(parts + head, grad_factor)
    pointers = bias_pointers(grad_bias, clip, query, key, grad_bias_strides, DOWN)
    b_grad_bias = b_grad_bias.to(grad_bias.dtype.element_ty)
    tl.store(pointers, b_grad_bias, mask=inside[:, None] & there[None, :])


def backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    packed: tuple[Tensor, Tensor] | None,
    bias: Tensor | None,
    bias_scale: Tensor | None,
    out: Tensor,
    lse: Tensor,
    scale: float,
    needs: Sequence[bool],
) -> list[Tensor | None]:
    """The gradients of q, k, v, bias and bias_scale that ``needs`` asks for.

    Arguments as in ``triton_forward.forward``. Partial sums over splits and tiles are added in
    PyTorch, in a fixed order.
    """
    tensors = (q, k, v, *(packed or (None, None)), bias, bias_scale, out, grad_out, lse)
    layouts = strides(q, k, v, bias, out, grad_out)
    batch, queries, heads, dim = q.shape
    num_keys = k.shape[1]
    settings = {
        "scale": scale,
        "log2_e": LOG2_E,
        "num_queries": queries,
        "num_keys": num_keys,
        "num_strips": 0 if packed is None else packed[1].shape[2],
        "num_heads": heads,
        "HEAD_DIM": dim,
        "BLOCK_D": padded_head(dim),
    }
    grads: list[Tensor | None] = [None] * 5
    key = launch_key(q, num_keys)
    choices = backward_candidates(q)
    if needs[0]:

        def of_queries(config: Config) -> None:
            split = split_keys(q, num_keys, config)
            blocks = triton.cdiv(queries, config["BLOCK_Q"])
            parts = q.new_empty((batch * split.shares, *q.shape[1:]), dtype=torch.float32)
            numbers = {"num_blocks": blocks, "num_splits": split.shares}
            numbers["keys_per_split"] = split.keys
            grid = (batch * heads * blocks * split.shares,)
            arguments = (*tensors, parts, *layouts, parts.stride())
            launch(query_kernel, q, grid, *arguments, **settings, **numbers, **config)
            grads[0] = parts.unflatten(0, (batch, split.shares)).sum(1).to(q.dtype)

        run_tuned("query", key, queries, choices, of_queries)
    if needs[1] or needs[2]:

        def of_keys(config: Config) -> None:
            # Both come out of one pass: both or neither.
            both = q.new_empty(k.shape), q.new_empty(v.shape)
            tiles = triton.cdiv(num_keys, config["BLOCK_N"])
            grid = (batch * heads * tiles,)
            arguments = (*tensors, *both, *layouts, *strides(*both))
            launch(key_kernel, q, grid, *arguments, **settings, num_blocks=tiles, **config)
            grads[1:3] = both

        run_tuned("key", key, queries, choices, of_keys)
    if bias is not None and bias_scale is not None and (needs[3] or needs[4]):

        def of_bias(config: Config) -> None:
            blocks = triton.cdiv(queries, config["BLOCK_Q"])
            tiles = triton.cdiv(num_keys, config["BLOCK_N"])
            grad_bias = bias.new_empty(bias.shape)
            parts = lse.new_empty((batch * tiles * blocks, heads))
            arguments = (*tensors, grad_bias, parts, *layouts, grad_bias.stride())
            numbers = {"num_blocks": blocks, "num_tiles": tiles}
            launch(bias_kernel, q, (parts.shape[0],), *arguments, **settings, **numbers, **config)
            grads[3:] = grad_bias, parts.sum(0).to(bias_scale.dtype)

        run_tuned("bias", key, queries, choices, of_bias)
    return [grad if needed else None for grad, needed in zip(grads, needs, strict=True)]
