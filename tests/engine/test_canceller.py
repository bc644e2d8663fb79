"""One attempt of one ID and what follows from it, on virtual time."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

from bulkcancel.domo import Connection
from bulkcancel.engine.canceller import Canceller
from bulkcancel.engine.limits import Limits, RunMonitor
from bulkcancel.engine.result_factory import ResultFactory
from bulkcancel.engine.stats import Stats
from bulkcancel.engine.stop import Stop
from bulkcancel.engine.turns import Retry, Turn
from bulkcancel.errors import StoppedError, TokenRefusedError, UsageError
from bulkcancel.http.faults import (
    IdleConnectionClosedError,
    NoDescriptorsError,
    TlsFailedError,
)
from bulkcancel.models import CancelResult, Outcome, Target
from bulkcancel.pacing import AdaptiveRate, Breaker, Pacer
from bulkcancel.pacing.breaker import THRESHOLD
from tests.support import faulty_answers as answers
from tests.support.runs import Observed, make_ids
from tests.support.virtual_server import (
    KEPT,
    NEW,
    Said,
    VirtualClient,
    VirtualServer,
    delayed,
    refused,
)
from tests.support.virtual_time import now, on_virtual_time

IDS = make_ids(20)
TARGETS = [Target(each, f"ids.txt:{n}") for n, each in enumerate(IDS, 1)]
FINISHED_AT = datetime(2026, 11, 28, 3, 0, tzinfo=UTC)


class Bench:
    """A canceller among its parts; `answers` are given one after the other, then all is well."""

    def __init__(
        self, *said: Said, attempts: int = 3, rate_per_s: float = 1000.0,
        limits: Limits | None = None,
    ) -> None:  # fmt: skip
        self.said = list(said)
        self.server = VirtualServer(self._plan)
        self.server.began = now()
        self.client = VirtualClient(self.server, timeout_s=30.0)
        self.stop, self.stats, self.observed = Stop(), Stats(), Observed()
        rng = random.Random(1)
        self.pacer = Pacer(rate_per_s, clock=now)
        self.breaker = Breaker(rng=rng, on_change=lambda _: None, clock=now)
        self.monitor = RunMonitor(
            self.stop, limits or Limits(), host="acme.domo.com", timeout_s=30.0, ok=frozenset(),
            succeeded_before=0, clock=now,
        )  # fmt: skip
        self.canceller = Canceller(
            client=self.client,
            results=ResultFactory("acme.domo.com", lambda: FINISHED_AT),
            pacer=self.pacer,
            adaptive=AdaptiveRate(
                self.pacer, ceiling_per_s=rate_per_s, on_change=self.observed.pace_changed, rng=rng
            ),
            breaker=self.breaker,
            monitor=self.monitor,
            stats=self.stats,
            stop=self.stop,
            observer=self.observed,
            attempts=attempts,
            clock=now,
            rng=rng,
        )

    def _plan(self, instance_id: str, _nth: int) -> Said:
        return self.said.pop(0) if self.said else answers.ok(instance_id)

    async def attempt(self, turn: Turn = TARGETS[0]) -> CancelResult | Retry:
        probe = False
        if not self.canceller.try_admit(turn):
            probe = await self.canceller.admit()
        return await self.canceller.attempt(turn, probe=probe)

    async def result(self, turn: Turn = TARGETS[0]) -> CancelResult:
        result = await self.attempt(turn)
        assert isinstance(result, CancelResult)
        return result

    async def retry(self, turn: Turn = TARGETS[0]) -> Retry:
        retry = await self.attempt(turn)
        assert isinstance(retry, Retry)
        return retry

    def open_breaker(self) -> None:
        for _ in range(THRESHOLD):
            self.breaker.on_failure(now(), first=True)
        assert self.breaker.open


# ------------------------------------------------------------------ results


@on_virtual_time
async def test_a_success_is_a_result() -> None:
    """All that is known of the ID stands in it."""
    bench = Bench(answers.ok(IDS[0], "CANCELED"))
    assert (await bench.result())._replace(latency_ms=2.0) == CancelResult(
        IDS[0], Outcome.CANCELED, "CANCELED", "AddTwoNumbers", "1.1.0", answers.MODEL_ID, 200, 1,
        "", 2.0, FINISHED_AT, "acme.domo.com", "ids.txt:1",
    )  # fmt: skip
    assert (bench.stats.requests, bench.stats.retries, bench.stats.in_flight) == (1, 0, 0)


@on_virtual_time
async def test_a_refusal_is_a_result() -> None:
    """It says why, counts as a failure, and shows the server at work."""
    bench = Bench(answers.problem(404, "no such run"))
    result = await bench.result()
    assert (result.outcome, result.http_status, result.attempts) == (Outcome.NOT_FOUND, 404, 1)
    assert result.error == "not_found: HTTP 404: no such run"
    assert bench.breaker.well_since(-1)
    assert bench.monitor.answered


@on_virtual_time
async def test_a_failure_is_put_back_and_counts() -> None:
    """Once, twice; the third of three attempts is the last, with its row; waits double."""
    bench = Bench(*[answers.problem(500, "oh")] * 3)
    retry = await bench.retry()
    assert (retry.target, retry.requests, retry.counted) == (TARGETS[0], 1, 1)
    assert 0.75 <= retry.due - now() <= 1.5
    assert not retry.exhausted
    assert retry.result is None
    assert await bench.retry(retry) is retry
    assert 1.5 <= retry.due - now() <= 3.0
    assert (retry.requests, retry.counted, retry.ended_at) == (2, 2, now())
    assert bench.stats.retries == 1
    assert bench.observed.retries == ["server_error: HTTP 500: oh"] * 2
    target, request, wait_s = bench.observed.scheduled[-1]
    assert (target, request) == (TARGETS[0], 2)
    assert wait_s == pytest.approx(retry.due - now())
    assert await bench.retry(retry) is retry
    assert len(bench.observed.retries) == 2
    assert (retry.exhausted, retry.due) == (True, now())
    assert bench.stats.throttled == 0
    assert bench.observed.paces == []
    assert bench.stats.retries == 2
    assert bench.stats.requests == 3
    result = await bench.result(retry)
    assert (result.outcome, result.attempts) == (Outcome.FAILED, 3)
    assert result.error == "server_error: HTTP 500: oh"
    assert len(bench.server.requests) == 3


@on_virtual_time
async def test_a_success_after_failures_counts_its_requests() -> None:
    """Whatever came before, the last word counts."""
    bench = Bench(answers.problem(500), answers.limited(None))
    retry = await bench.retry(await bench.retry())
    result = await bench.result(retry)
    assert (result.outcome, result.attempts, result.error) == (Outcome.ACCEPTED, 3, "")


@on_virtual_time
async def test_being_throttled_costs_nothing() -> None:
    """However often; the waits double all the same, and the pace hears of it."""
    bench = Bench(*[answers.limited(None)] * 8)
    retry = await bench.retry()
    for n in range(1, 8):
        most_s = min(1.5 * 2 ** (n - 1), 30)
        assert most_s / 2 <= retry.due - now() <= most_s
        assert (retry.throttled, retry.counted, retry.exhausted) == (n, 0, False)
        await bench.retry(retry)
    assert bench.stats.throttled == 8
    assert bench.pacer.rate_per_s < 1000
    assert bench.breaker.streak == 0


@on_virtual_time
async def test_a_pause_that_is_asked_for_holds_all() -> None:
    """`Retry-After` of a 429, and of a 503, which is a failure too."""
    for status in (429, 503):
        bench = Bench(answers.problem(status, **{"Retry-After": "20"}))
        await bench.retry()
        began = now()
        await bench.result(TARGETS[1])
        assert 20 <= now() - began <= 22
        assert bench.breaker.streak == 0


@on_virtual_time
async def test_a_stale_connection_costs_nothing() -> None:
    """At once, on a fresh one; that request does not count, but it may have done its work."""
    bench = Bench(
        IdleConnectionClosedError("the server had closed an idle connection"),
        answers.problem(404),
    )
    retry = await bench.retry()
    assert (retry.due, retry.needs_new_connection, retry.requests, retry.counted) == (
        now(),
        True,
        0,
        0,
    )
    assert bench.breaker.streak == 0
    result = await bench.result(retry)
    assert [seen.fresh for seen in bench.server.requests] == [False, True]
    assert (bench.stats.requests, bench.stats.retries) == (2, 1)
    assert result.attempts == 1
    assert "an earlier attempt may have cancelled it" in result.error


@on_virtual_time
async def test_a_fresh_connection_is_asked_for_once() -> None:
    """The attempt after that takes whatever is there."""
    bench = Bench(IdleConnectionClosedError("gone"), answers.problem(500))
    retry = await bench.retry(await bench.retry())
    assert not retry.needs_new_connection
    await bench.result(retry)
    assert [seen.fresh for seen in bench.server.requests] == [False, True, False]


@on_virtual_time
async def test_what_may_have_been_done_is_remembered() -> None:
    """An answer lost twice ago, and a refusal now."""
    bench = Bench(answers.gone(), answers.problem(500), answers.problem(409))
    retry = await bench.retry(await bench.retry())
    result = await bench.result(retry)
    assert "an earlier attempt may have cancelled it" in result.error


@on_virtual_time
async def test_no_descriptor_left_is_told_and_costs_nothing() -> None:
    """This machine's trouble: the ID comes again within a second."""
    bench = Bench(NoDescriptorsError("no more"))
    retry = await bench.retry()
    assert 0.5 <= retry.due - now() <= 1.0
    assert (retry.counted, bench.observed.descriptors, bench.breaker.streak) == (0, 1, 0)


