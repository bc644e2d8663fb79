"""What becomes of IDs and runs when the server is in trouble, over real sockets."""

from __future__ import annotations

from collections import Counter

import anyio
import pytest

from bulkcancel.engine.engine import Policy
from bulkcancel.engine.limits import Limits
from bulkcancel.errors import LimitError, StoppedError, TokenRefusedError
from bulkcancel.models import Outcome
from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.faulty_server import FaultyServer
from tests.support.runs import Run, make_ids

FAST = Policy(rate_per_s=100_000, concurrency=16)
ID = make_ids(1)[0]


def _run(
    server: FaultyServer, ids: list[str], policy: Policy = FAST, timeout_s: float = 5.0
) -> Run:
    async def work() -> Run:
        async with server:
            run = Run(server.base_url, policy, timeout_s=timeout_s)
            await run.work(ids)
            return run

    return anyio.run(work)


@pytest.mark.parametrize(
    ("answer", "outcome", "error"),
    [
        (answers.problem(400, "no such thing"), Outcome.REJECTED, "rejected: HTTP 400: no such"),
        (answers.problem(405), Outcome.REJECTED, "rejected: HTTP 405"),
        (answers.problem(409, "already done"), Outcome.REJECTED, "rejected: HTTP 409: already"),
        (answers.problem(422), Outcome.REJECTED, "rejected: HTTP 422"),
        (answers.problem(418), Outcome.REJECTED, "rejected: HTTP 418"),
        (answers.problem(501), Outcome.REJECTED, "rejected: HTTP 501"),
        (answers.problem(403), Outcome.FORBIDDEN, "forbidden: HTTP 403"),
        (answers.problem(404), Outcome.NOT_FOUND, "not_found: HTTP 404"),
        (answers.problem(410), Outcome.NOT_FOUND, "not_found: HTTP 410"),
    ],
)
def test_a_refused_cancel_is_not_sent_again(answer: Answer, outcome: Outcome, error: str) -> None:
    """A 4xx concerns the ID, not the moment: one request, one row, the server's own message."""
    server = FaultyServer(lambda _i, _n: answer)
    run = _run(server, [ID])
    (result,) = run.results
    assert result.outcome is outcome
    assert result.error.startswith(error)
    assert result.attempts == len(server.requests) == 1


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 522, 524])
def test_a_transient_status_is_sent_again_up_to_the_attempts(status: int) -> None:
    """Trouble that passes is no failure; trouble that stays is one, after five attempts."""
    other = make_ids(2)[1]
    server = FaultyServer(
        lambda i, n: answers.problem(status) if i == ID or n == 1 else answers.ok(i)
    )
    run = _run(server, [ID, other], Policy(rate_per_s=1000, concurrency=1))
    assert run.of(other).outcome is Outcome.ACCEPTED
    assert run.of(other).attempts == 2
    assert run.of(ID).outcome is Outcome.FAILED
    assert run.of(ID).error.startswith(f"server_error: HTTP {status}")
    assert server.times_seen[ID] == 5


def test_being_throttled_uses_up_no_attempt() -> None:
    """An ID answered 429 more often than it has attempts is still cancelled."""
    server = FaultyServer(lambda i, n: answers.limited(None) if n <= 3 else answers.ok(i))
    run = _run(server, [ID], Policy(rate_per_s=1000, attempts=1))
    assert run.of(ID).outcome is Outcome.ACCEPTED
    assert run.of(ID).attempts == 4
    assert run.stats.throttled == 3


@pytest.mark.parametrize("first", [answers.gone(), answers.problem(504), answers.page()])
@pytest.mark.parametrize("status", [404, 410, 409, 400])
def test_a_refusal_after_an_ambiguous_attempt_says_so(first: Answer, status: int) -> None:
    """The first attempt may have cancelled the run that is now gone."""
    server = FaultyServer(lambda _i, n: first if n == 1 else answers.problem(status))
    run = _run(server, [ID])
    assert run.of(ID).outcome in {Outcome.NOT_FOUND, Outcome.REJECTED}
    assert "an earlier attempt may have cancelled it" in run.of(ID).error


