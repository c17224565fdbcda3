"""Pack a mask: 32 keys a word, and for each strip of a row whether it has any key."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._triton_product import add_product
from .._tuning import Config, LaunchKey
from .op import WORD, words_per_strip
from .triton_common import OPEN_SIZES, launch
from .triton_tiles import pack_candidates, pack_product_candidates, run_tuned

_WORD = tl.constexpr(WORD)


@triton.jit
def program_place(num_blocks, num_strips):
    """Clip (int64), strip and block of queries; blocks run fastest and share their features."""
    program = tl.program_id(0)
    block = program % num_blocks
    program = program // num_blocks
    return (program // num_strips).to(tl.int64), program % num_strips, block


@triton.jit
def store_words(words, keep, row, word, present):
    """Write bits (rows, words, 32) as words; whether each row has any of them."""
    packed = tl.sum(keep.to(tl.int32) << tl.arange(0, _WORD)[None, None, :], 2)
    tl.store(words + row[:, None] + word[None, :], packed, mask=present)
    return tl.max((packed != 0).to(tl.int32), 1)  # pyright: ignore


@triton.jit(do_not_specialize=OPEN_SIZES)
def pack_kernel(
    mask,
    words,
    strips,
    mask_strides,
    num_blocks,
    num_queries,
    num_keys,
    num_strips,
    words_per_strip,
    BLOCK_Q: tl.constexpr,
    BLOCK_WORDS: tl.constexpr,
):
    clip, strip, block = program_place(num_blocks, num_strips)
    query = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
    inside = query < num_queries
    row = clip * num_queries + query
    num_words = (num_keys + _WORD - 1) // _WORD
    lane = tl.arange(0, _WORD)
    mask += clip * mask_strides[0]

    some = tl.zeros([BLOCK_Q], dtype=tl.int32)
    for start in range(0, words_per_strip, BLOCK_WORDS):
        local = start + tl.arange(0, BLOCK_WORDS)
        word = strip * words_per_strip + local
        present = inside[:, None] & ((local < words_per_strip) & (word < num_words))[None, :]
        key = word[:, None] * _WORD + lane[None, :]  # [BLOCK_WORDS, 32]
        there = present[:, :, None] & (key < num_keys)[None, :, :]
        pointers = mask + (
            query.to(tl.int64)[:, None, None] * mask_strides[1]
            + key.to(tl.int64)[None, :, :] * mask_strides[2]
        )
        values = tl.load(pointers, mask=there, other=0)
        if values.dtype == tl.int1:
            keep = there & values
        elif values.dtype.primitive_bitwidth < 32:
            keep = there & (values.to(tl.float32) >= 0)
        else:
            keep = there & (values >= 0)
        some = tl.maximum(some, store_words(words, keep, row * num_words, word, present))
    tl.store(strips + row * num_strips + strip, some.to(tl.int8), mask=inside)


@triton.jit(do_not_specialize=OPEN_SIZES)
def pack_product_kernel(
    embeddings,
    features,
    words,
    strips,
    embeddings_strides,
    features_strides,
    num_blocks,
    num_queries,
    num_keys,
    num_strips,
    words_per_strip,
    channels,
    BLOCK_Q: tl.constexpr,
    BLOCK_WORDS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    clip, strip, block = program_place(num_blocks, num_strips)
    query = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
    inside = query < num_queries
    row = clip * num_queries + query
    num_words = (num_keys + _WORD - 1) // _WORD
    embeddings += clip * embeddings_strides[0]
    features += clip * features_strides[0]
    query_offsets = query.to(tl.int64) * embeddings_strides[1]

    some = tl.zeros([BLOCK_Q], dtype=tl.int32)
    for start in range(0, words_per_strip, BLOCK_WORDS):
        key = (strip * words_per_strip + start) * _WORD + tl.arange(0, BLOCK_WORDS * _WORD)
        key_offsets = key.to(tl.int64) * features_strides[1]
        logits = tl.zeros([BLOCK_Q, BLOCK_WORDS * _WORD], dtype=tl.float32)
        for first in range(0, channels, BLOCK_C):
            c = (first + tl.arange(0, BLOCK_C)).to(tl.int64)
            b_embeddings = tl.load(
                embeddings + query_offsets[:, None] + c[None, :] * embeddings_strides[2],
                mask=inside[:, None] & (c < channels)[None, :],
                other=0.0,
            )
            b_features = tl.load(
                features + key_offsets[:, None] + c[None, :] * features_strides[2],
                mask=(key < num_keys)[:, None] & (c < channels)[None, :],
                other=0.0,
            )
            logits = add_product(logits, b_embeddings, tl.trans(b_features))
        keep = (logits >= 0) & (key < num_keys)[None, :]
        local = start + tl.arange(0, BLOCK_WORDS)
        word = strip * words_per_strip + local
        present = (local < words_per_strip) & (word < num_words)
        # Words of the next strip are that strip's.
        keep = tl.reshape(keep.to(tl.int32), [BLOCK_Q, BLOCK_WORDS, _WORD])
        keep = tl.where(present[None, :, None], keep, 0)
        present = inside[:, None] & present[None, :]
        some = tl.maximum(some, store_words(words, keep, row * num_words, word, present))
    tl.store(strips + row * num_strips + strip, some.to(tl.int8), mask=inside)


def pack(mask: Tensor, features: Tensor | None, words: Tensor, strips: Tensor) -> None:
    """Pack a mask in one launch.

    Args:
        mask: bool or logits (B, Q, N), or with ``features`` embeddings (B, Q, C).
        features: (B, N, C), or None.
        words: int32 (B, Q, ceil(N / 32)), written: bit i of word w is key 32 w + i.
        strips: int8 (B, Q, strips), written: whether a strip of ``words_per_strip`` words has any
            bit. A query without any attends everywhere.
    """
    if features is not None and features.dtype == torch.float64:
        mask, features = mask @ features.mT, None
    batch, queries, num_words = words.shape
    num_strips = strips.shape[2]
    num_keys = mask.shape[2] if features is None else features.shape[1]
    sizes = {
        "num_queries": queries,
        "num_keys": num_keys,
        "num_strips": num_strips,
        "words_per_strip": words_per_strip(num_words),
    }
    kernel: Any = pack_kernel
    tensors = (mask, words, strips, mask.stride())
    if features is not None:
        kernel = pack_product_kernel
        tensors = (mask, features, words, strips, mask.stride(), features.stride())
        sizes["channels"] = features.shape[2]

    def run(config: Config) -> None:
        num_blocks = triton.cdiv(queries, config["BLOCK_Q"])
        grid = (batch * num_strips * num_blocks,)
        launch(kernel, words, grid, *tensors, num_blocks=num_blocks, **sizes, **config)

    work = batch * queries * num_keys
    if features is None:
        key = LaunchKey.of(mask, head_dim=1, work=work)
        run_tuned("pack", key, queries, pack_candidates(), run)
    else:
        key = LaunchKey.of(mask, head_dim=mask.shape[2], work=work)
        run_tuned("pack_product", key, queries, pack_product_candidates(features), run)