@pytest.mark.parametrize("sent", [True, False])
@on_virtual_time
async def test_what_is_known_of_an_id_stays_where_nothing_is_sent(sent: bool) -> None:
    """Its last answer was a 401: that is its row, should the run end now."""
    nothing = IdleConnectionClosedError("gone") if sent else NoDescriptorsError("no more")
    bench = Bench(answers.problem(401), nothing)
    retry = await bench.retry()
    known = retry.result
    assert known is not None
    assert (await bench.retry(retry)).result == (None if sent else known)


@on_virtual_time
async def test_broken_tls_ends_the_run_with_a_row() -> None:
    """Nothing is sent over it."""
    bench = Bench(TlsFailedError("self-signed"))
    result = await bench.result()
    assert (result.outcome, result.error) == (Outcome.FAILED, "tls: self-signed")
    assert isinstance(bench.stop.reason, StoppedError)
    assert bench.stats.retries == 0


@on_virtual_time
async def test_a_client_that_is_not_open_is_raised() -> None:
    """No ID has failed because of it."""
    bench = Bench()

    async def closed(*_: object, **__: object) -> None:
        raise UsageError("use DomoClient as a context manager")

    bench.client.cancel = closed  # type: ignore[method-assign,assignment]
    with pytest.raises(UsageError):
        await bench.attempt()
    assert bench.stats.in_flight == 0


