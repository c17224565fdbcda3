"""Backward of space-time attention: two passes, each program owning what it writes, no atomics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._triton_product import add_product, product
from .._tuning import Config
from .cells import Cells
from .triton_cells import (
    OPEN_SIZES,
    allocate,
    broadcast,
    cell_rows,
    kernel_arguments,
    launch,
    load_placed,
    load_rows,
    program_place,
    store_rows,
    strides,
    token_offsets,
)
from .triton_softmax import LOG2_E
from .triton_tiles import backward_candidates, run_tuned


@triton.jit(do_not_specialize=OPEN_SIZES)
def query_kernel(
    q,
    k,
    v,
    q_position,
    k_position,
    out,
    grad_out,
    grad_q,
    lse,
    delta,
    q_strides,
    k_strides,
    v_strides,
    q_position_strides,
    k_position_strides,
    out_strides,
    grad_out_strides,
    grad_q_strides,
    scale,
    log2_e,
    num_blocks,
    num_slots,
    num_frames,
    num_tokens,
    num_heads,
    grid_rows,
    grid_columns,
    starts,
    heights,
    widths,
    CELL_SIZES: tl.constexpr,
    SLOTS_PER_FRAME: tl.constexpr,
    RAGGED: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PLACED: tl.constexpr,
    OWN: tl.constexpr,
    VISIT: tl.constexpr,
    WANTED: tl.constexpr,
):
    clip, head, cell_row, cell_column, block = program_place(
        num_blocks, num_heads, grid_rows, grid_columns
    )
    q += clip * q_strides[0] + head * q_strides[3]
    k += clip * k_strides[0] + head * k_strides[3]
    v += clip * v_strides[0] + head * v_strides[3]
    q_position += head * q_position_strides[3]
    k_position += head * k_position_strides[3]
    out += clip * out_strides[0] + head * out_strides[3]
    grad_out += clip * grad_out_strides[0] + head * grad_out_strides[3]

    frame, row, inside = cell_rows(
        block * OWN + tl.arange(0, OWN), cell_row, cell_column, num_slots,
        starts, heights, widths, CELL_SIZES, SLOTS_PER_FRAME, RAGGED,
    )  # fmt: skip
    b_q = load_placed(
        q, q_position, frame, row, inside, q_strides, q_position_strides,
        HEAD_DIM, BLOCK_D, PLACED,
    )  # fmt: skip
    b_out = load_rows(
        out, token_offsets(frame, row, out_strides), inside, out_strides, HEAD_DIM, BLOCK_D
    )
    b_grad_out = load_rows(
        grad_out, token_offsets(frame, row, grad_out_strides), inside, grad_out_strides,
        HEAD_DIM, BLOCK_D,
    )  # fmt: skip
    place = ((clip * num_frames + frame) * num_tokens + row) * num_heads + head
    b_lse = tl.load(lse + place, mask=inside, other=0.0) * log2_e
    b_delta = tl.sum(b_out.to(tl.float32) * b_grad_out.to(tl.float32), 1)
    tl.store(delta + place, b_delta, mask=inside)

    # The other pass needs delta, whoever wants this gradient.
    if WANTED:
        b_grad_q = tl.zeros([OWN, BLOCK_D], dtype=tl.float32)
        for start in range(0, num_slots, VISIT):
            key_frame, key_row, key_inside = cell_rows(
                start + tl.arange(0, VISIT), cell_row, cell_column, num_slots,
                starts, heights, widths, CELL_SIZES, SLOTS_PER_FRAME, RAGGED,
            )  # fmt: skip
            b_k = load_placed(
                k, k_position, key_frame, key_row, key_inside, k_strides, k_position_strides,
                HEAD_DIM, BLOCK_D, PLACED,
            )  # fmt: skip
            b_v = load_rows(
                v, token_offsets(key_frame, key_row, v_strides), key_inside, v_strides,
                HEAD_DIM, BLOCK_D,
            )  # fmt: skip
            scores = product(b_q, tl.trans(b_k))  # [OWN, VISIT]
            scores = tl.where(key_inside[None, :], scores, float("-inf"))
            weights = tl.exp2(tl.fma(scores, scale * log2_e, -b_lse[:, None]))
            grad_weights = product(b_grad_out, tl.trans(b_v))
            grad_scores = weights * (grad_weights - b_delta[:, None])  # pyright: ignore
            b_grad_q = add_product(b_grad_q, grad_scores.to(b_k.dtype), b_k)

        grad_q += clip * grad_q_strides[0] + head * grad_q_strides[3]
        store_rows(
            grad_q, b_grad_q * scale, token_offsets(frame, row, grad_q_strides), inside,
            grad_q_strides, HEAD_DIM, BLOCK_D,
        )  # fmt: skip


@triton.jit(do_not_specialize=OPEN_SIZES)
def key_kernel(
    q,
    k,
    v,
    q_position,
    k_position,
    grad_out,
    grad_k,
    grad_v,
    lse,
    delta,
    q_strides,
    k_strides,
    v_strides,
    q_position_strides,
    k_position_strides,
    grad_out_strides,
    grad_k_strides,
    grad_v_strides,
    scale,
    log2_e,
    num_blocks,
    num_slots,
    num_frames,
    num_tokens,
    num_heads,
    grid_rows,
    grid_columns,
    starts,
    heights,
    widths,
    CELL_SIZES: tl.constexpr,
    SLOTS_PER_FRAME: tl.constexpr,
    RAGGED: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PLACED: tl.constexpr,
    OWN: tl.constexpr,
    VISIT: tl.constexpr,
):
    clip, head, cell_row, cell_column, block = program_place(
        num_blocks, num_heads, grid_rows, grid_columns
    )
    q += clip * q_strides[0] + head * q_strides[3]
    k += clip * k_strides[0] + head * k_strides[3]
    v += clip * v_strides[0] + head * v_strides[3]
    q_position += head * q_position_strides[3]
    k_position += head * k_position_strides[3]
    grad_out += clip * grad_out_strides[0] + head * grad_out_strides[3]
    grad_k += clip * grad_k_strides[0] + head * grad_k_strides[3]
    grad_v += clip * grad_v_strides[0] + head * grad_v_strides[3]

    frame, row, inside = cell_rows(
        block * OWN + tl.arange(0, OWN), cell_row, cell_column, num_slots,
        starts, heights, widths, CELL_SIZES, SLOTS_PER_FRAME, RAGGED,
    )  # fmt: skip
    b_k = load_placed(
        k, k_position, frame, row, inside, k_strides, k_position_strides,
        HEAD_DIM, BLOCK_D, PLACED,
    )  # fmt: skip
    b_v = load_rows(v, token_offsets(frame, row, v_strides), inside, v_strides, HEAD_DIM, BLOCK_D)
    b_grad_k = tl.zeros([OWN, BLOCK_D], dtype=tl.float32)
    b_grad_v = tl.zeros([OWN, BLOCK_D], dtype=tl.float32)

    for start in range(0, num_slots, VISIT):
        query_frame, query_row, query_inside = cell_rows(
            start + tl.arange(0, VISIT), cell_row, cell_column, num_slots,
            starts, heights, widths, CELL_SIZES, SLOTS_PER_FRAME, RAGGED,
        )  # fmt: skip
        b_q = load_placed(
            q, q_position, query_frame, query_row, query_inside, q_strides, q_position_strides,
            HEAD_DIM, BLOCK_D, PLACED,
        )  # fmt: skip
        b_grad_out = load_rows(
            grad_out, token_offsets(query_frame, query_row, grad_out_strides), query_inside,
            grad_out_strides, HEAD_DIM, BLOCK_D,
        )  # fmt: skip
        place = ((clip * num_frames + query_frame) * num_tokens + query_row) * num_heads + head
        # Absent queries have q = grad_out = delta = lse = 0: weight 1, and no gradient.
        b_lse = tl.load(lse + place, mask=query_inside, other=0.0) * log2_e
        b_delta = tl.load(delta + place, mask=query_inside, other=0.0)
        scores = product(b_k, tl.trans(b_q))  # [OWN, VISIT]
        weights = tl.exp2(tl.fma(scores, scale * log2_e, -b_lse[None, :]))
        b_grad_v = add_product(b_grad_v, weights.to(b_grad_out.dtype), b_grad_out)
        grad_weights = product(b_v, tl.trans(b_grad_out))
        grad_scores = weights * (grad_weights - b_delta[None, :])
        b_grad_k = add_product(b_grad_k, grad_scores.to(b_q.dtype), b_q)

    store_rows(
        grad_k, b_grad_k * scale, token_offsets(frame, row, grad_k_strides), inside,
        grad_k_strides, HEAD_DIM, BLOCK_D,
    )  # fmt: skip
    store_rows(
        grad_v, b_grad_v, token_offsets(frame, row, grad_v_strides), inside,
        grad_v_strides, HEAD_DIM, BLOCK_D,
    )  # fmt: skip


def backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_position: Tensor | None,
    k_position: Tensor | None,
    out: Tensor,
    lse: Tensor,
    cells: Cells,
    scale: float,
    needs: Sequence[bool] = (True, True, True),
) -> list[Tensor | None]:
    """Launch both passes; the first leaves each row's sum of out * grad_out for the second.

    Returns:
        The gradients of q, k and v (B, T, N, M, D) that ``needs`` asks for; tokens of no cell get
        zeros.
    """
    grad_q = allocate(q.shape, q.dtype, q, cells) if needs[0] else None
    # Both come out of one pass: both or neither.
    others = [allocate(x.shape, x.dtype, x, cells) for x in (k, v) if needs[1] or needs[2]]
    delta = torch.empty_like(lse)
    sizes = kernel_arguments(q, cells, placed=q_position is not None)
    num_slots = sizes["num_slots"]
    sizes |= {"scale": scale, "log2_e": LOG2_E}
    inputs = (q, k, v, broadcast(q_position, q), broadcast(k_position, k))

    def run_pass(name: str, kernel: Any, tensors: tuple[Tensor, ...], **settings: bool) -> None:
        arguments = (*tensors, lse, delta, *strides(*tensors))

        def run(config: Config) -> None:
            blocks = triton.cdiv(num_slots, config["OWN"])
            launch(kernel, q, 1, *arguments, num_blocks=blocks, **sizes, **config, **settings)

        run_tuned(name, q, num_slots, backward_candidates(q), run)

    if needs[0] or needs[1]:
        written = q if grad_q is None else grad_q
        run_pass("query", query_kernel, (*inputs, out, grad_out, written), WANTED=needs[0])
    if others:
        run_pass("key", key_kernel, (*inputs, grad_out, *others))
    grads = grad_q, *(others or (None, None))
    return [grad if needed else None for grad, needed in zip(grads, needs, strict=True)]
