"""An adaptive rate driven by hand: its answers, one by one, and its clock."""

from __future__ import annotations

import random

from bulkcancel.pacing.adaptive import AdaptiveRate
from bulkcancel.pacing.pacer import Pacer


class _Waited(Pacer):
    """A pacer in which somebody waits, if told so."""

    waiters = 0

    @property
    def waiting(self) -> int:
        return self.waiters


class Hand:
    """An adaptive rate driven by hand."""

    def __init__(
        self, rate_per_s: float, ceiling_per_s: float = 1000, *, seed: int = 5, waiting: int = 0
    ) -> None:
        self.now = 100.0
        self.pacer = _Waited(rate_per_s, clock=lambda: self.now)
        self.pacer.waiters = waiting
        self.count = 0
        """How many were accepted."""
        self.told: list[tuple[float, str]] = []
        self.rate = AdaptiveRate(
            self.pacer,
            ceiling_per_s=ceiling_per_s,
            on_change=lambda rate_per_s, reason: self.told.append((rate_per_s, reason)),
            rng=random.Random(seed),
        )

    @property
    def per_s(self) -> float:
        """The pace now."""
        return self.pacer.rate_per_s

    def throttled(
        self, *, sent_s_ago: float = 0.01, retry_after_s: float | None = None, outage: bool = False
    ) -> None:
        self.rate.on_throttled(self.now - sent_s_ago, self.now, retry_after_s, outage=outage)

    def accepted(self, count: int = 1, *, every_s: float = 0.0) -> None:
        for _ in range(count):
            self.now += every_s
            self.count += 1
            self.rate.on_success(self.now - 0.001, self.now)

    def busy(self, for_s: float = 1000.0, *, share: float = 1.0) -> float:
        """Have all accepted, a `share` of the pace, until it changes; return after how long."""
        began, per_s = self.now, self.per_s
        while self.now < began + for_s and self.per_s == per_s:
            self.accepted(every_s=1 / (share * per_s))
        return self.now - began

    def paces(self, count: int) -> list[float]:
        """Return the next paces while everything is accepted."""
        paces = []
        for _ in range(count):
            self.busy()
            paces.append(self.per_s)
        return paces