@on_virtual_time
async def test_requests_in_flight_are_counted() -> None:
    """As many as there are, whatever comes of them."""
    bench = Bench(delayed(answers.ok(IDS[0]), 1.0), delayed(answers.problem(500), 2.0), refused())
    seen: list[int] = []
    async with anyio.create_task_group() as tasks:
        for target in TARGETS[:2]:
            tasks.start_soon(bench.attempt, target)
        for _ in range(3):
            await anyio.sleep(0.9)
            seen.append(bench.stats.in_flight)
    await bench.attempt(TARGETS[2])
    assert seen == [2, 1, 0]
    assert bench.stats.in_flight == 0


@on_virtual_time
async def test_the_first_request_starts_the_clock_of_a_host_that_never_answers() -> None:
    """It is still unanswered when the run is stopped for it."""
    bench = Bench(answers.silence())
    bench.client.timeout_s = 300.0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.attempt)
        await bench.monitor.watch()
        tasks.cancel_scope.cancel()
    assert "the first request is still unanswered" in str(bench.stop.reason)


@on_virtual_time
async def test_a_fault_in_bulkcancel_is_told_with_its_id() -> None:
    """And the row says what kind it is; nothing is in flight any more."""
    bench = Bench()
    fault = LookupError("no")
    told: list[object] = []

    async def broken(*_: object, **__: object) -> None:
        raise fault

    bench.client.cancel = broken  # type: ignore[method-assign,assignment]
    bench.observed.bug = lambda *said: told.extend(said)  # type: ignore[method-assign]
    result = await bench.result()
    assert told == [TARGETS[0], fault]
    assert (result.instance_id, result.outcome) == (IDS[0], Outcome.FAILED)
    assert "(LookupError)" in result.error
    assert bench.stats.in_flight == 0


# ------------------------------------------------------------------ breaker and pace


@on_virtual_time
async def test_an_attempt_may_go_at_once_if_breaker_and_pace_allow_it() -> None:
    """It takes its slot; while the breaker is open none is taken."""
    bench = Bench(rate_per_s=1.0)
    assert bench.canceller.try_admit(TARGETS[0])
    assert not bench.canceller.try_admit(TARGETS[0])
    assert not bench.canceller.try_admit(Retry(TARGETS[0]))
    bench.open_breaker()
    await anyio.sleep(1.1)
    assert not bench.canceller.try_admit(TARGETS[0])
    assert bench.pacer.try_acquire()


@on_virtual_time
async def test_one_that_is_exhausted_is_told_without_breaker_or_pace() -> None:
    """Nothing is sent for it: it takes no slot from the others."""
    bench = Bench(rate_per_s=1.0)
    exhausted = Retry(TARGETS[0], exhausted=True)
    bench.open_breaker()
    assert bench.canceller.try_admit(exhausted)
    assert bench.pacer.try_acquire()
    assert bench.canceller.try_admit(exhausted)


@on_virtual_time
async def test_the_breaker_is_asked_again_after_the_wait_for_the_pace() -> None:
    """It opened meanwhile: one of those who waited is the probe, the others go when it closes."""
    bench = Bench(rate_per_s=0.5)
    assert bench.pacer.try_acquire()
    admitted: list[tuple[bool, float]] = []
    began = now()

    async def wait() -> None:
        probe = await bench.canceller.admit()
        admitted.append((probe, now() - began))
        if probe:
            await anyio.sleep(20)
            bench.breaker.on_success(now())

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(wait)
        await anyio.sleep(1)
        bench.open_breaker()
    assert [probe for probe, _ in admitted] == [True, False, False]
    assert admitted[0][1] >= 2
    assert admitted[1][1] >= admitted[0][1] + 20


# ------------------------------------------------------------------ what it does to the breaker


