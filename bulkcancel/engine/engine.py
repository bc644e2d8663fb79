"""Builds the parts of one run around a client and lets them work."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import anyio

from bulkcancel.engine.canceller import Canceller
from bulkcancel.engine.limits import Limits, RunMonitor
from bulkcancel.engine.pipeline import Pipeline
from bulkcancel.engine.result_factory import ResultFactory
from bulkcancel.engine.retries import WorkQueue
from bulkcancel.engine.verification import Confirmer, Verification
from bulkcancel.errors import UsageError, unwrapped
from bulkcancel.pacing import AdaptiveRate, Breaker, Pacer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bulkcancel.domo import DomoClient
    from bulkcancel.engine.pipeline import Collector, Items
    from bulkcancel.engine.stats import Observer, Stats
    from bulkcancel.engine.stop import Stop
    from bulkcancel.models import Outcome

DEFAULT_RATE_PER_S = 10.0
DEFAULT_CONCURRENCY = 16
DEFAULT_ATTEMPTS = 5
DEFAULT_GRACE_S = 10.0
_AUTO_CEILING_PER_S = 1000.0
_AUTO_START_PER_S = 5.0
_UTC_NOW = partial(datetime.now, UTC)


@dataclass(frozen=True, slots=True)
class Policy:
    """Pace, concurrency, attempts and limits. Raises `UsageError` for what makes no sense."""

    rate_per_s: float | None = DEFAULT_RATE_PER_S
    """Ceiling in requests a second; `None` searches for what the server allows."""
    burst: int = 1
    first_after_s: float = 0.0
    """No request before that: runs that start together and share a rate take turns by it."""
    concurrency: int = DEFAULT_CONCURRENCY
    attempts: int = DEFAULT_ATTEMPTS
    grace_s: float = DEFAULT_GRACE_S
    limits: Limits = field(default_factory=Limits)
    ok: frozenset[Outcome] = frozenset()
    """Outcomes that count as success besides those that are."""
    succeeded_before: int = 0
    """Successes that an earlier run has left in the results file."""
    verification: Verification | None = None
    """How what was accepted is looked at until it has stopped; `None`: it is not."""

    def __post_init__(self) -> None:
        if self.rate_per_s is not None and not 0 < self.rate_per_s < math.inf:
            raise UsageError(
                f"rate_per_s must be above 0, or None to search, not {self.rate_per_s}"
            )
        for name in ("burst", "concurrency", "attempts"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.grace_s >= 0:
            raise UsageError(f"grace_s must be 0 or more seconds, not {self.grace_s}")


class Engine:
    """One run: work queue, pacer, breaker, limits and pipeline around one client.

    `host` is what the results call the server, if not by the client's name for it. All its parts
    go by `clock` (seconds, as the event loop counts them) and draw from `rng`; `wall_clock` says
    when a result was finished.
    """

    def __init__(
        self,
        client: DomoClient,
        policy: Policy,
        *,
        stats: Stats,
        stop: Stop,
        observer: Observer,
        host: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], datetime] = _UTC_NOW,
        rng: random.Random | None = None,
    ) -> None:
        rng = rng or random.Random()
        host = host or client.host
        ceiling = policy.rate_per_s or _AUTO_CEILING_PER_S
        start = policy.rate_per_s or _AUTO_START_PER_S
        self._observer = observer
        self.pacer = Pacer(start, burst=policy.burst, clock=clock)
        if policy.first_after_s:
            self.pacer.pause_until(clock() + policy.first_after_s)
        self._monitor = RunMonitor(
            stop,
            policy.limits,
            host=host,
            timeout_s=client.timeout_s,
            ok=policy.ok,
            succeeded_before=policy.succeeded_before,
            clock=clock,
        )
        breaker = Breaker(rng=rng, on_change=self._on_breaker_change, clock=clock)
        adaptive = AdaptiveRate(
            self.pacer, ceiling_per_s=ceiling, on_change=observer.pace_changed, rng=rng
        )
        checks = None
        self.confirmer: Confirmer | None = None
        """What looks at accepted IDs, and has their findings."""
        if policy.verification is not None:
            self.confirmer = Confirmer(
                policy.verification,
                client=client,
                pacer=self.pacer,
                adaptive=adaptive,
                stats=stats,
                stop=stop,
                observer=observer,
                clock=clock,
                work_clock=self._monitor.work_clock,
                rng=rng,
            )
            checks = self.confirmer.checks
            checks.most_beside_cancels = max(1, policy.concurrency // 4)  # they may all hang
        self._queue = WorkQueue(
            breaker, bound=2 * policy.concurrency, clock=clock, rng=rng, checks=checks
        )
        results = ResultFactory(host, wall_clock)
        canceller = Canceller(
            client=client,
            results=results,
            pacer=self.pacer,
            adaptive=adaptive,
            breaker=breaker,
            monitor=self._monitor,
            stats=stats,
            stop=stop,
            observer=observer,
            attempts=policy.attempts,
            clock=clock,
            rng=rng,
        )
        self._pipeline = Pipeline(
            queue=self._queue,
            canceller=canceller,
            confirmer=self.confirmer,
            results=results,
            stop=stop,
            concurrency=policy.concurrency,
            grace_s=policy.grace_s,
        )

    async def run(self, items: Items, collector: Collector, accepted: Iterable[bytes] = ()) -> None:
        """Work through `items`; returns when done or stopped (`stop.reason` says why).

        `accepted` are the packed IDs of earlier runs to be looked at as well. Raises what
        `collector` raises, and any fault of the pipeline itself.
        """
        if self.confirmer is not None:
            self.confirmer.add_known(accepted)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._monitor.watch)
                await self._pipeline.run(items, collector)
                tasks.cancel_scope.cancel()
        except ExceptionGroup as group:
            raise unwrapped(group) from None

    def hold(self) -> None:
        """Send nothing more until `release`; what is in flight goes on."""
        self.pacer.hold()
        self._monitor.hold()

    def release(self) -> None:
        """Go on after `hold`; the time between was no outage."""
        self._monitor.release()
        self.pacer.release()

    def _on_breaker_change(self, opened: bool) -> None:  # noqa: FBT001
        if not opened:
            self._queue.spread()
        if self.confirmer is not None:
            self.confirmer.on_breaker_change(opened=opened)
        self._observer.breaker_changed(opened=opened)
