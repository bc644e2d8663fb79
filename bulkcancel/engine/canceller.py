"""Takes one ID to its result: waits for breaker and pacer, attempts it, and retries it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio

from bulkcancel.domo import (
    Answer,
    AttemptError,
    Next,
    NotSentError,
    Verdict,
    judge_answer,
    judge_fault,
    outcome_of,
)
from bulkcancel.engine.deferred import AttemptHistory
from bulkcancel.engine.result_factory import bug_result, result_of
from bulkcancel.errors import BulkcancelError
from bulkcancel.pacing import full_jitter

if TYPE_CHECKING:
    import random

    from bulkcancel.domo import DomoClient
    from bulkcancel.engine.deferred import DeferredFailures
    from bulkcancel.engine.events import Observer
    from bulkcancel.engine.limits import RunMonitor
    from bulkcancel.engine.stats import Stats
    from bulkcancel.engine.stop import Stop
    from bulkcancel.models import CancelResult, Target
    from bulkcancel.pacing import AdaptiveRate, Breaker, Pacer

_BASE_S = 0.2
_THROTTLED_BASE_S = 1.0
_FREE_RETRIES = 3
_LOCAL_WAIT_S = 0.5
_FINAL = frozenset({Next.DONE, Next.STOP_TLS})


class Canceller:
    """Cancels one target at a time for each consumer, through all its attempts.

    `attempts` bounds the attempts that count (a throttled one, a stale connection and an
    attempt made while the breaker is open do not). Back-off is full jitter (M. Brooker,
    "Exponential Backoff And Jitter", 2015).
    """

    def __init__(
        self,
        client: DomoClient,
        *,
        host: str,
        pacer: Pacer,
        adaptive: AdaptiveRate,
        breaker: Breaker,
        deferred: DeferredFailures,
        monitor: RunMonitor,
        stats: Stats,
        stop: Stop,
        observer: Observer,
        attempts: int,
        rng: random.Random,
    ) -> None:
        self.host = host
        self._client = client
        self._pacer = pacer
        self._adaptive = adaptive
        self._breaker = breaker
        self._monitor = monitor
        self._stats = stats
        self._stop = stop
        self._observer = observer
        self._attempts = attempts
        self._rng = rng
        self._deferred = deferred

    async def cancel(self, target: Target) -> CancelResult | None:
        """Return the target's result, or `None` if a stop came first or the target was deferred.

        An unexpected exception becomes a result too; a `BulkcancelError` is raised.
        """
        try:
            if self._deferred and target in self._deferred:
                return await self._retry_deferred(target)
            # The fast path: an ID that succeeds at the first attempt costs no history, no
            # verdict and no await but the request's own, unless breaker or pace make it wait.
            probe = False
            if self._breaker.open or not self._pacer.try_acquire():
                with self._stop.waiting() as wait:
                    probe = await self._admit()
                if wait.cancelled_caught:
                    return None
            sent_at = time.monotonic()
            answer = await self._send(target, probe=probe)
            if isinstance(answer, NotSentError):
                return None
            if isinstance(answer, Answer) and answer.instance is not None:
                self._record_success(sent_at)
                return result_of(target, answer, outcome_of(answer.instance.status), self.host)
            result = await self._retry(target, answer, sent_at, AttemptHistory(), probe=probe)
        except BulkcancelError:  # the client is not open: no ID's fault
            raise
        except Exception as error:  # noqa: BLE001 - one ID's fault must not take the others down
            self._observer.bug(target, error)
            result = bug_result(target, error, self.host)
        if result is not None:
            self._monitor.on_result(result)
        return result

    async def _retry_deferred(self, target: Target) -> CancelResult | None:
        """Decide about a deferred ID: return its failure, or attempt it again from the start."""
        result, history = self._deferred.decide(target)
        if history is not None:
            failed = False
            try:
                with self._stop.waiting() as wait:
                    probe = await self._admit()
                if wait.cancelled_caught:
                    return None
                sent_at = time.monotonic()
                answer = await self._send(target, probe=probe)
                self._stats.retries += 1
                history.requests += 1
                result = await self._retry(target, answer, sent_at, history, probe=probe)
                failed = result is not None and not result.ok
            finally:
                self._deferred.finish(history, failed=failed)
        if result is not None:
            self._monitor.on_result(result)
        return result

    async def _retry(
        self,
        target: Target,
        answer: Answer | AttemptError,
        sent_at: float,
        history: AttemptHistory,
        *,
        probe: bool,
    ) -> CancelResult | None:
        """Go on with an ID whose first attempt was no plain success."""
        while True:
            verdict = self._judge(answer, history)
            self._record(verdict, answer, sent_at, probe=probe)
            final = verdict.next in _FINAL or history.unauthorized >= self._attempts
            if self._stop.requested:
                final = final or verdict.next is Next.UNAUTHORIZED
                if not final:
                    return None
            if final or (verdict.transient and self._breaker.open):
                break
            wait_s = self._wait_before_retry_s(verdict.next, history)
            if wait_s is None:
                break
            self._stats.retries += 1
            self._observer.retry_scheduled(target, verdict.error, history.requests, wait_s)
            with self._stop.waiting() as wait:
                await anyio.sleep(wait_s)
                if verdict.transient and self._breaker.open:
                    break
                probe = await self._admit()
            if wait.cancelled_caught:
                return None
            sent_at = time.monotonic()
            answer = await self._send(target, probe=probe, fresh=verdict.next is Next.RETRY_FREE)
            history.requests += 1
        result = result_of(
            target,
            answer,
            verdict.outcome,
            self.host,
            error=verdict.error,
            requests=history.requests,
        )
        deferrable = verdict.transient and not final
        return None if deferrable and self._deferred.defer(target, result, history) else result

    async def _admit(self) -> bool:
        """Wait for breaker and pace; return whether the request is the breaker's probe."""
        while True:
            probe = await self._breaker.admit()
            try:
                await self._pacer.acquire()
            except BaseException:
                self._breaker.on_abandoned(probe=probe)
                raise
            if probe or not self._breaker.open:  # it may have opened during the wait
                return probe

    async def _send(
        self, target: Target, *, probe: bool, fresh: bool = False
    ) -> Answer | AttemptError:
        stats = self._stats
        if probe:
            self._breaker.on_probe_sent()
        # At the start, name look-up and connecting can stall: the requests held up there must not
        # all be sent at once. Later each request finds an open connection.
        pace = None if self._monitor.answered else self._keep_pace
        is_first = target.instance_id not in stats.open_ids
        stats.open_ids.add(target.instance_id)
        stats.requests += 1
        if stats.requests == 1:
            self._monitor.on_first_request()
        stats.in_flight += 1
        try:
            return await self._client.cancel(target.instance_id, fresh=fresh, pace=pace)
        except AttemptError as fault:
            if is_first and not fault.ambiguous:  # nothing has reached the server
                stats.open_ids.discard(target.instance_id)
            stats.requests -= isinstance(fault, NotSentError)
            return fault
        except BaseException:
            self._breaker.on_abandoned(probe=probe)
            raise
        finally:
            stats.in_flight -= 1

    async def _keep_pace(self, stalled_s: float) -> None:
        """Wait for another slot if the pacer can have let others go during the stall."""
        if stalled_s * self._pacer.rate_per_s <= 1:
            return
        with self._stop.waiting() as wait:
            await self._pacer.acquire()
        if wait.cancelled_caught:
            raise NotSentError("the run was stopped")

    def _judge(self, answer: Answer | AttemptError, history: AttemptHistory) -> Verdict:
        if isinstance(answer, AttemptError):
            verdict = judge_fault(answer)
        else:
            verdict = judge_answer(answer, ambiguous_before=history.ambiguous)
        history.ambiguous |= verdict.ambiguous
        history.unauthorized += verdict.next is Next.UNAUTHORIZED
        return verdict

    def _record(
        self, verdict: Verdict, answer: Answer | AttemptError, sent_at: float, *, probe: bool
    ) -> None:
        """Let breaker, pace and monitor know how an attempt ended."""
        if isinstance(answer, Answer) and answer.instance is not None:
            self._record_success(sent_at)
            return
        answered = isinstance(answer, Answer)
        decisive = probe and self._breaker.token_in_doubt
        self._monitor.on_attempt(verdict, answer, decisive=decisive)
        if verdict.transient or (probe and verdict.throttled):
            unauthorized = verdict.next is Next.UNAUTHORIZED
            if not (unauthorized and self._stop.requested):  # there is nothing to wait for
                self._breaker.on_failure(sent_at, probe=probe, open_at_once=unauthorized)
        elif answered and verdict.next is Next.DONE:
            self._breaker.on_success(sent_at)
        else:
            self._breaker.on_abandoned(probe=probe)
        if verdict.throttled:
            self._stats.throttled += 1
            self._adaptive.on_throttled(
                sent_at, time.monotonic(), verdict.pause_s, outage=self._breaker.open
            )
        elif answered:
            self._adaptive.on_success(sent_at, time.monotonic())

    def _record_success(self, sent_at: float) -> None:
        self._breaker.on_success(sent_at)
        self._monitor.on_success()
        self._adaptive.on_success(sent_at, time.monotonic())

    def _wait_before_retry_s(self, step: Next, history: AttemptHistory) -> float | None:
        """Count a failed attempt; return the seconds until the next, `None` if none is left."""
        if step is Next.RETRY_FREE and history.free < _FREE_RETRIES:
            history.free += 1
            history.requests -= 1  # as far as can be told it never reached the server
            return 0.0
        if step is Next.RETRY_UNCOUNTED:
            history.throttled += 1
            return full_jitter(history.throttled - 1, base_s=_THROTTLED_BASE_S, rng=self._rng)
        if step is Next.WAIT_LOCAL:
            self._observer.out_of_descriptors()
            return _LOCAL_WAIT_S * (1 + self._rng.random())
        if not self._breaker.open:  # an outage is nobody's failure: its attempts do not count
            history.counted += 1
        if history.counted >= self._attempts:
            return None
        return full_jitter(max(history.counted - 1, 0), base_s=_BASE_S, rng=self._rng)
