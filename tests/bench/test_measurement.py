"""Clock and memory: what is known in advance comes out."""

from __future__ import annotations

import time

import pytest
import torch

from segblocks.bench import measurement as module
from segblocks.bench import peak_memory


def test_a_sleep_takes_as_long_as_it_does() -> None:
    taken = module.measure(lambda: time.sleep(0.004), "cpu", budget=0.03)
    assert 0.004 <= taken.p20 <= taken.median <= taken.p80 < 0.04
    assert taken.calls == 1
    assert taken.samples >= module.MIN_SAMPLES


def test_short_calls_are_gathered_into_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    clock = iter(range(10**9))
    # Each look at the clock is one tick of 0.1 ms later: every sample lasts a tick.
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock) * 1e-4)
    taken = module.measure(lambda: ran.append(None), "cpu", budget=0.01)
    assert taken.calls == 10
    assert taken.median == pytest.approx(1e-5)
    # One run warms up, one is for the memory, one for the length.
    assert len(ran) == 3 + taken.calls * taken.samples


def test_percentiles(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, 1.0, *range(1, 12)])
    monkeypatch.setattr(module, "_cpu_clock", lambda name: lambda call, calls: float(next(seconds)))
    monkeypatch.setattr(module, "MIN_SAMPLES", 11)
    monkeypatch.setattr(module, "peak_memory", lambda call, device: 7)
    taken = module.measure(lambda: None, "cpu")
    assert (taken.p20, taken.median, taken.p80) == (3.0, 6.0, 9.0)
    assert (taken.samples, taken.calls, taken.peak_bytes) == (11, 1, 7)


def test_calls_take_turns() -> None:
    ran: list[str] = []

    def wait(name: str) -> None:
        time.sleep(0.002)
        ran.append(name)

    module.measure_together([lambda: wait("a"), lambda: wait("b")], "cpu", budget=1e-3)
    assert ran[-10:] == ["a", "b"] * module.MIN_SAMPLES


def test_processor_time_leaves_waiting_out() -> None:
    call = lambda: time.sleep(0.01)  # noqa: E731
    [taken] = module.measure_together([call], "cpu", budget=0.01, clock="process")
    assert taken.median < 0.005


def test_memory_of_a_process_is_what_it_touches() -> None:
    size = 64 << 20
    need = peak_memory(lambda: torch.ones(size, dtype=torch.uint8), "cpu")
    if need is None:
        pytest.skip("this system does not tell")
    assert size * 0.9 < need < size * 1.5
    again = peak_memory(lambda: None, "cpu")
    assert again is not None
    assert again < size // 8


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_reset_peak", lambda: False)
    assert peak_memory(lambda: None, "cpu") is None


def test_a_flush_needs_a_gpu() -> None:
    with pytest.raises(ValueError, match="flush_l2 needs a CUDA device, got device 'cpu'"):
        module.measure(lambda: None, "cpu", flush_l2=True)


def test_processor_time_is_of_the_cpu() -> None:
    with pytest.raises(ValueError, match="clock 'process' is for the CPU, got device 'meta'"):
        module.measure_together([], "meta", clock="process")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("flush_l2", [False, True])
def test_on_a_gpu(flush_l2: bool) -> None:
    x = torch.ones(1 << 24, device="cuda")
    taken = module.measure(lambda: x + 1, "cuda", flush_l2=flush_l2)
    assert taken.peak_bytes == x.nbytes
    # No memory is faster than 20 TB/s, none slower than 10 GB/s.
    assert 2 * x.nbytes / 20e12 < taken.median < 2 * x.nbytes / 10e9
    assert taken.calls == 1 or not flush_l2
