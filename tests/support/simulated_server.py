"""Rate limiters and the consumers that meet them, on virtual time."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from bulkcancel.pacing.adaptive import AdaptiveRate
from bulkcancel.pacing.backoff import equal_jitter
from bulkcancel.pacing.pacer import Pacer
from tests.support.event_heap import EventHeap, sleep

if TYPE_CHECKING:
    from collections.abc import Callable

OK = -1.0
"""An answer that is no 429."""
NOT_SAID = math.nan
"""A 429 without `Retry-After`; any other number from 0 is one with it."""


class Limiter(Protocol):
    """Answers a request that arrives at `at`: `OK`, `NOT_SAID` or seconds of `Retry-After`."""

    def __call__(self, at: float) -> float: ...


@dataclass
class Nginx:
    """`limit_req rate=…r/s burst=… nodelay`: a leaky bucket with a clock of milliseconds."""

    rate_per_s: float
    burst: int = 10
    retry_after_s: float = NOT_SAID
    _excess: float = 0.0
    _last_ms: int = 0

    def __call__(self, at: float) -> float:
        ms = int(at * 1000)
        excess = max(self._excess - self.rate_per_s * (ms - self._last_ms) / 1000 + 1, 0)
        if self._last_ms == 0:
            excess = 0
        if excess > self.burst:
            return self.retry_after_s
        self._excess, self._last_ms = excess, ms
        return OK


@dataclass
class FixedWindow:
    """`limit` requests in each window of `window_s`, as counted by the server's clock."""

    limit: int
    window_s: float
    says_when: bool = True
    _window: int = -1
    _count: int = 0

    def __call__(self, at: float) -> float:
        window = int(at // self.window_s)
        if window != self._window:
            self._window, self._count = window, 0
        if self._count >= self.limit:
            return math.ceil((window + 1) * self.window_s - at) if self.says_when else NOT_SAID
        self._count += 1
        return OK


@dataclass
class Noisy:
    """Another limiter, and a 429 for a share of all requests, at whatever pace they come."""

    share: float
    limiter: Limiter = lambda _at: OK
    rng: random.Random = field(default_factory=lambda: random.Random(5))

    def __call__(self, at: float) -> float:
        return NOT_SAID if self.rng.random() < self.share else self.limiter(at)


@dataclass
class Outage:
    """Nothing but 429 from `from_s` to `to_s` after the first request, and no limit otherwise."""

    from_s: float
    to_s: float
    _began: float = math.nan

    def __call__(self, at: float) -> float:
        if math.isnan(self._began):
            self._began = at
        return NOT_SAID if self.from_s <= at - self._began < self.to_s else OK


@dataclass
class Run:
    """What a simulated run saw."""

    accepted: list[float] = field(default_factory=list)
    throttled: list[float] = field(default_factory=list)
    changes: list[tuple[float, float, str]] = field(default_factory=list)
    """Second of the run, rate, reason."""

    def accepted_per_s(self, from_s: float, to_s: float | None = None) -> float:
        """Return the mean of accepted requests a second between two times of the run."""
        to_s = self.accepted[-1] if to_s is None else to_s
        return sum(from_s <= at < to_s for at in self.accepted) / (to_s - from_s)

    @property
    def throttled_share(self) -> float:
        """The part of all requests that was answered 429."""
        return len(self.throttled) / (len(self.throttled) + len(self.accepted))


@dataclass
class Scenario:
    """One simulated run: whose limit, from how far away, with how many consumers.

    A throttled request is sent again by its consumer after an equal-jitter back-off.
    """

    limiter: Limiter
    ceiling_per_s: float = 1000.0
    start_per_s: float | None = None
    """`None`: at the ceiling."""
    ids: int = 3000
    consumers: int = 16
    rtt_s: tuple[float, float] = (0.001, 0.002)
    until_s: float = math.inf
    at: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    """What happens to the limiter when, in seconds of the run."""
    seed: int = 1

    def run(self) -> Run:
        """Return what happened."""
        heap = EventHeap()
        began = heap.now
        rng = random.Random(self.seed)
        seen = Run()
        pacer = Pacer(self.start_per_s or self.ceiling_per_s, clock=heap.time)

        def on_change(rate_per_s: float, reason: str) -> None:
            seen.changes.append((heap.now - began, rate_per_s, reason))

        adaptive = AdaptiveRate(
            pacer, ceiling_per_s=self.ceiling_per_s, on_change=on_change, rng=rng
        )
        left = self.ids

        async def consume() -> None:
            nonlocal left
            while left:
                left -= 1
                refused = 0
                while not await attempt():
                    refused += 1
                    await sleep(equal_jitter(refused, rng))

        async def attempt() -> bool:
            if not pacer.try_acquire():
                await pacer.acquire()
            sent_at = heap.now
            way_s = rng.uniform(*self.rtt_s) / 2
            await sleep(way_s)
            answer = self.limiter(heap.now)
            (seen.accepted if answer == OK else seen.throttled).append(heap.now - began)
            await sleep(way_s)
            if answer == OK:
                adaptive.on_success(sent_at, heap.now)
                return True
            pause_s = None if math.isnan(answer) else answer
            adaptive.on_throttled(sent_at, heap.now, pause_s, outage=False)
            return False

        async def change_limits() -> None:
            for at_s, change in self.at:
                await sleep(began + at_s - heap.now)
                change()

        consumers = [consume() for _ in range(self.consumers)]
        heap.run(change_limits(), *consumers, for_s=self.until_s)
        return seen
