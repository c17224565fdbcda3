"""SIGTERM as an exception, so that what is half-written is removed before the process ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class Terminated(BaseException):
    """The process was told to end; like ``KeyboardInterrupt``, no error that code may handle."""


@contextmanager
def raising_terminated() -> Generator[None, None, None]:
    """Raise `Terminated` where SIGTERM comes.

    Outside the main thread, where Python handles no signals, and where SIGTERM is ignored, nothing
    is changed. Processes that are forked from this one die from the signal as they would have.

    Example:
        >>> with raising_terminated():
        ...     try:
        ...         signal.raise_signal(signal.SIGTERM)
        ...     except Terminated:
        ...         print("in time")
        in time
    """
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or before == signal.SIG_IGN:
        yield
        return
    process = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        raise Terminated

    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
