"""The gate before the clock, and the contenders of every operation against float64."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks.bench import Contender, Problem, Setting, Suite, compare, parse_shape, prepare
from segblocks.bench.flex import flex_unavailable
from segblocks.bench.registry import OPS, get_suite
from segblocks.bench.shapes import CLIPS, Clip, Masked
from segblocks.bench.suite import everywhere, xformers_unavailable
from segblocks.ops import ragged_cross_attention

CPU = torch.device("cpu")
SMALL = {
    "ms_deform_attn": "frames=2,height=40,width=70,heads=2,dim=4,points=2",
    "ms_deform_attn_fused": "frames=1,height=40,width=70,heads=2,dim=4,points=2",
    "space_time_attention": "frames=2,height=64,width=128,cell=1,heads=2,dim=8",
    "masked_cross_attention": "batch=2,queries=3,keys=21,heads=2,dim=8",
    "ragged_cross_attention": "background=2,background_points=30,objects=3,object_points=5,"
    "keys=40,heads=2,dim=8",
}


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
    _, shape = parse_shape(SMALL[op], suite.shapes)
    setting = Setting(CPU, dtype, "fwd+bwd")
    found = prepare(suite, shape, setting, suite.contenders)
    reasons = [contender.unavailable(setting) for contender in suite.contenders]
    assert reasons.count(None) >= 3
    assert [each.refused for each in found] == reasons
    assert [each.call is None for each in found] == [reason is not None for reason in reasons]


@pytest.mark.parametrize("op", ["space_time_attention", "masked_cross_attention"])
def test_xformers_is_called_as_it_wants(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def memory_efficient_attention(
        q: Tensor, k: Tensor, v: Tensor, attn_bias: Tensor | None = None
    ) -> Tensor:
        lengths = q.shape[1], k.shape[1]
        assert attn_bias is None or attn_bias.shape == (q.shape[0], q.shape[2], *lengths)
        assert attn_bias is None or attn_bias.stride(-2) % 8 == 0
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=attn_bias).transpose(1, 2)

    for name in ("xformers", "xformers.ops"):
        module = ModuleType(name)
        module.memory_efficient_attention = memory_efficient_attention  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    suite = get_suite(op)
    _, shape = parse_shape(SMALL[op], suite.shapes)
    [contender] = [c for c in suite.contenders if c.name.endswith("xformers")]
    setting = Setting(CPU, "fp32", "fwd+bwd")
    contender = replace(contender, unavailable=everywhere)
    [found] = prepare(suite, shape, setting, [contender])
    assert found.refused is None
    assert found.call is not None


def test_packed_lists_are_our_backend_of_xformers(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def attend(*tensors: Tensor, backend: str) -> Tensor:
        asked.append(backend)
        return ragged_cross_attention(*tensors, backend="reference")

    monkeypatch.setattr("segblocks.bench.ragged_cross_attention.ragged_cross_attention", attend)
    suite = get_suite("ragged_cross_attention")
    _, shape = parse_shape(SMALL[suite.name], suite.shapes)
    contender = replace(suite.contenders[-1], unavailable=everywhere)
    [found] = prepare(suite, shape, Setting(CPU, "fp32", "fwd"), [contender])
    assert found.error == 0.0
    assert asked == ["reference", "xformers"]


@pytest.mark.parametrize("installed", [False, True])
def test_what_runs_on_gpus_alone(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = object() if installed else None
    monkeypatch.setattr("segblocks.bench.suite.find_spec", lambda name: spec)
    missing = None if installed else "xformers is not installed (pip install 'segblocks[xformers]')"
    gpu = Setting(torch.device("cuda"), "fp32", "fwd")
    assert xformers_unavailable(gpu) == missing
    assert xformers_unavailable(replace(gpu, device=CPU)) is not None
    assert flex_unavailable(gpu) is None


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_the_mask_does_not_depend_on_rounding(dtype: str) -> None:
    suite = get_suite("masked_cross_attention")
    shape = Masked(queries=8, keys=2000, heads=1, dim=4)
    logits = suite.make(shape, Setting(CPU, dtype, "fwd")).given.logits
    exact = suite.make(shape, Setting(CPU, "fp32", "fwd")).given
    exact = exact.embeddings.double() @ exact.features.double().mT
    assert torch.equal(logits >= 0, exact >= 0)
    assert not (exact[0, 0] >= 0).any()
    assert 0.1 < (exact[0, 1:] >= 0).double().mean() < 0.25


def test_an_oracle_without_memory_is_a_reason() -> None:
    suite = replace(doubling(Contender("right", "", lambda given, x: x + x)), oracle=fail)
    [row] = run(suite)
    assert row.taken is None
    assert row.refused == "nothing to compare with, the oracle failed: out of memory"
