"""SIGINT and SIGTERM, from the first moment to the last."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from bulkcancel.errors import InterruptedRunError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


class Signals:
    """Turns signals into a stop of whatever is going on.

    Before and after a run there is nothing to drain: the signal raises `InterruptedRunError` in
    the main thread. During a run the first asks for a stop, the second cuts what is in flight.
    A third ends the process at once, should even that hang. `signal.signal` works on every
    system, with every event loop and as PID 1.
    """

    def __init__(self) -> None:
        self._on_signal: Callable[[InterruptedRunError, bool], None] | None = None
        self._seen = 0

    def install(self) -> None:
        """Take over SIGINT and SIGTERM; call it in the main thread."""
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)

    def hand_to(self, on_signal: Callable[[InterruptedRunError, bool], None] | None) -> None:
        """Call `on_signal(reason, is_second)` from now on; `None`: raise again."""
        self._on_signal = on_signal

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._seen += 1
        reason = InterruptedRunError(signal.Signals(number).name, number)
        if self._seen > 2:
            os._exit(reason.exit_code)
        if self._on_signal is None:
            raise reason
        self._on_signal(reason, self._seen > 1)


SIGNALS = Signals()
"""Those of this process: the one thing here that is global, because signals are."""
