"""The circuit breaker: whether the server is well enough to be asked."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

# If 30 % of the answers are bad, ten in a row are bad once in 170,000; in an outage, very soon.
THRESHOLD = 10

_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 30.0
_MAX_DOUBLINGS = 16


class Breaker:
    """Holds requests back while the server is in trouble, and sends one probe at a time to test it.

    `THRESHOLD` failures in a row, of any consumers, open it (M. Nygard, "Release It!"). The
    first probe goes a second later; after each that fails the wait doubles, up to 30 seconds,
    plus or minus a quarter. Any success closes it. A probe without a result after
    `probe_lease_s`, which should exceed the timeout of one attempt, counts as lost.
    Times are in the clock's seconds.
    """

    def __init__(
        self,
        *,
        rng: random.Random,
        on_change: Callable[[bool], None],
        probe_lease_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.open = False
        """Whether requests are held back."""
        self.token_in_doubt = False
        """Whether a 401 was among what opened it: the next 401 to a probe decides."""
        self.openings = 0
        """How often it has opened."""
        self.streak = 0
        """Failures since the last success."""
        self._rng = rng
        self._on_change = on_change
        self._probe_lease_s = probe_lease_s
        self._clock = clock
        self._failed_probes = 0
        self._changed_at = float("-inf")
        self._probe_at = 0.0
        self._news = anyio.Event()

    async def admit(self) -> bool:
        """Wait until a request may go; return whether it is the probe.

        The caller that gets the probe must report `on_probe_sent`, then `on_success` or
        `on_failure`; or `on_abandoned`.
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
            if self.open:
                self._change(opened=False)

    def on_failure(self, sent_at: float, *, probe: bool, open_at_once: bool) -> None:
        """Count a transient failure of a request sent at `sent_at`; open at the threshold.

        With `open_at_once` (a 401) a single one opens it: sending waits for what a probe shows.
        Requests that were under way when the breaker opened or closed say nothing about the time
        after that, so they change nothing.
        """
        if self.open:
            if probe:
                self.token_in_doubt |= open_at_once
                self._failed_probes += 1
                self._schedule_probe()
            return
        if sent_at <= self._changed_at:
            return
        self.token_in_doubt = open_at_once
        self.streak += 1
        if open_at_once or self.streak >= THRESHOLD:
            self._failed_probes = 0
            self.openings += 1
            self._change(opened=True)
            self._schedule_probe()

    def forgive(self, failures: int) -> None:
        """Take failures back that have turned out to be one ID's own, not the server's."""
        if not self.open:
            self.streak = max(0, self.streak - failures)

    def on_abandoned(self, *, probe: bool) -> None:
        """Let the next request be the probe if this `probe` was not sent or showed nothing."""
        if probe and self.open:
            self._probe_at = self._clock()
            self._wake()

    def _change(self, *, opened: bool) -> None:
        self.open = opened
        self._changed_at = self._clock()
        self._wake()
        self._on_change(opened)

    def _schedule_probe(self) -> None:
        doublings = min(self._failed_probes, _MAX_DOUBLINGS)
        wait_s = min(_FIRST_WAIT_S * 2.0**doublings, _LONGEST_WAIT_S)
        self._probe_at = self._clock() + wait_s * (0.75 + self._rng.random() / 2)
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()