@on_virtual_time
async def test_only_the_first_attempt_of_an_id_counts_towards_an_outage() -> None:
    """Not its later ones, and not those of IDs that an earlier run has failed."""
    bench = Bench(*[answers.problem(500)] * 9, attempts=9)
    retry = await bench.retry()
    assert bench.breaker.streak == 1
    for _ in range(3):
        await bench.retry(retry)
    assert bench.breaker.streak == 1
    assert retry.counted == 4
    old = await bench.retry(Target(IDS[5], "", failed_before=True))
    await bench.retry(old)
    assert bench.breaker.streak == 1
    assert old.counted == 2
    await bench.retry(TARGETS[6])
    assert bench.breaker.streak == 2


@on_virtual_time
async def test_any_trouble_on_the_way_counts_towards_an_outage() -> None:
    """No HTTP, no answer of the API, none in time, none at all: each costs its ID an attempt."""
    said: list[Said] = [
        answers.gone(sent=answers.GARBAGE_STATUS_LINE), answers.page(404), answers.page(),
        answers.silence(), answers.gone(), refused(), answers.problem(500),
    ]  # fmt: skip
    bench = Bench(answers.ok(IDS[0]), *said)
    await bench.result()
    for n in range(1, len(said) + 1):
        retry = await bench.retry(TARGETS[n])
        assert (retry.counted, bench.breaker.streak) == (1, n)


@on_virtual_time
async def test_an_id_that_has_failed_is_never_a_first_attempt_again() -> None:
    """Whatever was answered in between."""
    bench = Bench(answers.problem(500), answers.limited(None), answers.problem(500))
    retry = await bench.retry()
    await bench.retry(retry)
    await bench.retry(retry)
    assert (retry.counted, bench.breaker.streak) == (2, 1)


@on_virtual_time
async def test_the_first_failure_after_a_429_counts() -> None:
    """That it was throttled before told nothing of the server's health."""
    bench = Bench(answers.limited(None), answers.problem(500))
    await bench.retry(await bench.retry())
    assert bench.breaker.streak == 1


@on_virtual_time
async def test_what_says_nothing_of_the_server_leaves_the_breaker_as_it_is() -> None:
    """It is no failure, and no sign that the server is well."""
    bench = Bench(
        answers.problem(500), answers.limited(None), IdleConnectionClosedError("gone"),
        NoDescriptorsError("no more"), TlsFailedError("self-signed"),
    )  # fmt: skip
    for target in TARGETS[:5]:
        await bench.attempt(target)
        assert bench.breaker.streak == 1
    assert not bench.breaker.well_since(-1)


class _Pace:
    """Keeps what is said to the adaptive pace."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def on_success(self, sent_at: float, now: float) -> None:
        self.heard.append(("well", sent_at, now))

    def on_throttled(
        self, sent_at: float, now: float, pause_s: float | None, *, outage: bool
    ) -> None:
        self.heard.append(("throttled", sent_at, now, pause_s, outage))


@on_virtual_time
async def test_the_pace_hears_when_requests_were_sent_and_answered() -> None:
    """And of a 429 what pause it asks for, and whether there is an outage."""
    bench = Bench(
        *(delayed(each, 1.0) for each in (answers.ok(IDS[0]), answers.problem(404))),
        *(delayed(answers.limited("7"), 1.0) for _ in range(2)),
    )
    pace = _Pace()
    bench.canceller.adaptive = cast("AdaptiveRate", pace)
    sent: list[float] = []
    for n in range(4):
        if n == 3:
            bench.open_breaker()
        await bench.attempt(TARGETS[n])
        sent.append(now() - 1.002)
    assert pace.heard == [
        ("well", pytest.approx(sent[0]), pytest.approx(sent[0] + 1.002)),
        ("well", pytest.approx(sent[1]), pytest.approx(sent[1] + 1.002)),
        ("throttled", pytest.approx(sent[2]), pytest.approx(sent[2] + 1.002), 7, False),
        ("throttled", pytest.approx(sent[3]), pytest.approx(sent[3] + 1.002), 7, True),
    ]


@pytest.mark.parametrize(
    ("said", "rate_per_s"),
    [(answers.ok(IDS[0]), 800), (answers.problem(404), 800), (refused(), 400)],
)
@on_virtual_time
async def test_the_pace_hears_of_every_answer_that_was_not_throttled(
    said: Said, rate_per_s: float
) -> None:
    """Eight of them end the first stage of its warm-up; what had no answer counts for nothing."""
    bench = Bench(*[said] * 8)
    bench.monitor.on_success()
    for _ in range(8):
        await bench.attempt()
    assert bench.pacer.rate_per_s == pytest.approx(rate_per_s)


@on_virtual_time
async def test_what_fails_while_the_breaker_is_open_costs_nothing() -> None:
    """The probe itself, and what was under way when it opened."""
    bench = Bench(delayed(answers.problem(500), 3.0), answers.problem(500), attempts=1)
    late: list[Retry] = []

    async def send() -> None:
        late.append(await bench.retry())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        await anyio.sleep(0.5)
        bench.open_breaker()
        began = now()
        probe = await bench.retry(TARGETS[1])
        assert now() - began >= 0.7
    for retry in (probe, *late):
        assert (retry.counted, retry.exhausted, retry.outages) == (0, False, 1)
        assert 0.75 <= retry.due - retry.ended_at <= 1.5


@on_virtual_time
async def test_what_was_under_way_when_the_breaker_opened_begins_anew() -> None:
    """The failure before the outage no longer counts when the next one comes after it."""
    bench = Bench(
        answers.problem(500), delayed(answers.problem(500), 3.0), answers.ok(IDS[1]),
        answers.problem(500), attempts=2,
    )  # fmt: skip
    retry = await bench.retry()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.retry, retry)
        await anyio.sleep(0.5)
        bench.open_breaker()
        await bench.result(TARGETS[1])
    await bench.retry(retry)
    assert (retry.counted, retry.exhausted, retry.requests) == (1, False, 3)


@on_virtual_time
async def test_a_probe_that_shows_nothing_makes_room_for_the_next() -> None:
    """It met this machine's own trouble, or a fault in bulkcancel: the next one goes at once."""
    for nothing in (NoDescriptorsError("no more"), IdleConnectionClosedError("gone")):
        bench = Bench(nothing)
        bench.open_breaker()
        await bench.retry()
        began = now()
        assert (await bench.result(TARGETS[1])).ok
        assert now() - began < 0.1
        assert not bench.breaker.open
    bench = Bench()
    bench.open_breaker()
    bench.server.plan = lambda _i, _n: None  # type: ignore[assignment,return-value]
    assert "please report it" in (await bench.result()).error
    bench.server.plan = lambda i, _n: answers.ok(i)
    began = now()
    assert (await bench.result(TARGETS[1])).ok
    assert now() - began < 0.1


