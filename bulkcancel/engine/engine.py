"""Builds the parts of one run around a client and lets them work."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from bulkcancel.engine.canceller import Canceller
from bulkcancel.engine.limits import Guard, Limits
from bulkcancel.engine.pipeline import run_pipeline
from bulkcancel.engine.result import invalid_result
from bulkcancel.errors import UsageError, unwrapped
from bulkcancel.pacing import AdaptiveRate, Breaker, Pacer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.streams.memory import MemoryObjectReceiveStream

    from bulkcancel.engine.events import Client, Observer
    from bulkcancel.engine.pipeline import Items
    from bulkcancel.engine.stats import Stats
    from bulkcancel.engine.stop import Stop
    from bulkcancel.models import CancelResult, InvalidRow, Outcome

_AUTO_CEILING_PER_S = 1000.0
_AUTO_START_PER_S = 5.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How fast, how many at a time, how stubborn. Raises `UsageError` for what makes no sense."""

    rate_per_s: float | None = 10.0
    """Ceiling in requests a second; `None` searches for what the server allows."""
    burst: int = 1
    concurrency: int = 16
    attempts: int = 5
    grace_s: float = 10.0
    limits: Limits = field(default_factory=Limits)
    ok: frozenset[Outcome] = frozenset()
    """Outcomes that count as success besides those that are."""
    succeeded_before: int = 0
    """Successes that an earlier run has left in the results file."""

    def __post_init__(self) -> None:
        if self.rate_per_s is not None and not 0 < self.rate_per_s < math.inf:
            raise UsageError(
                f"rate_per_s must be above 0, or None to search, not {self.rate_per_s}"
            )
        for name in ("burst", "concurrency", "attempts"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")


class Engine:
    """One run: pacer, breaker, retries, guard and pipeline around one client.

    `host` is what the results call the server, if not by the client's name for it.
    """

    def __init__(
        self,
        client: Client,
        policy: Policy,
        *,
        stats: Stats,
        stop: Stop,
        observer: Observer,
        host: str | None = None,
    ) -> None:
        rng = random.Random()
        self._policy = policy
        self._host = host or client.host
        self._stop = stop
        ceiling = policy.rate_per_s or _AUTO_CEILING_PER_S
        start = ceiling if policy.rate_per_s else _AUTO_START_PER_S
        self.pacer = Pacer(start, burst=policy.burst)
        self._guard = Guard(
            stop,
            policy.limits,
            host=self._host,
            timeout_s=client.timeout_s,
            ok=policy.ok,
            succeeded_before=policy.succeeded_before,
        )
        self._canceller = Canceller(
            client,
            host=self._host,
            pacer=self.pacer,
            adaptive=AdaptiveRate(
                self.pacer,
                ceiling_per_s=ceiling,
                on_change=observer.pace_changed,
                rng=rng,
            ),
            breaker=Breaker(
                rng=rng,
                probe_lease_s=2 * client.timeout_s,
                on_change=lambda opened: observer.breaker_changed(opened=opened),
            ),
            guard=self._guard,
            stats=stats,
            stop=stop,
            reporter=observer,
            attempts=policy.attempts,
            rng=rng,
        )

    async def run(
        self,
        items: Items,
        collect: Callable[[MemoryObjectReceiveStream[CancelResult]], Awaitable[None]],
    ) -> None:
        """Work through `items`; returns when done or stopped (`stop.reason` says why).

        Raises what `collect` raises, and any fault of the pipeline itself.
        """
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._guard.watch)
                await run_pipeline(
                    items,
                    cancel=self._canceller.cancel,
                    leftover=self._canceller.leftover,
                    given_up=self._canceller.given_up,
                    reject=self._reject,
                    collect=collect,
                    concurrency=self._policy.concurrency,
                    stop=self._stop,
                    grace_s=self._policy.grace_s,
                )
                tasks.cancel_scope.cancel()
        except ExceptionGroup as group:
            raise unwrapped(group) from None

    def _reject(self, row: InvalidRow) -> CancelResult:
        return invalid_result(row, self._host)
