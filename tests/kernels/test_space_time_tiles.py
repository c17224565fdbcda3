from __future__ import annotations

import importlib

import pytest
import torch

pytest.importorskip("triton")

from segblocks_kernels import _tuning
from segblocks_kernels._tuning import LaunchKey, launch_config
from segblocks_kernels.space_time_attention import triton_tiles
from tests.kernels.space_time_cases import DEVICES, Case, call, error_ratio, make_qkv, with_grads

DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def choices(kernel: str, x: torch.Tensor) -> list[dict[str, int]]:
    if kernel in ("query", "key"):
        return triton_tiles.backward_candidates(x)
    return triton_tiles.forward_candidates(x, resident=kernel == "resident")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", ["forward", "resident", "query", "key"])
def test_every_call_has_a_default_and_few_candidates(kernel, dtype):
    for dim in (1, 16, 24, 32, 64, 128, 256):
        x = torch.empty(1, 1, 1, 1, dim, dtype=dtype)
        if kernel == "resident" and not triton_tiles.is_resident(x, 84):
            continue
        found = choices(kernel, x)
        assert len(found) <= _tuning.MAX_CANDIDATES
        key = LaunchKey.of(x, head_dim=dim, work=10**9)
        config = launch_config(f"space_time_attention.{kernel}", key, found)
        for one in (config, *found):
            assert min(one["OWN"], one["VISIT"]) >= 16
            assert set(one) == {"OWN", "VISIT", "num_warps", "num_stages"}


@pytest.mark.parametrize("num_slots", [1, 15, 16, 17, 84, 5000])
def test_tiles_are_cut_to_the_cell(num_slots):
    config = {"OWN": 128, "VISIT": 64, "num_warps": 8, "num_stages": 2}
    fitted = triton_tiles.fit(config, num_slots)
    for name in ("OWN", "VISIT"):
        assert 16 <= fitted[name] <= config[name]
        assert fitted[name] == config[name] or fitted[name] < 2 * max(num_slots, 16)


def test_small_cells_of_half_types_are_resident():
    x = torch.empty(1, 1, 1, 1, 32, dtype=torch.bfloat16)
    assert triton_tiles.is_resident(x, 252)  # three frames of TarViS
    assert not triton_tiles.is_resident(x, 257)
    assert not triton_tiles.is_resident(x.float(), 252)
    assert not triton_tiles.is_resident(torch.cat([x, x, x], -1), 252)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("resident", [True, False])
def test_candidates_agree(resident, device, monkeypatch):
    """Four tiles of a resident cell, whole and cut, and the same cell streamed."""
    case = Case(1, 9, [(2, 3), (4, 5)], [2, 4], 1, 16)
    forward = importlib.import_module("segblocks_kernels.space_time_attention.triton_forward")
    monkeypatch.setattr(forward, "is_resident", lambda x, num_slots: resident)
    qkv = make_qkv(case, "packed", torch.float16, device)
    want = call(case, [x.double() for x in qkv], backend="reference")
    found = triton_tiles.forward_candidates(qkv[0], resident=resident)
    tiles = {(config["OWN"], config["VISIT"]): config for config in found}
    for config in tiles.values():
        monkeypatch.setattr(triton_tiles, "launch_config", lambda *_, config=config: config)
        assert error_ratio(call(case, qkv, backend="triton"), want) < 2e-3


@pytest.mark.parametrize("device", DEVICES)
def test_candidates_agree_backward(device, monkeypatch):
    case = Case(1, 5, [(3, 4)], [4], 1, 16)
    qkv = make_qkv(case, "packed", torch.float32, device)
    weight = torch.randn_like(qkv[0])
    want = with_grads(case, qkv, weight, backend="reference")
    found = triton_tiles.backward_candidates(qkv[0])
    tiles = {(config["OWN"], config["VISIT"]): config for config in found}
    assert len(tiles) > 1
    for config in tiles.values():
        monkeypatch.setattr(triton_tiles, "launch_config", lambda *_, config=config: config)
        got = with_grads(case, qkv, weight, backend="triton")
        assert all(error_ratio(a, b) < 2e-6 for a, b in zip(got, want, strict=True))