@on_virtual_time
async def test_a_throttled_probe_is_a_failed_probe() -> None:
    """The next one waits longer, the pace stays, and the ID loses nothing."""
    bench = Bench(answers.limited(None))
    bench.open_breaker()
    retry = await bench.retry()
    assert (retry.counted, retry.throttled) == (0, 1)
    assert bench.pacer.rate_per_s >= 400
    began = now()
    await bench.result(TARGETS[1])
    assert 1.5 <= now() - began <= 2.6


@on_virtual_time
async def test_a_throttled_answer_that_is_no_probe_tells_the_breaker_nothing() -> None:
    """It was under way when the breaker opened; the probe goes when it is due."""
    bench = Bench(delayed(answers.limited(None), 0.5))
    opened = now()

    async def send() -> None:
        await bench.retry()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        await anyio.sleep(0.1)
        bench.open_breaker()
        await bench.result(TARGETS[1])
    assert 0.8 <= now() - opened <= 1.4


# ------------------------------------------------------------------ 401


@on_virtual_time
async def test_a_401_as_the_first_word_ends_the_run_with_its_row() -> None:
    """There is nothing to wait for: the breaker stays as it is."""
    bench = Bench(answers.problem(401))
    retry = await bench.retry()
    assert isinstance(bench.stop.reason, TokenRefusedError)
    assert retry.result is not None
    assert retry.result.error == "unauthorized: HTTP 401: no"
    assert (retry.counted, retry.unauthorized) == (0, 0)
    assert not bench.breaker.open
    assert bench.stats.retries == 0


@on_virtual_time
async def test_a_401_later_on_holds_all_and_another_id_decides() -> None:
    """The same ID refused again proves nothing, another one does."""
    bench = Bench(answers.ok(IDS[0]), *[answers.problem(401)] * 3)
    await bench.result()
    retry = await bench.retry(TARGETS[1])
    assert bench.breaker.open
    assert (retry.counted, retry.unauthorized) == (0, 1)
    await bench.retry(retry)
    assert bench.stop.reason is None
    await bench.retry(TARGETS[2])
    assert isinstance(bench.stop.reason, TokenRefusedError)


@on_virtual_time
async def test_a_401_to_a_probe_in_an_outage_is_not_the_last_word() -> None:
    """It puts the token in doubt; the next probe decides."""
    bench = Bench(answers.ok(IDS[0]), answers.problem(401), answers.problem(401))
    await bench.result()
    await anyio.sleep(1)
    bench.open_breaker()
    await bench.retry(TARGETS[1])
    assert bench.stop.reason is None
    await bench.retry(TARGETS[2])
    assert isinstance(bench.stop.reason, TokenRefusedError)


@on_virtual_time
async def test_a_401_that_was_under_way_decides_nothing() -> None:
    """It was sent before the token was in doubt: only a probe tells how it is now."""
    bench = Bench(answers.ok(IDS[0]), *(delayed(answers.problem(401), s) for s in (0.1, 0.2)))
    await bench.result()
    async with anyio.create_task_group() as tasks:
        for target in TARGETS[1:3]:
            tasks.start_soon(bench.attempt, target)
    assert bench.breaker.token_in_doubt
    assert bench.stop.reason is None


