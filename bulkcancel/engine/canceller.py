"""One attempt of one ID, and what follows from it: its result, or another turn in the queue."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bulkcancel.domo import (
    Answer,
    AttemptError,
    Connection,
    Next,
    NoDescriptorsError,
    Verdict,
    judge,
    outcome_of,
)
from bulkcancel.engine.turns import Retry
from bulkcancel.errors import BulkcancelError
from bulkcancel.pacing import equal_jitter

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from bulkcancel.domo import DomoClient
    from bulkcancel.engine.limits import RunMonitor
    from bulkcancel.engine.result_factory import ResultFactory
    from bulkcancel.engine.stats import Observer, Stats
    from bulkcancel.engine.stop import Stop
    from bulkcancel.engine.turns import Turn
    from bulkcancel.models import CancelResult
    from bulkcancel.pacing import AdaptiveRate, Breaker, Pacer

_LOCAL_WAIT_S = 0.5
_STALL_S = 0.05
_NO_REQUEST = frozenset({Next.RETRY_FREE, Next.WAIT_LOCAL})
"""What is not counted among the requests of an ID."""
_FINAL = frozenset({Next.DONE, Next.STOP_TLS, Next.STOP_ISSUER})
_HAS_A_ROW = _FINAL | {Next.UNAUTHORIZED}
"""What has a row where it was the last word on an ID."""


@dataclass(slots=True, kw_only=True)
class Canceller:
    """Makes single attempts, for any number of consumers at a time.

    `attempts` bounds the attempts of an ID that count: a throttled one, a stale connection and
    what fails while the breaker is open do not. Times are in seconds of `clock`.
    """

    client: DomoClient
    results: ResultFactory
    pacer: Pacer
    adaptive: AdaptiveRate
    breaker: Breaker
    monitor: RunMonitor
    stats: Stats
    stop: Stop
    observer: Observer
    attempts: int
    clock: Callable[[], float]
    rng: random.Random
    _connected_at: float = -math.inf
    """When a connection came about last."""
    _refused: Retry | None = None
    """The ID whose 401 has put the token in doubt, or was the probe's since."""

    def try_admit(self, turn: Turn) -> bool:
        """Take a slot if breaker and pace have one now: then `attempt` may be called at once."""
        if isinstance(turn, Retry) and turn.exhausted:
            return True
        return not self.breaker.open and self.pacer.try_acquire()

    async def admit(self) -> bool:
        """Wait for breaker and pace; return whether the request is the breaker's probe."""
        while True:
            probe = await self.breaker.admit()
            await self.pacer.acquire(ahead=probe)
            if probe or not self.breaker.open:  # it may have opened during the wait
                return probe

    async def attempt(self, turn: Turn, *, probe: bool) -> CancelResult | Retry:
        """Send the one request that was admitted; return the result, or the ID to put back.

        One that has used up its attempts is told as failed instead. An unexpected exception
        becomes a result too; a `BulkcancelError` is raised.
        """
        target, retry = (turn.target, turn) if isinstance(turn, Retry) else (turn, None)
        requests = 1 if retry is None else retry.requests + 1
        try:
            if retry is not None and retry.exhausted:
                return self._failed(retry)
            # The fast path: an ID that succeeds at the first attempt, on a connection that is
            # there, costs no history, no verdict and no await but the request's own.
            stats = self.stats
            anew = probe or (retry is not None and retry.needs_new_connection)
            kept = None if anew else self.client.idle()
            connection = kept or await self._connect(retry or Retry(target), probe=probe)
            if not isinstance(connection, Connection):
                return connection
            sent_at = self.clock()
            newly_open = target.instance_id not in stats.open_ids
            stats.open_ids.add(target.instance_id)
            self._count_request(retry)
            stats.in_flight += 1
            answer: Answer | AttemptError
            try:
                answer = await self.client.cancel(target.instance_id, connection)
            except AttemptError as fault:
                answer = fault
                if newly_open and not fault.ambiguous:  # nothing has reached the server
                    stats.open_ids.discard(target.instance_id)
            finally:
                stats.in_flight -= 1
            if isinstance(answer, Answer) and answer.instance is not None:
                self.breaker.on_success(sent_at)
                self.monitor.on_success()
                self.adaptive.on_success(sent_at, self.clock())
                outcome = outcome_of(answer.instance.status)
                return self.results.of(target, answer, outcome, requests=requests)
            return self._after(retry or Retry(target), answer, sent_at, probe=probe)
        except BulkcancelError:  # the client is not open: no ID's fault
            raise
        except Exception as error:  # noqa: BLE001 - one ID's fault must not take the others down
            if probe:
                self.breaker.on_abandoned()
            self.observer.bug(target, error)
            result = self.results.bug(target, error, requests)
            self.monitor.on_failed(result)
            return result

    async def _connect(self, retry: Retry, *, probe: bool) -> Connection | CancelResult | Retry:
        """Return a new connection, or what becomes of the ID without one."""
        client, began, answered = self.client, self.clock(), self.monitor.answered
        if not self.stats.requests:
            self.monitor.on_first_request()
        if probe:
            client.forget_address()
        self.stats.in_flight += 1
        try:
            connection = await client.connect()
        except AttemptError as fault:
            if not isinstance(fault, NoDescriptorsError):
                self._count_request(retry)
            return self._after(retry, fault, began, probe=probe)
        finally:
            self.stats.in_flight -= 1
        if not probe and await self._has_waited(self.clock() - began, answered=answered):
            client.give_back(connection)
            kept = client.idle()  # it may have been closed meanwhile
            if kept is None:
                return retry
            connection = kept
        if self.stop.requested or (self.breaker.open and not probe):
            client.give_back(connection)
            return retry
        return connection

    async def _has_waited(self, stalled_s: float, *, answered: bool) -> bool:
        """Wait for the pace once more after a stall; return whether that was needed.

        Where a name look-up or a handshake takes its time the pacer lets others go meanwhile:
        those held up must not all be sent at once, nor in a pause that was asked for since. One
        that comes by itself goes: else a server that closes each connection would halve the pace.
        """
        interval_s, now = 1 / self.pacer.rate_per_s, self.clock()
        alone = now - self._connected_at >= interval_s / 2
        self._connected_at = now
        unpaced = stalled_s > max(_STALL_S, interval_s) and not (answered and alone)
        if not (unpaced or self.pacer.paused):
            return False
        with self.stop.waiting():
            await self.pacer.acquire(ahead=True)
        return True

    def _count_request(self, retry: Retry | None) -> None:
        if not self.stats.requests:  # it is on its way already where it had to connect
            self.monitor.on_first_request(sent=True)
        self.stats.requests += 1
        # A stale connection took one that is not counted among the requests of the ID.
        again = retry is not None and (retry.requests > 0 or retry.needs_new_connection)
        self.stats.retries += again

    def _after(
        self, retry: Retry, answer: Answer | AttemptError, sent_at: float, *, probe: bool
    ) -> CancelResult | Retry:
        """Return the result of an attempt that was no plain success, or the ID to put back."""
        verdict = judge(answer, ambiguous_before=retry.ambiguous)
        step = verdict.next
        was_open = self.breaker.open
        costs = self._record(verdict, answer, sent_at, retry, probe=probe)
        opened_it = self.breaker.open and not was_open
        retry.begin_anew_after(self.breaker.outages)
        retry.counted += costs
        retry.throttled += step is Next.RETRY_UNCOUNTED
        retry.unauthorized += step is Next.UNAUTHORIZED and (probe or opened_it)
        retry.requests += step not in _NO_REQUEST
        if step is Next.WAIT_LOCAL:  # nothing was sent: what is known of it stays
            self.observer.out_of_descriptors()
        else:
            retry.needs_new_connection = step is Next.RETRY_FREE
            retry.result = retry.failure = None
        retry.failed |= verdict.transient
        retry.ambiguous |= verdict.ambiguous
        retry.ended_at = self.clock()
        if costs:
            retry.failed_at = min(retry.failed_at, retry.ended_at)
        retry.exhausted = max(retry.counted, retry.unauthorized) >= self.attempts
        if verdict.transient or step in _FINAL:
            row = self.results.of(
                retry.target, answer, verdict.outcome, error=verdict.error, requests=retry.requests
            )
            retry.failure = row
            if retry.exhausted or retry.target.failed_before or step in _HAS_A_ROW:
                retry.result = row
        if step in _FINAL:
            return self._failed(retry)
        wait_s = self._wait_before_retry_s(step, retry)
        retry.due = retry.ended_at + wait_s
        if not (retry.exhausted or self.stop.requested):
            self.observer.retry_scheduled(retry.target, verdict.error, retry.requests, wait_s)
        return retry

    def _failed(self, retry: Retry) -> CancelResult:
        """Let the monitor count an ID for which nothing more is sent; return its result."""
        assert retry.result is not None  # noqa: S101 - whoever says that it is over gave it one
        self.monitor.on_failed(retry.result)
        return retry.result

    def _record(
        self,
        verdict: Verdict,
        answer: Answer | AttemptError,
        sent_at: float,
        retry: Retry,
        *,
        probe: bool,
    ) -> bool:
        """Let breaker, pace and monitor know of it; return whether it costs its ID an attempt."""
        answered = isinstance(answer, Answer)
        unauthorized = verdict.next is Next.UNAUTHORIZED
        # Of another ID than the one that put the token in doubt: a 401 may be one ID's trouble.
        in_doubt = self.breaker.token_in_doubt and retry is not self._refused
        self.monitor.on_attempt(verdict, answered=answered, decisive=probe and in_doubt)
        if unauthorized and (probe or not self.breaker.open):
            self._refused = retry
        if unauthorized and self.stop.requested:  # there is nothing to wait for
            return False
        costs = False
        if verdict.transient:
            first = not (retry.failed or retry.target.failed_before)
            costs = self.breaker.on_failure(
                sent_at, first=first, probe=probe, unauthorized=unauthorized
            )
        elif probe and verdict.throttled:
            self.breaker.on_throttled_probe()
        elif verdict.next is Next.DONE:
            self.breaker.on_success(sent_at)
        elif probe:
            self.breaker.on_abandoned()
        now = self.clock()
        if verdict.throttled:
            self.stats.throttled += 1
            self.adaptive.on_throttled(sent_at, now, verdict.pause_s, outage=self.breaker.open)
        elif answered:
            self.adaptive.on_success(sent_at, now)
        return costs

    def _wait_before_retry_s(self, step: Next, retry: Retry) -> float:
        if step is Next.RETRY_FREE or retry.exhausted:
            return 0.0
        if step is Next.WAIT_LOCAL:
            return _LOCAL_WAIT_S * (1 + self.rng.random())
        failures = retry.throttled if step is Next.RETRY_UNCOUNTED else retry.counted
        return equal_jitter(max(failures, 1), self.rng)
