"""The circuit breaker: whether the server is well enough to be asked."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Protocol

import anyio

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 30.0
_MAX_DOUBLINGS = 16


class OnChange(Protocol):
    """Who is told that the breaker opened or closed."""

    def __call__(self, *, opened: bool) -> None:
        """Tell that it is open, or closed again, from now on."""


class Breaker:
    """Holds requests back while the server is in trouble, and lets one probe at a time find out.

    `threshold` failures in a row, of whichever consumers, open it (M. Nygard, "Release It!").
    The first probe goes a second later; after each that fails the wait doubles, up to half a
    minute, give or take a quarter. Any success closes it. A probe of which nothing is heard for
    `probe_lease_s`, which should exceed the timeout of one attempt, is given up for lost.
    Times are in the clock's seconds.
    """

    def __init__(
        self,
        *,
        rng: random.Random,
        on_change: OnChange,
        threshold: int = 5,
        probe_lease_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if threshold < 1:
            raise ValueError(f"threshold must be at least 1, not {threshold}")
        self.open = False
        """Whether requests are held back."""
        self.token_in_doubt = False
        """Whether a 401 was among what opened it: the next 401 to a probe decides."""
        self.openings = 0
        """How often it has opened."""
        self.streak = 0
        """Failures since the last success."""
        self.outage_started_at: float | None = None
        """When the first failure since the last success came; `None` while all is well."""
        self._rng = rng
        self._on_change = on_change
        self._threshold = threshold
        self._probe_lease_s = probe_lease_s
        self._clock = clock
        self._failed_probes = 0
        self._changed_at = float("-inf")
        self._probe_at = 0.0
        self._news = anyio.Event()

    def try_admit(self) -> bool:
        """Return whether a request may go without waiting; never a probe."""
        return not self.open

    async def admit(self) -> bool:
        """Wait until a request may go; return whether it is the probe.

        Whoever gets the probe must report `on_probe_sent`, then `on_success` or `on_failure`; or
        `on_abandoned`.
        """
        while self.open:
            wait_s = self._probe_at - self._clock()
            if wait_s <= 0:
                self._probe_at = math.inf
                return True
            with anyio.move_on_after(wait_s):
                await self._news.wait()
        return False

    def on_probe_sent(self) -> None:
        """Start the lease of the probe: until now it may have waited for the pace."""
        self._probe_at = self._clock() + self._probe_lease_s
        self._wake()

    def on_success(self, sent_at: float) -> None:
        """Close on an answer to a request sent at `sent_at` that shows the server at work.

        One that was under way when the breaker opened does not close it.
        """
        if self.streak and not (self.open and sent_at <= self._changed_at):
            self.streak = 0
            self.outage_started_at = None
            if self.open:
                self._change(opened=False)

    def on_failure(self, sent_at: float, *, probe: bool, hold: bool = False) -> None:
        """Count a transient failure of a request sent at `sent_at`; open at the threshold.

        One to `hold` (a 401) opens the breaker by itself: sending waits for what a probe shows.
        Requests that were under way when the breaker opened or closed say nothing about the
        time after that, so they change nothing.
        """
        if self.open:
            if probe:
                self.token_in_doubt |= hold
                self._failed_probes += 1
                self._schedule_probe()
            return
        if sent_at <= self._changed_at:
            return
        self.token_in_doubt = hold
        self.streak += 1
        if self.outage_started_at is None:
            self.outage_started_at = self._clock()
        if hold or self.streak >= self._threshold:
            self._failed_probes = 0
            self.openings += 1
            self._change(opened=True)
            self._schedule_probe()

    def forgive(self, failures: int) -> None:
        """Take failures back that have turned out to be one ID's own, not the server's."""
        if not self.open:
            self.streak = max(0, self.streak - failures)
            if not self.streak:
                self.outage_started_at = None

    def on_abandoned(self, *, probe: bool) -> None:
        """Let the next in line be the probe if it was not sent, or said nothing of the server."""
        if probe and self.open:
            self._probe_at = self._clock()
            self._wake()

    def _change(self, *, opened: bool) -> None:
        self.open = opened
        self._changed_at = self._clock()
        self._wake()
        self._on_change(opened=opened)

    def _schedule_probe(self) -> None:
        doublings = min(self._failed_probes, _MAX_DOUBLINGS)
        wait_s = min(_FIRST_WAIT_S * 2.0**doublings, _LONGEST_WAIT_S)
        self._probe_at = self._clock() + wait_s * (0.75 + self._rng.random() / 2)
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()
