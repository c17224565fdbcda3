"""Being told to stop: finish the step, save, leave."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGTERM, signal.SIGINT)

# Launchers and terminals may send the same signal twice in a row.
_SAME = 0.5


class Interruption:
    """Remember that SIGTERM or SIGINT came, instead of dying from it.

    The second signal acts as if nothing had been remembered, and so ends the process. Outside the
    main thread, where Python handles no signals, nothing is changed.

    Attributes:
        requested: whether a signal came.

    Example:
        >>> with Interruption() as interruption:
        ...     signal.raise_signal(signal.SIGTERM)
        ...     interruption.requested
        True
    """

    def __init__(self) -> None:
        self.requested = False
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.requested:
            self.requested, self._since = True, now
        elif now - self._since > _SAME:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def ignore_signals() -> None:
    """Let a process that loads data outlast the signal, so that the step can be finished."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
