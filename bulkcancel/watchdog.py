"""The timeout of every attempt in flight, kept by one timer."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anyio import CancelScope


class Watchdog:
    """Cancels the scope of each attempt that outlasts `timeout_s`, to about a twentieth of it.

    One ticking timer serves all attempts: a timer for each would cost more than the rest of the
    bookkeeping together. Time in which this process did not run (SIGSTOP, a suspended laptop)
    does not count against an attempt: its answer may be waiting in the socket.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._tick_s = min(max(timeout_s / 20, 0.005), 0.25)
        self._started: dict[CancelScope, float] = {}
        self._lost_s = 0.0
        self._ticked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to tick in the running event loop."""
        self._ticked_at = time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._tick)

    def stop(self) -> None:
        """Stop ticking; attempts still in flight are no longer timed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def begin(self, scope: CancelScope) -> None:
        """Time the attempt that runs under `scope` from now on."""
        self._started[scope] = time.monotonic() - self._lost_s

    def end(self, scope: CancelScope) -> None:
        """Time it no longer."""
        del self._started[scope]

    def _tick(self) -> None:
        now = time.monotonic()
        late_s = now - self._ticked_at - self._tick_s
        if late_s > 1:
            self._lost_s += late_s
        self._ticked_at = now
        overdue = now - self._lost_s - self._timeout_s
        for scope in [s for s, started in self._started.items() if started <= overdue]:
            scope.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._tick)
