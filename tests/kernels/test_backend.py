"""The choice among implementations."""

from __future__ import annotations

import pytest
import torch

from segblocks_kernels import backend_report
from segblocks_kernels._backend import REFERENCE, Backends, Candidate

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
FAST = Candidate("fast", lambda device: "it is not built", frozenset({"cuda"}))
GOOD = Candidate("good", lambda device: None, frozenset({"cuda"}))
OP = Backends("some_op", (FAST, GOOD, REFERENCE))


def test_auto_takes_the_first_that_runs_and_says_what_it_passed_over() -> None:
    chosen, reason = OP.explain(CUDA)
    assert chosen == "good"
    assert "no fast: it is not built" in reason


def test_auto_ignores_candidates_of_other_devices() -> None:
    chosen, reason = OP.explain(CPU)
    assert chosen == "reference"
    assert "fast:" not in reason


def test_an_explicit_backend_never_falls_back() -> None:
    assert OP.resolve("good", CPU) == "good"
    with pytest.raises(ValueError, match=r"some_op: backend 'fast' cannot run .* it is not built"):
        OP.resolve("fast", CUDA)


def test_the_argument_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGBLOCKS_BACKEND", "good")
    assert OP.request("auto") == "good"
    assert OP.request("reference") == "reference"
    monkeypatch.delenv("SEGBLOCKS_BACKEND")
    assert OP.request("auto") == "auto"


@pytest.mark.parametrize("device", ["cpu", "cuda", "meta", "mps"])
def test_the_report_answers_for_any_device(device: str) -> None:
    report = backend_report(device)
    assert "ms_deform_attn" in report
    assert all(backend and reason for backend, reason in report.values())
    if device not in ("cpu", "cuda"):
        assert {backend for backend, _ in report.values()} == {"reference"}
