"""The choice among implementations."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segblocks.nn import TemporalNeck
from segblocks_kernels import _BACKENDS, _native, backend_report
from segblocks_kernels._backend import (
    NAMES,
    REFERENCE,
    Backends,
    Candidate,
    interpreter_on,
)
from segblocks_kernels._native import load_library
from segblocks_kernels.ms_deform_attn import cpp

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


CPP = Candidate("cpp", lambda device: None if device.type == "cpu" else "it is for the CPU")
NATIVE = Backends("native_op", (CPP, REFERENCE))


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda value: monkeypatch.setenv("SEGBLOCKS_BACKEND", value)


def test_the_argument_comes_before_the_environment(environment: Callable[[str], None]) -> None:
    environment("cpp")
    assert NATIVE.request("auto") == "cpp"
    assert NATIVE.request("reference") == "reference"
    environment("")
    assert NATIVE.request("auto") == "auto"


def test_the_environment_speaks_to_operations_that_have_the_backend(
    environment: Callable[[str], None],
) -> None:
    other = Backends("other_op", (GOOD, REFERENCE))
    environment("cpp")
    assert NATIVE.report(CPU) == ("cpp", "SEGBLOCKS_BACKEND=cpp")
    chosen, reason = NATIVE.report(CUDA)
    assert chosen == "cpp"
    assert "calls will fail: it is for the CPU" in reason
    for name in ("cpp", "triton"):
        environment(name)
        assert other.request("auto") == "auto"
        chosen, reason = other.report(CUDA)
        assert chosen == "good"
        assert f"SEGBLOCKS_BACKEND={name} names none" in reason
    environment("good")  # not a name that the library knows
    for ask in (lambda: other.request("auto"), lambda: other.report(CPU)):
        with pytest.raises(ValueError, match=r"SEGBLOCKS_BACKEND must be one of .*, got 'good'"):
            ask()


def test_auto_never_takes_what_has_to_be_named(environment: Callable[[str], None]) -> None:
    named = Candidate("xformers", lambda device: None, frozenset())
    backends = Backends("some_op", (named, REFERENCE))
    assert backends.resolve("auto", CUDA) == "reference"
    assert backends.resolve("xformers", CUDA) == "xformers"
    environment("xformers")
    assert backends.request("auto") == "xformers"


def test_all_names_are_known() -> None:
    names = {candidate.name for backends in _BACKENDS for candidate in backends.candidates}
    assert names | {"auto"} == set(NAMES)


def test_an_argument_stays_strict() -> None:
    with pytest.raises(ValueError, match="backend must be one of auto, cpp, reference, got 'tri"):
        NATIVE.request("triton")


def test_a_report_compiles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGBLOCKS_CACHE", str(tmp_path))
    monkeypatch.setattr(_native, "_loaded", {})
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("SEGBLOCKS_BACKEND", raising=False)
    chosen, reason = backend_report("cpu")["ms_deform_attn"]
    assert list(tmp_path.iterdir()) == []
    if chosen == "cpp":
        assert "not compiled yet (compiled on first use)" in reason
    else:
        assert "no C++ compiler" in reason


def test_triton_on_a_gpu_needs_a_c_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CC", raising=False)
    chosen, reason = backend_report("cuda")["space_time_attention"]
    assert chosen == "reference"
    assert "neither CC, gcc nor clang" in reason
    monkeypatch.setenv("CC", "/opt/compiler")
    assert backend_report("cuda")["space_time_attention"][0] == "triton"


def test_compilers_can_trace_the_choice() -> None:
    backends = Backends("an_op")

    @torch.compile(fullgraph=True, backend="eager")
    def function(x: Tensor) -> Tensor:
        # The choice does not touch the device: asking about CUDA needs none.
        return x + (1 if backends.resolve("auto", CUDA) == expected else 2)

    expected = backends.resolve("auto", CUDA)
    assert function(torch.zeros(2)).tolist() == [1, 1]


def test_importing_does_not_load_the_compiler() -> None:
    code = "import sys, segblocks_kernels; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def neck_gradients(neck: TemporalNeck) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    features = {
        stride: torch.randn(1, 2, 8, -(-64 // stride), -(-32 // stride), generator=generator)
        for stride in (4, 8, 16, 32)
    }
    neck.zero_grad()
    outputs = list(neck(features).values())
    sum(x.square().sum() for x in outputs).backward()
    return [*(x.detach() for x in outputs), *(p.grad.clone() for p in neck.parameters())]


@pytest.mark.parametrize("backend", ["reference", "triton", "cpp", "auto", ""])
def test_a_network_runs_on_whatever_the_environment_names(
    backend: str, environment: Callable[[str], None]
) -> None:
    if backend == "triton" and not interpreter_on():
        pytest.skip("Triton is not interpreted")
    if backend == "cpp" and isinstance(load_library(cpp.SOURCE), str):
        pytest.skip("no C++ compiler")
    torch.manual_seed(0)
    neck = TemporalNeck(dict.fromkeys((4, 8, 16, 32), 8), 32, num_layers=1, num_heads=2)
    for parameter in neck.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    environment("reference")
    want = neck_gradients(neck)
    environment(backend)
    for g, w in zip(neck_gradients(neck), want, strict=True):
        # Group norms cancel most of these gradients, and float32 rounding shows the more.
        assert (g - w).norm() <= 1e-3 * w.norm().clamp(min=1e-2)


@pytest.mark.parametrize("device", ["cpu", "cuda", "meta", "mps"])
def test_the_report_answers_for_any_device(device: str) -> None:
    report = backend_report(device)
    assert "ms_deform_attn" in report
    assert all(backend and reason for backend, reason in report.values())
    if device not in ("cpu", "cuda"):
        assert {backend for backend, _ in report.values()} == {"reference"}