def test_what_is_no_http_is_sent_again_like_other_trouble() -> None:
    """After all attempts it is reported as `bad_response`, never as a status."""
    server = FaultyServer(
        lambda i, _n: answers.gone(sent=answers.GARBAGE_STATUS_LINE) if i == ID else answers.ok(i)
    )
    run = _run(server, [*make_ids(5, seed=9), ID], Policy(rate_per_s=1000, concurrency=1))
    assert run.of(ID).error.startswith("bad_response: ")
    assert run.of(ID).http_status is None
    assert server.times_seen[ID] == 5


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(240)
def test_mixed_faults_lose_nothing() -> None:
    """30 % of first answers faulty in every way there is: a true row for each of 3,000 IDs."""
    ids = make_ids(3000)
    # A 429 may pause everything for seconds: once in a while is enough.
    others = tuple(kind for kind in answers.FAULTS if kind != "429")
    server = FaultyServer(answers.mixed_faults(7, 0.3, (*others, *others, *answers.FAULTS)))
    run = _run(server, ids, Policy(rate_per_s=100_000, concurrency=64), timeout_s=1.0)
    assert Counter(r.instance_id for r in run.results) == Counter(ids)
    assert run.outcomes()[Outcome.ACCEPTED] >= 2997
    assert {seen.path for seen in server.requests} == {
        f"/api/workflow/v1/instances/{each}/cancel" for each in ids
    }
    assert run.stop.reason is None


@pytest.mark.slow
def test_idle_connections_closed_by_the_server_cost_nothing() -> None:
    """Every kept-alive connection dies silently: no ID fails, no attempt is counted."""
    ids = make_ids(10_000)
    server = FaultyServer(lambda i, _n: answers.closing_on_next(i))
    run = _run(server, ids)
    assert run.outcomes() == {Outcome.ACCEPTED: len(ids)}
    assert {r.attempts for r in run.results} == {1}
    assert run.observed.breaker == []
    assert server.unheard > 2500


def test_a_refused_token_stops_the_run_at_once() -> None:
    """After a 401 one probe is sent, and what was in flight is still recorded."""
    ids = make_ids(200)
    server = FaultyServer(
        lambda i, _n: answers.problem(401) if len(server.requests) > 50 else answers.ok(i)
    )
    run = _run(server, ids, Policy(rate_per_s=100_000, concurrency=4))
    assert isinstance(run.stop.reason, TokenRefusedError)
    assert run.outcomes()[Outcome.ACCEPTED] == 50
    refused = [r for r in run.results if r.outcome is not Outcome.ACCEPTED]
    assert {(r.outcome, r.error[:13]) for r in refused} == {(Outcome.FAILED, "unauthorized:")}
    assert len(run.results) == len(server.requests) <= 50 + 4 + 1


def test_forbidden_for_everything_from_the_start_stops_the_run() -> None:
    """Twenty-five 403s and no success: the token has no rights, going on is pointless."""
    run = _run(FaultyServer(lambda _i, _n: answers.problem(403, "not yours")), make_ids(200))
    assert isinstance(run.stop.reason, TokenRefusedError)
    assert 25 <= run.outcomes()[Outcome.FORBIDDEN] < 60
    said, _, guessed = str(run.stop.reason).partition("HTTP 403: not yours")
    assert said.endswith("allowed none: forbidden: ")
    assert "may lack the Manage Workflows grant" in guessed


@pytest.mark.parametrize(
    "known",
    [
        Policy(rate_per_s=100_000, ok=frozenset({Outcome.FORBIDDEN})),
        Policy(rate_per_s=100_000, succeeded_before=1),
    ],
)
def test_forbidden_from_the_start_goes_on_where_that_is_expected(known: Policy) -> None:
    """An input sorted by workflow, --ok forbidden, or a run that has succeeded before."""
    ids = make_ids(60)
    server = FaultyServer(lambda i, _n: answers.problem(403) if i in ids[:40] else answers.ok(i))
    run = _run(server, ids, known)
    assert run.stop.reason is None
    assert run.outcomes() == {Outcome.FORBIDDEN: 40, Outcome.ACCEPTED: 20}


def test_what_is_said_to_be_ok_is_no_failure() -> None:
    """Outcomes in `ok` do not count for `max_failures`; those that are not named still do."""
    ids = make_ids(200)
    server = FaultyServer(lambda _i, _n: answers.problem(404))
    limits = Limits(max_failures=10, max_failure_share=0.05)
    ok = frozenset({Outcome.NOT_FOUND})
    run = _run(server, ids, Policy(rate_per_s=100_000, limits=limits, ok=ok))
    assert run.stop.reason is None
    assert run.outcomes() == {Outcome.NOT_FOUND: 200}
    limits = Limits(max_failures=10)
    ok = frozenset({Outcome.REJECTED})
    run = _run(server, ids, Policy(rate_per_s=100_000, limits=limits, ok=ok))
    assert isinstance(run.stop.reason, StoppedError)


