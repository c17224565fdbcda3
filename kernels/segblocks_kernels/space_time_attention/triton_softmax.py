"""The softmax of space-time attention over one tile of keys after the other, in base 2."""

from __future__ import annotations

import math

import triton
import triton.language as tl

from .._triton_product import add_product, product
from .triton_cells import store_rows, token_offsets

LOG2_E = math.log2(math.e)
LN_2 = tl.constexpr(math.log(2.0))


@triton.jit
def attend(peak, total, b_out, b_q, b_keys, b_v, key_inside, scale_log2):
    """One step of the online softmax, with keys (BLOCK_D, VISIT).

    The scale is positive, so that the peak of the scores is theirs after scaling as well.
    """
    scores = product(b_q, b_keys)  # [OWN, VISIT]
    scores = tl.where(key_inside[None, :], scores, float("-inf"))
    # Slot 0 always holds a token, so the peak is finite from the first step on.
    new_peak = tl.maximum(peak, tl.max(scores, 1) * scale_log2)
    weights = tl.exp2(tl.fma(scores, scale_log2, -new_peak[:, None]))
    shrink = tl.exp2(peak - new_peak)
    total = total * shrink + tl.sum(weights, 1)
    b_out = add_product(b_out * shrink[:, None], weights.to(b_v.dtype), b_v)
    return new_peak, total, b_out


@triton.jit
def store_attended(
    out,
    lse,
    peak,
    total,
    b_out,
    frame,
    row,
    inside,
    out_strides,
    clip,
    head,
    num_frames,
    num_tokens,
    num_heads,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Divide by the sum of the weights and write output and log-sum-exp."""
    store_rows(
        out, b_out / total[:, None], token_offsets(frame, row, out_strides), inside, out_strides,
        HEAD_DIM, BLOCK_D,
    )  # fmt: skip
    token = (clip * num_frames + frame) * num_tokens + row
    tl.store(lse + token * num_heads + head, (peak + tl.log2(total)) * LN_2, inside)