@on_virtual_time
async def test_an_id_does_not_confirm_its_own_401() -> None:
    """Though another one's, which was under way, came in between: no attempt of that was used."""
    refusal = answers.problem(401)
    bench = Bench(answers.ok(IDS[0]), delayed(refusal, 0.1), delayed(refusal, 0.2), refusal)
    await bench.result()
    retries: dict[Target, CancelResult | Retry] = {}

    async def send(target: Target) -> None:
        retries[target] = await bench.attempt(target)

    async with anyio.create_task_group() as tasks:
        for target in TARGETS[1:3]:
            tasks.start_soon(send, target)
    one, other = retries[TARGETS[1]], retries[TARGETS[2]]
    assert isinstance(one, Retry)
    assert isinstance(other, Retry)
    assert (one.unauthorized, other.unauthorized) == (1, 0)
    await bench.retry(one)
    assert (one.unauthorized, bench.stop.reason) == (2, None)
    await bench.result(other)
    assert not bench.breaker.open


@on_virtual_time
async def test_a_429_to_a_probe_leaves_the_token_in_doubt() -> None:
    """It says nothing of the token: the next probe waits longer, and decides."""
    bench = Bench(
        answers.ok(IDS[0]), answers.problem(401), answers.limited(None), answers.problem(401)
    )
    await bench.result()
    await bench.retry(TARGETS[1])
    opened_at = now()
    await bench.retry(TARGETS[2])
    assert (bench.breaker.open, bench.breaker.token_in_doubt) == (True, True)
    await bench.retry(TARGETS[3])
    assert now() - opened_at > 2.2
    assert isinstance(bench.stop.reason, TokenRefusedError)


@on_virtual_time
async def test_other_trouble_of_a_probe_ends_the_doubt() -> None:
    """It is a failure like others; two refusals after it are needed to stop the run."""
    bench = Bench(
        answers.ok(IDS[0]), answers.problem(401), answers.problem(500), *[answers.problem(401)] * 2
    )
    await bench.result()
    await bench.retry(TARGETS[1])
    other = await bench.retry(TARGETS[2])
    assert (bench.breaker.open, bench.breaker.streak, other.counted) == (False, 1, 1)
    await bench.retry(other)
    assert bench.stop.reason is None
    await bench.retry(TARGETS[3])
    assert isinstance(bench.stop.reason, TokenRefusedError)


@on_virtual_time
async def test_an_id_that_is_always_refused_fails_alone() -> None:
    """After as many 401s as it has attempts, while others succeed."""
    bench = Bench()
    bench.server.plan = lambda i, _n: answers.problem(401) if i == IDS[1] else answers.ok(i)
    await bench.result()
    turn: Turn = TARGETS[1]
    for n in range(1, 4):
        retry = await bench.retry(turn)
        assert (retry.unauthorized, retry.exhausted) == (n, n == 3)
        turn = retry
        await bench.result(TARGETS[1 + n])
    assert bench.stop.reason is None
    assert (await bench.result(turn)).error == "unauthorized: HTTP 401: no"


@on_virtual_time
async def test_a_row_for_a_401_goes_when_it_was_not_the_last_word() -> None:
    """A later failure takes its place, and has none as long as attempts are left."""
    bench = Bench(answers.ok(IDS[0]), answers.problem(401), answers.problem(500))
    await bench.result()
    retry = await bench.retry(TARGETS[1])
    assert retry.result is not None
    await bench.retry(retry)
    assert retry.result is None


# ------------------------------------------------------------------ limits


@pytest.mark.parametrize("failure", ["refused", "exhausted", "bug"])
@on_virtual_time
async def test_each_failed_id_counts_towards_the_limit(failure: str) -> None:
    """Once, when its row is known to be its last."""
    bench = Bench(attempts=2, limits=Limits(max_failures=2))
    said = answers.problem(404 if failure == "refused" else 500)
    bench.server.plan = lambda _i, _n: said
    if failure == "bug":
        bench.server.plan = lambda _i, _n: None  # type: ignore[assignment,return-value]
    for target in TARGETS[:2]:
        assert bench.stop.reason is None
        turn: Turn = target
        while isinstance(came := await bench.attempt(turn), Retry):
            turn = came
    assert str(bench.stop.reason) == "2 failed, the limit of max_failures"
    assert len(bench.observed.bugs) == (2 if failure == "bug" else 0)


@on_virtual_time
async def test_each_success_counts_towards_the_share() -> None:
    """Three of a hundred and two are more than a fiftieth."""
    bench = Bench(limits=Limits(max_failure_share=0.02))
    for _ in range(99):
        await bench.result()
    bench.said = [answers.problem(404)] * 3
    for target in TARGETS[:2]:
        await bench.result(target)
    assert bench.stop.reason is None
    await bench.result(TARGETS[2])
    assert str(bench.stop.reason) == "3 failed, the limit of max_failure_share"


# ------------------------------------------------------------------ stops