def test_forbidden_for_some_models_goes_on() -> None:
    """A 403 can concern one workflow only: those IDs are `forbidden`, the others are cancelled."""
    ids = make_ids(200)
    run = _run(FaultyServer(lambda i, _n: answers.problem(403) if i < "8" else answers.ok(i)), ids)
    assert run.stop.reason is None
    assert run.outcomes()[Outcome.FORBIDDEN] == sum(each < "8" for each in ids)


def test_a_host_that_refuses_connections_is_an_error_at_once(unused_port: int) -> None:
    """Before the first answer a refused connection ends the run: nothing was sent."""
    run = Run(f"http://127.0.0.1:{unused_port}", FAST)
    anyio.run(run.work, make_ids(100))
    assert isinstance(run.stop.reason, StoppedError)
    assert f"cannot connect to 127.0.0.1:{unused_port}: Connection refused" in str(run.stop.reason)
    assert run.results == []
    assert run.stats.unanswered == 0


def test_a_redirect_as_the_first_answer_stops_the_run() -> None:
    """A login page elsewhere means a wrong address: one request, not thousands."""
    server = FaultyServer(lambda _i, _n: answers.redirect(302, "http://127.0.0.1:9/login"))
    run = _run(server, make_ids(100), Policy(rate_per_s=1000, concurrency=1))
    assert isinstance(run.stop.reason, StoppedError)
    assert "HTTP 302" in str(run.stop.reason)
    assert len(server.requests) == 1
    assert run.results == []


@pytest.mark.parametrize(
    ("limits", "limit", "least"),
    [
        (Limits(max_failures=10), "max_failures", 10),
        (Limits(max_failure_share=0.05), "max_failure_share", 100),
    ],
)
def test_too_many_failures_stop_the_run(limits: Limits, limit: str, least: int) -> None:
    """At the limit no further ID is taken."""
    server = FaultyServer(lambda _i, _n: answers.problem(409))
    policy = Policy(rate_per_s=100_000, concurrency=4, limits=limits)
    run = _run(server, make_ids(500), policy)
    assert isinstance(run.stop.reason, LimitError)
    assert run.stop.reason.limit == limit
    assert str(run.stop.reason) == f"{least} failed, the limit of {limit}"
    assert least <= len(run.results) <= least + 4


def test_a_deadline_stops_the_run_and_says_so() -> None:
    """After the deadline nothing new is sent."""
    server = FaultyServer(lambda i, _n: answers.ok(i))
    policy = Policy(rate_per_s=20, limits=Limits(deadline_s=0.5))
    run = _run(server, make_ids(500), policy)
    assert isinstance(run.stop.reason, StoppedError)
    assert 0 < len(run.results) < 100


def test_an_outage_opens_the_breaker_and_fails_nobody() -> None:
    """503 for a while, then well: probes only, and every ID ends accepted."""
    ids = make_ids(300)
    state = {"down": False}

    def plan(instance_id: str, _nth: int) -> Answer:
        if len(server.requests) > 100 and not state.get("over"):
            return answers.problem(503)
        return answers.ok(instance_id)

    server = FaultyServer(plan)

    async def work() -> Run:
        async with server:
            run = Run(server.base_url, Policy(rate_per_s=2000, concurrency=16))
            async with anyio.create_task_group() as tasks:

                async def recover() -> None:
                    await anyio.sleep(3)
                    state["over"] = True

                tasks.start_soon(recover)
                await run.work(ids)
            return run

    run = anyio.run(work)
    assert run.outcomes() == {Outcome.ACCEPTED: len(ids)}
    assert run.observed.breaker == [True, False]
    during = len(server.requests) - len(ids)
    assert 5 <= during <= 40


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [1, 2, 3])
def test_an_outage_fails_nobody_however_few_are_in_flight(concurrency: int) -> None:
    """One consumer alone uses up an ID's attempts before the breaker opens: they do not count."""
    ids = make_ids(8)
    server = FaultyServer(
        lambda i, _n: answers.problem(503) if len(server.requests) <= 11 else answers.ok(i)
    )
    run = _run(server, ids, Policy(rate_per_s=1000, concurrency=concurrency))
    assert run.outcomes() == {Outcome.ACCEPTED: len(ids)}
    assert Counter(r.instance_id for r in run.results) == Counter(ids)
    assert sum(r.attempts for r in run.results) == len(server.requests)


def test_one_bad_id_is_no_outage() -> None:
    """Its failure is known as soon as another ID succeeds, and it has had its attempts."""
    ids = make_ids(6)
    server = FaultyServer(lambda i, _n: answers.problem(500) if i == ids[2] else answers.ok(i))
    run = _run(server, ids, Policy(rate_per_s=1000, concurrency=1))
    assert run.of(ids[2]).outcome is Outcome.FAILED
    assert run.of(ids[2]).attempts == server.times_seen[ids[2]] == 5
    assert [r.instance_id for r in run.results] == [*ids[:2], ids[3], ids[2], *ids[4:]]
    assert run.observed.breaker == []


