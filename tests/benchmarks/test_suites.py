"""The suites under pytest-benchmark: right ones are timed, the others skipped or failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
from torch import Tensor

from benchmarks.kernels.suites import benchmark_of
from segblocks.bench import Contender, Suite, masked_cross_attention
from segblocks.bench.shapes import Masked

TINY = Masked(queries=3, keys=21, heads=2, dim=8)


def tiny_suite(*contenders: Contender) -> Suite:
    suite = masked_cross_attention.SUITE
    return replace(suite, shapes={"tiny": TINY}, small=("tiny",), contenders=contenders)


def times_called(contender: Contender) -> int:
    calls: list[Callable[[], object]] = []
    benchmark = SimpleNamespace()
    benchmark_of(tiny_suite(contender))(
        calls.append, benchmark, "cpu", "tiny", "bf16", "fwd+bwd", contender
    )
    assert benchmark.group == "masked_cross_attention cpu tiny bf16 fwd+bwd"
    for call in calls:
        call()
    return len(calls)


def test_what_is_right_is_timed() -> None:
    assert times_called(masked_cross_attention.SUITE.contenders[0]) == 1


def test_what_cannot_run_is_skipped() -> None:
    absent = Contender("absent", "", lambda *_: None, lambda setting: "not here")  # type: ignore
    with pytest.raises(pytest.skip.Exception, match="not here"):
        times_called(absent)


def test_what_is_wrong_fails() -> None:
    def nothing(given: object, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return q * 0 + (k.sum() + v.sum()) * 0

    with pytest.raises(AssertionError, match="wrong: relative error"):
        times_called(Contender("nothing", "", nothing))


def test_every_place_and_contender_is_a_benchmark() -> None:
    marks = {mark.args[0]: mark.args[1] for mark in benchmark_of(tiny_suite()).pytestmark}  # type: ignore[attr-defined]
    places = marks[("device", "name")]
    assert [place.id for place in places] == ["cpu-tiny", "cuda-tiny"]
    assert [bool(place.marks) for place in places] == [False, True]
    assert marks["direction"] == ("fwd", "fwd+bwd")
