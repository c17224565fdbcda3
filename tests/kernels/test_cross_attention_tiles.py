"""The launch configurations of masked and ragged cross-attention."""

from __future__ import annotations

import importlib

import pytest
import torch

pytest.importorskip("triton")

from segblocks_kernels._tuning import MAX_CANDIDATES, LaunchKey, launch_config
from segblocks_kernels.masked_cross_attention import triton_tiles as masked
from segblocks_kernels.ragged_cross_attention import triton_tiles as ragged
from tests.kernels import ragged_cases
from tests.kernels import test_masked_cross_attention_triton as masked_cases

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
DIMS = (1, 16, 24, 32, 64, 128, 256)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", ["forward", "query", "key", "bias"])
def test_masked_attention_has_a_default_and_few_candidates(kernel, dtype):
    for dim in DIMS:
        q = torch.empty(2, 5, 8, dim, dtype=dtype)
        choose = masked.forward_candidates if kernel == "forward" else masked.backward_candidates
        found = choose(q)
        assert 1 < len(found) <= MAX_CANDIDATES
        key = masked.launch_key(q, 100)
        default = launch_config(f"masked_cross_attention.{kernel}", key, found)
        for config in (default, *found):
            assert set(config) == {"BLOCK_Q", "BLOCK_N", "num_warps", "num_stages"}
            assert config["BLOCK_Q"] >= 16
            assert config["BLOCK_N"] % 32 == 0  # words of the mask


@pytest.mark.parametrize("dtype", [torch.bool, torch.float64, *DTYPES])
def test_packing_has_a_default_and_few_candidates(dtype):
    features = torch.empty(1, 5, 256, dtype=dtype)
    for kernel, found in (
        ("pack", masked.pack_candidates()),
        ("pack_product", masked.pack_product_candidates(features)),
    ):
        assert 1 < len(found) <= MAX_CANDIDATES
        key = LaunchKey.of(features, head_dim=256, work=1)
        default = launch_config(f"masked_cross_attention.{kernel}", key, found)
        assert all(set(config) == set(default) for config in found)


@pytest.mark.parametrize("num_queries", [1, 16, 17, 100, 300])
def test_blocks_of_queries_are_cut_to_what_there_is(num_queries):
    config = {"BLOCK_Q": 128, "BLOCK_N": 64, "num_warps": 8, "num_stages": 2}
    fitted = masked.fit(config, num_queries)
    assert 16 <= fitted["BLOCK_Q"] <= 128
    assert fitted["BLOCK_Q"] >= min(num_queries, 128)
    assert fitted["BLOCK_Q"] == 128 or fitted["BLOCK_Q"] < 2 * max(num_queries, 16)


@pytest.mark.parametrize("dim", DIMS)
def test_keys_are_shared_without_a_rest(dim):
    q = torch.empty(1, 100, 2, dim)
    for config in masked.forward_candidates(q):
        for num_keys in (1, 300, 5377):
            split = masked.split_keys(q, num_keys, config)
            assert split.keys % config["BLOCK_N"] == 0
            assert (split.shares - 1) * split.keys < num_keys <= split.shares * split.keys


@pytest.mark.parametrize("kernel", ["forward", "query", "key", "merge", "sum"])
def test_ragged_attention_has_a_default_and_few_candidates(kernel):
    spans = kernel in ("forward", "query")
    found = ragged.span_candidates() if spans else ragged.key_candidates()
    assert len(found) <= MAX_CANDIDATES
    for edges in (0, 1, 20_800, 140_000, 326_144, 10**9):
        for heads, dim in ((8, 32), (1, 1), (3, 256), (2, 4096)):
            q = torch.empty(1, heads, dim)
            key = LaunchKey.of(q, head_dim=dim, work=edges)
            default = launch_config(f"ragged_cross_attention.{kernel}", key, found)
            for config in (default, *found):
                assert ("SPAN" in config) is spans
                blocks = ragged.blocks(config, q)
                assert blocks["BLOCK_M"] <= 2 * heads
                assert blocks["BLOCK_D"] >= dim
                assert blocks["BLOCK_E"] >= 1


def test_spans_grow_with_the_edges():
    q = torch.empty(1, 8, 32)
    for edges, span in ((20_800, 32), (140_000, 64), (326_144, 128), (10**6, 256)):
        key = LaunchKey.of(q, head_dim=32, work=edges)
        assert launch_config("ragged_cross_attention.forward", key)["SPAN"] == span


@pytest.mark.parametrize("device", masked_cases.DEVICES)
def test_other_tiles_agree_in_masked_attention(device, monkeypatch):
    monkeypatch.setattr(masked, "MIN_KEYS_PER_SPLIT", 32)
    tile = {"BLOCK_Q": 16, "BLOCK_N": 64, "num_warps": 4, "num_stages": 2}

    def other(op, *_):
        if op.endswith(".merge"):
            return {"BLOCK_ROWS": 4, "num_warps": 1, "num_stages": 2}
        if op.endswith(".pack"):
            return {"BLOCK_Q": 4, "BLOCK_WORDS": 8, "num_warps": 4, "num_stages": 2}
        return tile

    for name in ("triton_tiles", "triton_forward"):
        monkeypatch.setattr(masked_cases.module(name), "launch_config", other)
    case = masked_cases.Case(queries=17, keys=97, heads=1, dim=16, soft=True)
    masked_cases.assert_equals_reference(case, torch.float32, 3e-6, device)


@pytest.mark.parametrize("device", ragged_cases.TRITON_DEVICES)
def test_other_tiles_agree_in_ragged_attention(device, monkeypatch):
    tiles = importlib.import_module("segblocks_kernels.ragged_cross_attention.triton_tiles")
    inputs = ragged_cases.make([9, 0, 4], dtype=torch.float32, device=device)
    want = ragged_cases.with_grads(inputs.exact(), "reference")
    config = {"ROW": 8, "TILE": 64, "SPAN": 8, "num_warps": 2}
    monkeypatch.setattr(tiles, "launch_config", lambda *_: config)
    ragged_cases.assert_close(ragged_cases.with_grads(inputs, "triton"), want, 2e-6)
