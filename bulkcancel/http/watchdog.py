"""The timeout of every exchange in flight, kept by one timer."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Timed(Protocol):
    """What the watchdog can end: since when it runs, and how."""

    started: float
    """By the watchdog's time: seconds of `monotonic` less `lost_s`."""

    def expire(self) -> None:
        """End it: its time is up."""


class Watchdog:
    """Ends whatever outlasts `timeout_s`, to about a twentieth of it.

    One ticking timer serves all: a timer or a cancel scope for each would cost more than the
    rest of the bookkeeping together. Time in which this process did not run (SIGSTOP, a
    suspended laptop) does not count: the answer may be waiting in the socket.
    """

    def __init__(self, timeout_s: float) -> None:
        self.watched: set[Timed] = set()
        """What is timed now; whoever begins and ends it puts it in and takes it out."""
        self.lost_s = 0.0
        """For how long this process did not run."""
        self._timeout_s = timeout_s
        self._tick_s = min(max(timeout_s / 20, 0.005), 0.25)
        self._ticked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to tick in the running event loop."""
        self._ticked_at = time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._tick)

    def stop(self) -> None:
        """Stop ticking; what still runs is no longer timed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def now(self) -> float:
        """Return the time without that in which this process did not run."""
        now = time.monotonic()
        return now - self.lost_s - self._stalled_s(now)

    def _stalled_s(self, now: float) -> float:
        late_s = now - self._ticked_at - self._tick_s
        return late_s if late_s > 1 else 0.0

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._tick)
        now = time.monotonic()
        self.lost_s += self._stalled_s(now)
        self._ticked_at = now
        overdue = now - self.lost_s - self._timeout_s
        for each in [each for each in self.watched if each.started <= overdue]:
            self.watched.discard(each)
            each.expire()
