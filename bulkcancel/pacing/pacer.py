"""The pace: when the next request may go."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HEADROOM = 0.995
"""The share of the rate that is used: requests delayed on their way arrive together with later
ones, and even then the server must count no more than the ceiling."""

_WINDOW_SLACK_S = 0.02
_MIN_SLACK_S = 0.003
_IDLE_S = 0.1
_ROUNDING_S = 1e-6
_MIN_TIMER_S = 0.001
_MAX_TIMER_S = 3600.0


class Pacer:
    """Lets requests go one by one, evenly spaced, at most `rate_per_s` a second.

    The generic cell rate algorithm by virtual scheduling (ITU-T I.371, annex A): each request
    has a due time, one interval after the one before it. A wake-up that comes late is caught
    up with, but only by so much that any one-second window holds at most the rate and 2 %; what
    is later than a tenth of a second (a stopped process, an idle run) is not caught up at all.
    After idleness `burst` requests may go together. Serves one event loop at a time; the first
    to wait is the first to go.
    """

    def __init__(
        self, rate_per_s: float, *, burst: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if burst < 1:
            raise ValueError(f"burst must be at least 1, not {burst}")
        self._clock = clock
        self._burst = burst
        self._rate_per_s = _checked(rate_per_s)
        self._set_intervals()
        self._resume_at = float("-inf")
        self._held = False
        self._due = clock() - self._burst_s
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def rate_per_s(self) -> float:
        """The ceiling in force."""
        return self._rate_per_s

    @property
    def waiting(self) -> int:
        """How many wait in `acquire` now."""
        return len(self._waiters)

    @property
    def paused(self) -> bool:
        """Whether `pause_until` holds all requests now."""
        return self._clock() < self._resume_at

    def try_acquire(self) -> bool:
        """Take a slot without waiting; `False` if none is due or others wait for it."""
        return not self._waiters and self._take(self._clock())

    async def acquire(self, *, ahead: bool = False) -> None:
        """Wait for a slot and take it, `ahead` of all that wait if it must not queue behind them.

        Changes of the rate and pauses apply to those already waiting; a waiter that is
        cancelled leaves its slot to the next.
        """
        if self.try_acquire():
            return
        waiter = asyncio.get_running_loop().create_future()
        if ahead:
            self._waiters.appendleft(waiter)
        else:
            self._waiters.append(waiter)
        self._arm()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
            else:  # the slot was given, but the request will not be sent
                self._due = max(self._due - self._interval_s, self._resume_at)
            self._arm()
            raise

    def set_rate(self, rate_per_s: float) -> None:
        """Change the ceiling; the next request is due one new interval after the last one."""
        sent_at = self._due - self._interval_s
        self._rate_per_s = _checked(rate_per_s)
        self._set_intervals()
        if self._due > self._resume_at:  # else it is the end of a pause, which stays
            self._due = max(sent_at + self._interval_s, self._resume_at)
        self._arm()

    def pause_until(self, when: float) -> None:
        """Let nothing go before `when` (in the clock's seconds); an earlier pause stays if longer.

        Requests go on evenly spaced after it, without a burst.
        """
        self._resume_at = max(self._resume_at, when)
        self._due = max(self._due, when)
        self._arm()

    def hold(self) -> None:
        """Let nothing go until `release`, however long that takes."""
        self._held = True

    def release(self) -> None:
        """Let requests go again, evenly spaced: what was due meanwhile is not caught up with."""
        self._held = False
        if self._timer is None:
            self._arm()

    def _set_intervals(self) -> None:
        self._interval_s = 1 / (self._rate_per_s * HEADROOM)
        self._burst_s = (self._burst - 1) * self._interval_s
        slack_s = min(max(_WINDOW_SLACK_S - 1 / self._rate_per_s, _MIN_SLACK_S), _WINDOW_SLACK_S)
        self._credit_s = self._burst_s + slack_s

    def _take(self, now: float) -> bool:
        due = self._due
        late_s = now - due
        if self._held or late_s < -_ROUNDING_S:
            return False
        if late_s > self._credit_s:
            due = now - (self._credit_s if late_s < _IDLE_S else self._burst_s)
        self._due = due + self._interval_s
        return True

    def _release(self) -> None:
        """Let all go that are due: several at one wake-up when the interval is below a timer's."""
        self._timer = None
        waiters = self._waiters
        now = self._clock()
        while waiters:
            if waiters[0].done():  # cancelled, and its task has not run since
                waiters.popleft()
            elif self._take(now):
                waiters.popleft().set_result(None)
            else:
                break
        self._arm()

    def _arm(self) -> None:
        """Set the one timer for the first waiter."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiters and not self._held:
            # A shorter timer would make some event loops spin; being late is caught up with.
            delay_s = min(max(self._due - self._clock(), _MIN_TIMER_S), _MAX_TIMER_S)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._release)


def _checked(rate_per_s: float) -> float:
    if not 0 < rate_per_s < float("inf"):
        raise ValueError(f"rate_per_s must be a number above 0, not {rate_per_s}")
    return rate_per_s
