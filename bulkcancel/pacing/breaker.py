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


class Breaker:
    """Holds requests back while the server is in trouble, and sends one probe at a time to test it.

    `THRESHOLD` failures in a row open it (M. Nygard, "Release It!"): those of first attempts, each
    of another ID, as one ID that always fails is no outage. The first probe goes a second later;
    after each that fails the wait doubles, up to 30 seconds, plus or minus a quarter. A success of
    what was sent since closes it. Times are in the clock's seconds.
    """

    def __init__(
        self,
        *,
        rng: random.Random,
        on_change: Callable[[bool], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.open = False
        """Whether requests are held back."""
        self.token_in_doubt = False
        """Whether a 401 opened it or has answered a probe since: the next to a probe decides."""
        self.outages = 0
        """How often failures in a row have opened it."""
        self.streak = 0
        """First attempts that failed since the last success."""
        self._rng = rng
        self._on_change = on_change
        self._clock = clock
        self._for_the_token = False
        """Whether a 401 alone has opened it."""
        self._wait_s = _FIRST_WAIT_S
        self._changed_at = -math.inf
        self._well_at = -math.inf
        self._probe_at = 0.0
        self._news = anyio.Event()

    async def admit(self) -> bool:
        """Wait until a request may go; return whether it is the probe.

        The caller that gets the probe must report what came of it, by one of the `on_…` methods:
        until then nobody else is let go.
        """
        while self.open:
            wait_s = self._probe_at - self._clock()
            if wait_s <= 0:
                self._probe_at = math.inf
                return True
            with anyio.move_on_after(wait_s):
                await self._news.wait()
        return False

    def well_since(self, when: float) -> bool:
        """Return whether a request that was sent after `when` has succeeded."""
        return self._well_at > when

    def on_success(self, sent_at: float) -> None:
        """Close on an answer to a request sent at `sent_at` that shows the server at work.

        One that was under way when the breaker opened does not close it.
        """
        self._well_at = max(self._well_at, sent_at)
        if self.open and sent_at <= self._changed_at:
            return
        self.streak = 0
        if self.open:
            self._change(opened=False)

    def on_failure(
        self, sent_at: float, *, first: bool, probe: bool = False, unauthorized: bool = False
    ) -> bool:
        """Record a transient failure; return whether it costs its ID an attempt.

        The `first` attempt of an ID counts towards the threshold, a later one does not. With
        `unauthorized` (a 401) a single one opens it, until a probe is answered otherwise.
        Requests that were under way when the breaker opened or closed say nothing about the time
        after that, so they change nothing, and cost nothing: nor does any failure while it is open,
        but for that of the probe that ends a doubt about the token.
        """
        if self.open and self._for_the_token and probe and not unauthorized:
            self.streak = int(first)  # trouble of another kind: it is counted like any other
            self._change(opened=False)
            return True
        if self.open:
            if probe:
                self.token_in_doubt |= unauthorized
                self._wait_longer()
            return False
        if sent_at < self._changed_at:
            return False
        self.streak += first or unauthorized
        if not unauthorized and self.streak < THRESHOLD:
            return True
        self.token_in_doubt = self._for_the_token = unauthorized
        self.outages += not unauthorized
        self._wait_s = _FIRST_WAIT_S
        self._change(opened=True)
        self._schedule_probe()
        return False

    def on_throttled_probe(self) -> None:
        """Let the next probe wait longer: this one showed no more than that there is a server."""
        if self.open:
            self._wait_longer()

    def on_abandoned(self) -> None:
        """Let the next request be the probe: this one was not sent, or showed nothing."""
        if self.open:
            self._probe_at = self._clock()
            self._wake()

    def _change(self, *, opened: bool) -> None:
        self.open = opened
        self._changed_at = self._clock()
        self._wake()
        self._on_change(opened)

    def _wait_longer(self) -> None:
        self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
        self._schedule_probe()

    def _schedule_probe(self) -> None:
        self._probe_at = self._clock() + self._wait_s * (0.75 + self._rng.random() / 2)
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()