def test_ids_that_always_fail_do_not_stand_in_the_way() -> None:
    """As many as there are consumers, one after the other: all the others are cancelled."""
    ids = make_ids(60)
    bad = set(ids[10:18])
    server = FaultyServer(lambda i, _n: answers.problem(500) if i in bad else answers.ok(i))
    run = _run(server, ids, Policy(rate_per_s=1000, concurrency=8, attempts=4))
    assert run.stop.reason is None
    assert {r.instance_id for r in run.results if r.outcome is Outcome.FAILED} == bad
    assert run.outcomes()[Outcome.ACCEPTED] == len(ids) - len(bad)
    assert sum(r.attempts for r in run.results) == len(server.requests)


def test_ids_that_always_fail_at_the_end_have_a_row_when_the_run_stops() -> None:
    """Nobody can tell them from an outage: the run stops, and what was answered is on record."""
    ids = make_ids(8)
    bad = set(ids[5:])
    server = FaultyServer(lambda i, _n: answers.problem(500) if i in bad else answers.ok(i))
    policy = Policy(rate_per_s=1000, concurrency=8, attempts=2, limits=Limits(max_outage_s=2))
    run = _run(server, ids, policy)
    failed = [r for r in run.results if r.outcome is Outcome.FAILED]
    assert run.outcomes()[Outcome.ACCEPTED] == 5
    assert failed
    assert all(r.attempts == server.times_seen[r.instance_id] >= 2 for r in failed)


THROTTLED = [
    answers.limited(None),
    answers.limited("0"),
    answers.problem(403, **{"Retry-After": "0"}),
]


@pytest.mark.parametrize("throttled", THROTTLED)
def test_a_throttled_probe_is_followed_by_another_in_time(throttled: Answer) -> None:
    """A gateway that comes back with 429s is probed on, one request at a time, not flooded."""

    def plan(instance_id: str, _nth: int) -> Answer:
        if len(server.requests) <= 10:
            return answers.ok(instance_id)
        return answers.problem(503) if len(server.requests) <= 30 else throttled

    server = FaultyServer(plan)
    policy = Policy(rate_per_s=200, concurrency=16, limits=Limits(max_outage_s=4), grace_s=1)
    run = _run(server, make_ids(100), policy)
    assert isinstance(run.stop.reason, StoppedError)
    assert run.observed.breaker == [True]
    assert len(server.requests) <= 10 + 10 + 16 + 5  # to open it, in flight, and the probes


def test_an_outage_beyond_its_limit_stops_the_run() -> None:
    """Nothing but trouble for as long as is allowed: the run stops and no ID is failed by it."""
    server = FaultyServer(
        lambda i, _n: answers.ok(i) if len(server.requests) <= 20 else answers.problem(503)
    )
    policy = Policy(rate_per_s=1000, concurrency=8, grace_s=1, limits=Limits(max_outage_s=1.5))
    run = _run(server, make_ids(500), policy)
    assert isinstance(run.stop.reason, StoppedError)
    said = str(run.stop.reason)
    assert said == "an outage of 2 s, the limit of max_outage_s (server_error: HTTP 503: no)"
    assert run.outcomes() == {Outcome.ACCEPTED: 20}
    assert len(server.requests) < 60


def test_nothing_but_429_for_the_limit_is_an_outage() -> None:
    """Being throttled fails no ID, but not for ever."""
    server = FaultyServer(lambda _i, _n: answers.limited(None))
    policy = Policy(rate_per_s=100, concurrency=4, limits=Limits(max_outage_s=1))
    run = _run(server, make_ids(50), policy)
    assert isinstance(run.stop.reason, StoppedError)
    assert run.results == []


def test_a_bug_in_one_ids_handling_is_that_ids_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other IDs are not touched by it, and it is told loudly."""
    ids = make_ids(20)
    server = FaultyServer(lambda i, _n: answers.ok(i))

    async def work() -> Run:
        async with server:
            run = Run(server.base_url, FAST)
            original = Run._collect
            assert original is not None

            def broken(*_: object) -> None:
                raise ZeroDivisionError

            monkeypatch.setattr("bulkcancel.engine.canceller.outcome_of", broken)
            await run.work(ids)
            return run

    run = anyio.run(work)
    assert run.outcomes() == {Outcome.FAILED: len(ids)}
    assert "ZeroDivisionError" in run.results[0].error
    assert len(run.observed.bugs) == len(ids)