@on_virtual_time
async def test_a_failure_after_a_stop_is_put_back_without_a_word() -> None:
    """It will not be sent again by this run."""
    bench = Bench(delayed(answers.problem(500), 2.0))

    async def stop() -> None:
        await anyio.sleep(1)
        bench.stop.request(StoppedError("enough"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop)
        retry = await bench.retry()
    assert retry.counted == 1
    assert bench.stats.retries == 0
    assert bench.observed.retries == []


# ------------------------------------------------------------------ connections


def _no_idle_ones(
    bench: Bench, during: Callable[[], Coroutine[Any, Any, None]]
) -> list[Connection]:
    """Have every request open a connection, and `during` go on meanwhile; return what is back."""
    given_back: list[Connection] = []

    async def connect() -> Connection:
        await during()
        return NEW

    client: Any = bench.client
    client.idle = lambda: None
    client.connect = connect
    client.give_back = given_back.append
    return given_back


@on_virtual_time
async def test_what_waits_for_the_pace_with_its_connection_is_not_sent_after_a_stop() -> None:
    """Connecting took long, others were let go meanwhile, and then came the stop."""
    bench = Bench(rate_per_s=2.0)
    given_back = _no_idle_ones(bench, lambda: anyio.sleep(3))

    async def stop() -> None:
        await anyio.sleep(1)
        bench.pacer.pause_until(now() + 60)
        await anyio.sleep(4)
        bench.stop.request(StoppedError("enough"))

    began = now()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop)
        retry = await bench.retry()
    assert (retry.target, retry.requests, retry.result) == (TARGETS[0], 0, None)
    assert now() - began == pytest.approx(5)
    assert bench.server.requests == []
    assert given_back == [NEW]
    assert bench.stats.requests == bench.stats.in_flight == 0
    assert bench.stats.open_ids == set()


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("takes_s", [0.0, 3.0])
@on_virtual_time
async def test_what_has_connected_is_not_sent_into_an_outage(
    takes_s: float, answered: bool
) -> None:
    """The breaker has opened meanwhile: it comes again as if it had never been let go."""
    bench = Bench(rate_per_s=2.0)
    if answered:
        await bench.result(TARGETS[1])
    sent = bench.stats.requests

    async def connect() -> None:
        await anyio.sleep(takes_s)
        bench.open_breaker()

    given_back = _no_idle_ones(bench, connect)
    retry = await bench.retry()
    assert (retry.requests, retry.failed, bench.stats.requests) == (0, False, sent)
    assert given_back == [NEW]


@on_virtual_time
async def test_a_probe_never_waits_with_its_connection() -> None:
    """It has the pace to itself; its connection is new, to where the name leads by then."""
    bench = Bench(refused(), rate_per_s=2.0)
    bench.open_breaker()
    _no_idle_ones(bench, lambda: anyio.sleep(3))
    forgotten: list[float] = []
    bench.client.forget_address = lambda: forgotten.append(now())  # type: ignore[method-assign]
    retry = await bench.retry()
    assert retry.requests == 1
    assert [seen.fresh for seen in bench.server.requests] == [True]
    assert bench.server.requests[0].at == pytest.approx(forgotten[0] - bench.server.began + 3)


@on_virtual_time
async def test_only_a_probe_has_the_name_looked_up_anew() -> None:
    """All others use what is there."""
    bench = Bench(IdleConnectionClosedError("gone"))
    forgotten: list[float] = []
    bench.client.forget_address = lambda: forgotten.append(now())  # type: ignore[method-assign]
    await bench.result(await bench.retry())
    assert [seen.fresh for seen in bench.server.requests] == [False, True]
    assert forgotten == []


@pytest.mark.parametrize(("takes_s", "waits"), [(0.04, False), (0.5, False), (0.6, True)])
@on_virtual_time
async def test_only_a_long_wait_for_the_connection_takes_a_second_slot(
    takes_s: float, waits: bool
) -> None:
    """Within the interval of 0.5 s nobody else can have been let go."""
    bench = Bench(rate_per_s=2.0)
    _no_idle_ones(bench, lambda: anyio.sleep(takes_s))
    bench.pacer.acquire = wait = _Waits()  # type: ignore[method-assign]
    await bench.attempt()
    assert wait.ahead == [True] * waits


class _Waits:
    """Stands for the pacer's `acquire`; keeps how it was called."""

    def __init__(self) -> None:
        self.ahead: list[bool] = []

    async def __call__(self, *, ahead: bool = False) -> None:
        self.ahead.append(ahead)


@on_virtual_time
async def test_what_waits_with_its_connection_goes_ahead_of_others() -> None:
    """It was let go once before."""
    bench = Bench(rate_per_s=2.0)
    order: list[str] = []
    _no_idle_ones(bench, lambda: anyio.sleep(0.9))

    async def attempt() -> None:
        await bench.attempt()
        order.append("connected")

    async def wait() -> None:
        await bench.pacer.acquire()
        order.append("other")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(attempt)
        await anyio.sleep(0.05)
        for _ in range(2):
            tasks.start_soon(wait)
    assert order == ["other", "connected", "other"]


