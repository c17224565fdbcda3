"""Signals are remembered, once, and only while it is wanted."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from segblocks.training import interrupt
from segblocks.training.interrupt import SIGNALS, Interruption


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_is_remembered(number: signal.Signals) -> None:
    before = [signal.getsignal(one) for one in SIGNALS]
    with Interruption() as interruption:
        assert not interruption.requested
        signal.raise_signal(number)
        assert interruption.requested
    assert [signal.getsignal(one) for one in SIGNALS] == before


@pytest.fixture
def sigint_is_heard() -> Iterator[None]:
    """Jobs in the background of a shell begin with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("sigint_is_heard")
def test_the_second_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "_SAME", 0.05)
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.1)
        assert interruption.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_twice_at_once_is_once() -> None:
    with Interruption() as interruption:
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        assert interruption.requested


def test_other_threads_have_no_signals() -> None:
    seen = []

    def work() -> None:
        with Interruption() as interruption:
            seen.append(interruption.requested)

    before = [signal.getsignal(one) for one in SIGNALS]
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
    assert [signal.getsignal(one) for one in SIGNALS] == before
