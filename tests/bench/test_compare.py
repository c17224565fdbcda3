"""The gate before the clock, and the contenders of every operation against float64."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks.bench import Contender, Problem, Setting, Suite, compare, parse_shape
from segblocks.bench.registry import OPS, get_suite
from segblocks.bench.shapes import CLIPS, Clip

CPU = torch.device("cpu")
SMALL = {
    "ms_deform_attn": "frames=2,height=40,width=70,heads=2,dim=4,points=2",
    "ms_deform_attn_fused": "frames=1,height=40,width=70,heads=2,dim=4,points=2",
    "space_time_attention": "frames=2,height=64,width=128,cell=1,heads=2,dim=8",
    "masked_cross_attention": "batch=2,queries=3,keys=21,heads=2,dim=8",
    "ragged_cross_attention": "background=2,background_points=30,objects=3,object_points=5,"
    "keys=40,heads=2,dim=8",
}
# A compiler a shape is too slow for a test; on a GPU the benchmark itself compares it.
COMPILED = ("flex", "gather_flex")


def doubling(*contenders: Contender, factor: float = 2.0, tolerance: float = 1e-3) -> Suite:
    def make(shape: Clip, setting: Setting) -> Problem:
        return Problem((torch.arange(1.0, 1.0 + shape.frames).to(setting.torch_dtype),), factor)

    return Suite(
        "doubling",
        CLIPS,
        small=("480p_T3",),
        make=make,
        oracle=lambda given, x: given * x,
        contenders=contenders,
        tolerance={"fp32": tolerance, "bf16": tolerance},
    )


def run(suite: Suite, direction: str = "fwd+bwd", dtype: str = "fp32") -> list[Any]:
    setting = Setting(CPU, dtype, direction)
    return compare(suite, "480p_T3", Clip(3), setting, suite.contenders, budget=1e-3)


def fail(given: float, x: Tensor) -> Tensor:
    raise RuntimeError("out of memory\nwith details")


def test_what_is_right_is_timed_and_the_rest_has_a_reason() -> None:
    rows = run(
        doubling(
            Contender("right", "", lambda given, x: x + x),
            Contender("off", "", lambda given, x: x * 2.01),
            Contender("nan", "", lambda given, x: x * float("nan")),
            Contender("failing", "", fail),
            Contender("absent", "", fail, lambda setting: f"not on {setting.device}"),
            Contender("also_right", "", lambda given, x: 2 * x),
        )
    )
    right, off, nan, failing, absent, also_right = rows
    assert right.taken is not None
    assert also_right.taken is not None
    assert right.error == 0.0
    assert right.sizes == {"frames": 3, "height": 480, "width": 864}
    assert off.error == pytest.approx(0.005, rel=1e-3)
    assert off.refused == "wrong: relative error 5.0e-03, allowed 1e-03"
    assert "relative error nan" in nan.refused
    assert failing.refused == "failed: out of memory"
    assert absent.refused == "not on cpu"
    assert all(row.taken is None for row in (off, nan, failing, absent))


def test_gradients_are_compared_too() -> None:
    def wrong_gradient(given: float, x: Tensor) -> Tensor:
        return given * x.detach() + 0 * x

    suite = doubling(Contender("wrong_gradient", "", wrong_gradient))
    assert run(suite, "fwd")[0].taken is not None
    [row] = run(suite, "fwd+bwd")
    assert row.error == 1.0
    assert row.taken is None


def test_the_oracle_has_more_digits() -> None:
    same = Contender("same", "", lambda given, x: given * x)
    [row] = run(doubling(same, factor=1 / 3, tolerance=1e-2), "fwd", "bf16")
    assert 1e-5 < row.error < 2**-8
    [row] = run(doubling(same, factor=1 / 3), "fwd", "fp32")
    assert row.error == 0.0


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("op", OPS)
def test_every_contender_computes_the_operation(op: str, dtype: str) -> None:
    suite = get_suite(op)
    name, shape = parse_shape(SMALL[op], suite.shapes)
    contenders = [c for c in suite.contenders if c.name not in COMPILED]
    rows = compare(suite, name, shape, Setting(CPU, dtype, "fwd+bwd"), contenders, budget=1e-3)
    assert len(rows) >= 4
    for row in rows:
        if row.contender in ("cuda_op", "xformers", "gather_xformers"):
            continue
        assert row.refused is None, row
        assert row.taken is not None


@pytest.mark.parametrize("op", ["space_time_attention", "masked_cross_attention"])
def test_xformers_is_called_as_it_wants(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def memory_efficient_attention(
        q: Tensor, k: Tensor, v: Tensor, attn_bias: Tensor | None = None
    ) -> Tensor:
        assert attn_bias is None or attn_bias.shape == (*q.shape[:1], q.shape[2], *_lengths(q, k))
        assert attn_bias is None or attn_bias.stride(-2) % 8 == 0
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=attn_bias).transpose(1, 2)

    _install(monkeypatch, memory_efficient_attention)
    _check_xformers(op)


def test_xformers_gets_packed_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    class BlockDiagonalMask:
        @staticmethod
        def from_seqlens(queries: list[int], keys: list[int]) -> Tensor:
            blocks = [torch.ones(q, k) for q, k in zip(queries, keys, strict=True)]
            return torch.block_diag(*blocks) > 0

    def memory_efficient_attention(
        q: Tensor, k: Tensor, v: Tensor, attn_bias: Tensor, scale: float
    ) -> Tensor:
        assert q.shape[-1] % 8 == k.shape[-1] % 8 == v.shape[-1] % 8 == 0
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_bias, scale=scale)
        return out.transpose(1, 2)

    _install(monkeypatch, memory_efficient_attention, BlockDiagonalMask)
    _check_xformers("ragged_cross_attention")


def _lengths(q: Tensor, k: Tensor) -> tuple[int, int]:
    return q.shape[1], k.shape[1]


def _install(
    monkeypatch: pytest.MonkeyPatch, attention: Callable[..., Tensor], blocks: type | None = None
) -> None:
    for name in ("xformers", "xformers.ops", "xformers.ops.fmha", "xformers.ops.fmha.attn_bias"):
        module = ModuleType(name)
        module.memory_efficient_attention = attention  # type: ignore[attr-defined]
        module.BlockDiagonalMask = blocks  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("segblocks.bench.suite.find_spec", lambda name: object())


def _check_xformers(op: str) -> None:
    suite = get_suite(op)
    name, shape = parse_shape(SMALL[op], suite.shapes)
    [contender] = [c for c in suite.contenders if c.name.endswith("xformers")]
    setting = Setting(CPU, "fp32", "fwd+bwd")
    [row] = compare(suite, name, shape, setting, [contender], budget=1e-3)
    assert row.refused is None
    assert row.taken is not None


def test_cells_that_cannot_be_gathered() -> None:
    suite = get_suite("space_time_attention")
    _, shape = parse_shape("height=96", suite.shapes)
    with pytest.raises(ValueError, match=r"multiples of 64, .* got 96x896"):
        suite.make(shape, Setting(CPU, "fp32", "fwd"))


def test_rows_with_more_points_than_keys() -> None:
    suite = get_suite("ragged_cross_attention")
    _, shape = parse_shape("keys=100", suite.shapes)
    with pytest.raises(ValueError, match="keys must be at least"):
        suite.make(shape, Setting(CPU, "fp32", "fwd"))