@on_virtual_time
async def test_what_has_connected_in_a_pause_waits_for_its_end() -> None:
    """Nothing is sent while the server asks to be left alone."""
    bench = Bench()

    async def connect() -> None:
        await anyio.sleep(0.001)
        bench.pacer.pause_until(now() + 10)

    _no_idle_ones(bench, connect)
    bench.client.idle = lambda: KEPT if given_back else None  # type: ignore[method-assign]
    given_back: list[Connection] = []
    bench.client.give_back = given_back.append  # type: ignore[method-assign,assignment]
    began = now()
    await bench.result()
    assert now() - began == pytest.approx(10, abs=0.01)
    assert given_back == [NEW]
    assert [seen.fresh for seen in bench.server.requests] == [False]  # it may have been closed


@on_virtual_time
async def test_what_was_closed_during_a_wait_comes_again() -> None:
    """It has cost nothing, and tells nothing of the server."""
    bench = Bench(rate_per_s=2.0)
    _no_idle_ones(bench, lambda: anyio.sleep(3))
    retry = await bench.retry()
    assert (retry.requests, retry.counted, retry.needs_new_connection) == (0, 0, False)
    assert bench.stats.requests == 0


@pytest.mark.parametrize("answered", [False, True])
@on_virtual_time
async def test_what_piled_up_while_connecting_is_spaced_out(answered: bool) -> None:
    """Connections that hang and come about at once: no second holds more than the rate and one."""
    bench = Bench(rate_per_s=20.0)
    if answered:
        await bench.result(TARGETS[19])
    connected: list[Connection] = []
    free_at = now() + 3

    async def connect() -> Connection:
        await anyio.sleep(max(free_at - now(), 0))
        return NEW

    client: Any = bench.client
    client.idle = lambda: connected.pop() if connected else None
    client.connect, client.give_back = connect, connected.append

    async def work(n: int) -> None:
        turn: Turn = TARGETS[n % len(TARGETS)]
        while isinstance(came := await bench.attempt(turn), Retry):
            turn = came

    bench.server.requests.clear()
    async with anyio.create_task_group() as tasks:
        for n in range(100):
            tasks.start_soon(work, n)
    at = sorted(seen.at for seen in bench.server.requests)
    assert len(at) == 100
    assert max(bisect_left(at, start + 1) - n for n, start in enumerate(at)) <= 22


@pytest.mark.parametrize("takes_s", [0.06, 0.3])
@on_virtual_time
async def test_connecting_each_time_costs_little_of_the_pace(takes_s: float) -> None:
    """Where a server closes each connection requests come out as they went in, one by one."""
    bench = Bench(rate_per_s=50.0)

    async def work(n: int) -> None:
        for _ in range(10):
            turn: Turn = TARGETS[n]
            while isinstance(came := await bench.attempt(turn), Retry):
                turn = came

    connected: list[Connection] = []

    async def connect() -> Connection:
        await anyio.sleep(takes_s)
        return NEW

    client: Any = bench.client
    client.idle = lambda: connected.pop() if connected else None
    client.connect, client.give_back = connect, connected.append
    began = now()
    async with anyio.create_task_group() as tasks:
        for n in range(20):
            tasks.start_soon(work, n)
    assert 200 / (now() - began - takes_s) >= 0.9 * 50


@on_virtual_time
async def test_a_failed_connection_counts_and_says_why() -> None:
    """It is a request that did not arrive, and one of the ID's attempts."""
    bench = Bench()

    async def connect() -> None:
        raise refused()

    _no_idle_ones(bench, connect)
    retry = await bench.retry()
    assert (retry.requests, retry.counted, retry.ambiguous) == (1, 1, False)
    assert (bench.stats.requests, bench.stats.in_flight) == (1, 0)
    assert bench.stats.open_ids == set()
    await bench.retry(retry)
    assert (bench.stats.requests, bench.stats.retries) == (2, 1)


@pytest.mark.parametrize("fresh", [False, True])
@on_virtual_time
async def test_a_shortage_of_descriptors_is_no_request(fresh: bool) -> None:
    """Nothing was sent, so nothing counts; what had to have a new connection still does."""
    bench = Bench(*[IdleConnectionClosedError("gone")] * fresh)
    retry = await bench.retry() if fresh else Retry(TARGETS[0])
    sent = bench.stats.requests

    async def connect() -> None:
        raise NoDescriptorsError("no more")

    _no_idle_ones(bench, connect)
    assert await bench.retry(retry) is retry
    assert (retry.requests, retry.counted, retry.needs_new_connection) == (0, 0, fresh)
    assert (bench.stats.requests, bench.stats.retries) == (sent, 0)
    _no_idle_ones(bench, anyio.lowlevel.checkpoint)
    assert (await bench.result(retry)).attempts == 1
    assert bench.stats.retries == fresh


@on_virtual_time
async def test_an_id_that_never_reached_the_server_is_not_open() -> None:
    """A refused connection leaves nothing unanswered, unless an earlier attempt may have."""
    bench = Bench(answers.ok(IDS[9]), refused(), answers.gone(), refused())
    bench.stats.count([await bench.result(TARGETS[9])])
    retry = await bench.retry()
    assert bench.stats.open_ids == set()
    await bench.retry(retry)
    assert bench.stats.open_ids == {IDS[0]}
    await bench.retry(retry)
    assert bench.stats.open_ids == {IDS[0]}
