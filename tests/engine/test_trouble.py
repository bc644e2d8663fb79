"""What becomes of IDs and runs when the server is in trouble: the logic on virtual time."""

from __future__ import annotations

import random

import anyio
import pytest

from bulkcancel.engine.engine import Policy
from bulkcancel.engine.limits import Limits
from bulkcancel.errors import LimitError, StoppedError, TokenRefusedError
from bulkcancel.models import Outcome, Target
from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.runs import make_ids
from tests.support.virtual_server import Said, VirtualRun, VirtualServer, delayed, refused
from tests.support.virtual_time import stall

FAST = Policy(rate_per_s=100_000, concurrency=16)
ID = make_ids(1)[0]


def _run(server: VirtualServer, ids: list[str], policy: Policy = FAST) -> VirtualRun:
    return server.run(ids, policy)


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
    server = VirtualServer(lambda _i, _n: answer)
    run = _run(server, [ID])
    (result,) = run.results
    assert result.outcome is outcome
    assert result.error.startswith(error)
    assert result.attempts == len(server.requests) == 1


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 522, 524])
def test_a_transient_status_is_sent_again_up_to_the_attempts(status: int) -> None:
    """Trouble that passes is no failure; trouble that stays is one, after five attempts."""
    other = make_ids(2)[1]
    server = VirtualServer(
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
    server = VirtualServer(lambda i, n: answers.limited(None) if n <= 3 else answers.ok(i))
    run = _run(server, [ID], Policy(rate_per_s=1000, attempts=1))
    assert run.of(ID).outcome is Outcome.ACCEPTED
    assert run.of(ID).attempts == 4
    assert run.stats.throttled == 3


@pytest.mark.parametrize("first", [answers.gone(), answers.problem(504), answers.page()])
@pytest.mark.parametrize("status", [404, 410, 409, 400])
def test_a_refusal_after_an_ambiguous_attempt_says_so(first: Answer, status: int) -> None:
    """The first attempt may have cancelled the run that is now gone."""
    server = VirtualServer(lambda _i, n: first if n == 1 else answers.problem(status))
    run = _run(server, [ID])
    assert run.of(ID).outcome in {Outcome.NOT_FOUND, Outcome.REJECTED}
    assert "an earlier attempt may have cancelled it" in run.of(ID).error


def test_what_is_no_http_is_sent_again_like_other_trouble() -> None:
    """After all attempts it is reported as `bad_response`, never as a status."""
    server = VirtualServer(
        lambda i, _n: answers.gone(sent=answers.GARBAGE_STATUS_LINE) if i == ID else answers.ok(i)
    )
    run = _run(server, [*make_ids(5, seed=9), ID])
    assert run.of(ID).error.startswith("bad_response: ")
    assert run.of(ID).http_status is None
    assert server.times_seen[ID] == 5


def test_a_refused_token_stops_the_run_at_once() -> None:
    """After a 401 one probe is sent, and what was in flight is still recorded."""
    ids = make_ids(200)
    server = VirtualServer(
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
    run = _run(VirtualServer(lambda _i, _n: answers.problem(403, "not yours")), make_ids(200))
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
    server = VirtualServer(lambda i, _n: answers.problem(403) if i in ids[:40] else answers.ok(i))
    run = _run(server, ids, known)
    assert run.stop.reason is None
    assert run.outcomes() == {Outcome.FORBIDDEN: 40, Outcome.ACCEPTED: 20}


def test_what_is_said_to_be_ok_is_no_failure() -> None:
    """Outcomes in `ok` do not count for `max_failures`; those that are not named still do."""
    ids = make_ids(200)
    server = VirtualServer(lambda _i, _n: answers.problem(404))
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
    run = _run(VirtualServer(lambda i, _n: answers.problem(403) if i < "8" else answers.ok(i)), ids)
    assert run.stop.reason is None
    assert run.outcomes()[Outcome.FORBIDDEN] == sum(each < "8" for each in ids)


def test_a_redirect_as_the_first_answer_stops_the_run() -> None:
    """A login page elsewhere means a wrong address: one request, not thousands."""
    server = VirtualServer(lambda _i, _n: answers.redirect(302, "http://127.0.0.1:9/login"))
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
    server = VirtualServer(lambda _i, _n: answers.problem(409))
    policy = Policy(rate_per_s=100_000, concurrency=4, limits=limits)
    run = _run(server, make_ids(500), policy)
    assert isinstance(run.stop.reason, LimitError)
    assert run.stop.reason.name == limit
    assert str(run.stop.reason) == f"{least} failed, the limit of {limit}"
    assert least <= len(run.results) <= least + 4


def test_a_deadline_stops_the_run_and_says_so() -> None:
    """After the deadline nothing new is sent."""
    server = VirtualServer(lambda i, _n: answers.ok(i))
    policy = Policy(rate_per_s=20, limits=Limits(deadline_s=0.5))
    run = _run(server, make_ids(500), policy)
    assert isinstance(run.stop.reason, StoppedError)
    assert 0 < len(run.results) < 100


def _down(server: VirtualServer, from_s: float, to_s: float, trouble: Said) -> None:
    """Let a server that is otherwise well say nothing but `trouble` for a while."""
    server.plan = lambda i, _n: trouble if from_s <= server.now < to_s else answers.ok(i)


OUTAGES = {
    "500": answers.problem(500),
    "502": answers.page(502),
    "503": answers.problem(503),
    "refused": refused(),
    "closed": answers.gone(),
    "garbage": answers.gone(sent=answers.GARBAGE_STATUS_LINE),
    "404 page": answers.page(404),
    "200 page": answers.page(),
}


@pytest.mark.parametrize("trouble", OUTAGES.values(), ids=OUTAGES)
@pytest.mark.parametrize("concurrency", [1, 2, 16])
@pytest.mark.parametrize("attempts", [1, 5])
def test_an_outage_fails_nobody_and_is_left_alone(
    trouble: Said, concurrency: int, attempts: int
) -> None:
    """Eight seconds of it: ten failures and some probes, then every ID is cancelled."""
    ids = make_ids(200)
    server = VirtualServer()
    _down(server, 0.5, 8.5, trouble)
    policy = Policy(rate_per_s=50, concurrency=concurrency, attempts=attempts)
    run = _run(server, ids, policy)
    assert run.outcomes() == {Outcome.ACCEPTED: len(ids)}
    assert run.observed.breaker == [True, False]
    assert 10 < server.seen_between(0.5, 8.5) <= 10 + concurrency + 5
    assert sum(r.attempts for r in run.results) == len(server.requests)
    probes = [seen.instance_id for seen in server.requests if 2 < seen.at < 8.5]
    assert len(set(probes)) == len(probes) >= 2
    assert set(probes) <= set(ids[35:])  # IDs that had not been sent yet


@pytest.mark.parametrize("count", [1, 9])
@pytest.mark.parametrize("concurrency", [1, 2, 16])
def test_few_ids_outlast_a_restart_of_ten_seconds(count: int, concurrency: int) -> None:
    """Fewer than open the breaker: their attempts span it, and nobody fails."""
    server = VirtualServer()
    _down(server, 0.0, 10.0, answers.problem(503))
    run = _run(server, make_ids(count), Policy(rate_per_s=50, concurrency=concurrency))
    assert run.outcomes() == {Outcome.ACCEPTED: count}
    assert server.seen_between(0.0, 10.0) <= 4 * count


def test_a_server_that_hangs_is_probed_one_at_a_time() -> None:
    """Probes that take their whole timeout are not overtaken by the next."""
    server = VirtualServer()
    _down(server, 1.0, 300.0, answers.silence())
    in_flight: list[int] = []
    plan = server.plan

    def watched(instance_id: str, nth: int) -> Said:
        if server.now > 45:
            in_flight.append(server.in_flight)
        return plan(instance_id, nth)

    server.plan = watched
    policy = Policy(rate_per_s=20, concurrency=16, limits=Limits(max_outage_s=900))
    run = _run(server, make_ids(300), policy)
    assert run.outcomes() == {Outcome.ACCEPTED: 300}
    probes = server.seen_between(45, 300)
    assert 3 <= probes <= 10
    assert in_flight[:probes] == [0] * probes


def test_those_that_failed_in_an_outage_come_back_spread_out() -> None:
    """Not at once when the breaker closes, although the pace would allow it."""
    ids = make_ids(2000)
    server = VirtualServer()
    _down(server, 0.5, 8.5, answers.problem(503))
    run = _run(server, ids, Policy(rate_per_s=500, concurrency=64))
    assert run.outcomes() == {Outcome.ACCEPTED: len(ids)}
    seen = set[str]()
    again: list[float] = []
    for request in server.requests:
        if request.instance_id in seen:
            again.append(request.at)
        seen.add(request.instance_id)
    assert len(again) >= 10
    assert min(again) > 8.5
    assert max(again) - min(again) > 1.5
    assert max(sum(at <= other < at + 0.5 for other in again) for at in again) <= len(again) / 2


def test_one_bad_id_is_no_outage() -> None:
    """It has its attempts, and its failure is told as its own; the others go on meanwhile."""
    ids = make_ids(300)
    server = VirtualServer(
        lambda i, _n: answers.problem(500) if i == ids[2] else answers.ok(i), latency_s=0.02
    )
    run = _run(server, ids, Policy(rate_per_s=10, concurrency=1))
    assert run.of(ids[2]).outcome is Outcome.FAILED
    assert run.of(ids[2]).attempts == server.times_seen[ids[2]] == 5
    assert run.results[-1].instance_id != ids[2]
    assert run.outcomes()[Outcome.ACCEPTED] == 299
    assert run.observed.breaker == []


def test_a_few_ids_that_always_fail_alone() -> None:
    """As a resumed run finds them: each has its attempts and fails, within half a minute."""
    ids = make_ids(6)
    server = VirtualServer(lambda _i, _n: answers.problem(500))
    run = _run(server, ids, Policy())
    assert run.stop.reason is None
    assert run.outcomes() == {Outcome.FAILED: 6}
    assert set(server.times_seen.values()) == {5}
    assert run.seconds < 30


@pytest.mark.parametrize("count", [10, 60])
def test_ids_that_an_earlier_run_has_failed_are_no_outage(count: int) -> None:
    """Ten and more of them alone, as many as there are, fail after their attempts."""
    ids = make_ids(count)
    server = VirtualServer(lambda _i, _n: answers.problem(500))
    run = server.run([Target(each, "", failed_before=True) for each in ids], Policy())
    assert run.stop.reason is None
    assert run.outcomes() == {Outcome.FAILED: count}
    assert set(server.times_seen.values()) == {5}
    assert run.observed.breaker == []
    assert run.seconds < 60


def test_one_that_was_never_tried_among_them_makes_no_outage_of_them() -> None:
    """It fails as they do; they have their attempts all the same, and their rows."""
    ids = make_ids(401)
    server = VirtualServer(lambda _i, _n: answers.problem(500))
    known = [Target(each, "", failed_before=True) for each in ids[1:]]
    policy = Policy(limits=Limits(max_outage_s=30))
    run = server.run([ids[0], *known], policy)
    assert run.stop.reason is None
    assert run.outcomes() == {Outcome.FAILED: 401}
    assert run.observed.breaker == []


def test_what_had_failed_before_and_fails_again_has_its_row_when_the_run_stops() -> None:
    """The next run must know it as failed, or it would look like an outage there."""
    ids = make_ids(25)
    server = VirtualServer(lambda _i, _n: answers.problem(500))

    async def stop(run: VirtualRun) -> None:
        await anyio.sleep(4)
        run.stop.request(StoppedError("enough"))

    known = [Target(each, "", failed_before=True) for each in ids]
    run = server.run(known, Policy(), during=stop)
    assert run.outcomes() == {Outcome.FAILED: 25}
    assert run.stats.unanswered == 0


@pytest.mark.parametrize(("bad", "rows"), [(9, 0), (10, 10), (14, 14)])
def test_what_a_resumed_run_would_take_for_an_outage_has_its_rows(bad: int, rows: int) -> None:
    """Ten that fail, and nothing else is left when the run stops: they are known as failed then."""
    ids = make_ids(4 * bad)

    def plan(instance_id: str, _nth: int) -> Answer:
        fails = instance_id in ids[::4]
        return answers.problem(500) if fails else answers.ok(instance_id)

    async def stop(run: VirtualRun) -> None:
        await anyio.sleep(4)
        run.stop.request(StoppedError("enough"))

    run = VirtualServer(plan).run(ids, Policy(rate_per_s=50), during=stop)
    assert run.outcomes()[Outcome.FAILED] == rows
    assert run.outcomes()[Outcome.ACCEPTED] == 3 * bad
    assert run.stats.unanswered == bad - rows
    assert all(1 < each.attempts < 5 for each in run.results if not each.ok)


def test_a_stop_blames_no_id_as_long_as_one_was_not_tried() -> None:
    """The next run finds out with that one if it is an outage."""
    ids = make_ids(61)
    server = VirtualServer()
    server.plan = lambda i, _: (
        answers.problem(500) if i in ids[:60:2] else delayed(answers.ok(i), 30 * (i == ids[60]))
    )

    async def stop(run: VirtualRun) -> None:
        await anyio.sleep(4)
        run.stop.request(StoppedError("enough"))

    run = server.run(ids, Policy(rate_per_s=50, grace_s=1), during=stop)
    assert run.outcomes() == {Outcome.ACCEPTED: 30}


def test_a_stop_blames_no_id_for_an_outage() -> None:
    """Though all were tried: what failed at its beginning, in it, or before one that is over."""
    ids = make_ids(40)
    server = VirtualServer()
    server.plan = lambda i, _: answers.problem(500) if server.now >= 1 else answers.ok(i)
    run = server.run(ids, Policy(rate_per_s=20))
    assert str(run.stop.reason).startswith("an outage of 600 s")
    assert set(server.times_seen) == set(ids)
    assert run.outcomes() == {Outcome.ACCEPTED: 20}

    async def stop(stopped: VirtualRun) -> None:
        while stopped.observed.breaker != [True, False]:  # noqa: ASYNC110 - a list is no event
            await anyio.sleep(0.01)
        stopped.stop.request(StoppedError("enough"))

    server = VirtualServer()
    server.plan = lambda i, _: answers.problem(500) if 1 <= server.now < 300 else answers.ok(i)
    run = server.run(ids, Policy(rate_per_s=20), during=stop)
    assert set(server.times_seen) == set(ids)
    assert run.outcomes()[Outcome.FAILED] == 0
    assert len(run.results) < 25


def test_a_passing_401_among_ids_that_always_fail_holds_nobody_up() -> None:
    """The next answer is another one: the token is not in doubt, and failures count again."""
    ids = make_ids(100)
    bad = set(ids[94:])

    def plan(instance_id: str, _nth: int) -> Answer:
        if instance_id in bad:
            return answers.problem(401 if len(server.requests) == 97 else 500)
        return answers.ok(instance_id)

    server = VirtualServer(plan)
    run = _run(server, ids, Policy(rate_per_s=50, limits=Limits(max_outage_s=70)))
    assert run.stop.reason is None
    assert run.outcomes() == {Outcome.ACCEPTED: 94, Outcome.FAILED: 6}
    assert run.seconds < 60


def test_the_probe_goes_ahead_of_those_that_wait_for_the_pace() -> None:
    """However many they are, it is sent a second or two after the breaker has opened."""
    server = VirtualServer()
    _down(server, 5.0, 30.0, answers.problem(503))
    run = _run(server, make_ids(100), Policy(rate_per_s=1, concurrency=16))
    assert run.outcomes() == {Outcome.ACCEPTED: 100}
    times = [seen.at for seen in server.requests if 5 < seen.at < 30]
    assert 11 <= len(times) <= 14
    assert all(times[n + 1] - times[n] < 3 for n in range(10))


@pytest.mark.parametrize("concurrency", [1, 2, 16])
def test_bad_ones_do_not_hold_up_good_ones(concurrency: int) -> None:
    """Every other one of 120 always fails, at 50 a second: the good ones are through in seconds."""
    ids = make_ids(120)
    bad = set(ids[::2])
    server = VirtualServer(lambda i, _n: answers.problem(500) if i in bad else answers.ok(i))
    run = _run(server, ids, Policy(rate_per_s=50, concurrency=concurrency))
    assert run.stop.reason is None
    assert {r.instance_id for r in run.results if r.outcome is Outcome.FAILED} == bad
    assert run.outcomes()[Outcome.ACCEPTED] == 60
    assert len(server.requests) == 60 + 60 * 5
    assert max(seen.at for seen in server.requests if seen.instance_id not in bad) < 5
    assert run.seconds < 30


def test_ids_that_always_fail_do_not_stand_in_the_way() -> None:
    """As many as there are consumers, one after the other: all the others are cancelled."""
    ids = make_ids(60)
    bad = set(ids[10:18])
    server = VirtualServer(lambda i, _n: answers.problem(500) if i in bad else answers.ok(i))
    run = _run(server, ids, Policy(rate_per_s=1000, concurrency=8, attempts=4))
    assert run.stop.reason is None
    assert {r.instance_id for r in run.results if r.outcome is Outcome.FAILED} == bad
    assert run.outcomes()[Outcome.ACCEPTED] == len(ids) - len(bad)
    assert sum(r.attempts for r in run.results) == len(server.requests)


def test_a_brown_out_fails_nobody() -> None:
    """Half of the answers are 503 for 12 s: never more than the ceiling, and all are cancelled."""
    rng = random.Random(3)
    server = VirtualServer()
    server.plan = lambda i, _n: (
        answers.problem(503) if 3 <= server.now < 15 and rng.random() < 0.5 else answers.ok(i)
    )
    run = _run(server, make_ids(2000), Policy(rate_per_s=100))
    assert run.outcomes() == {Outcome.ACCEPTED: 2000}
    assert max(server.seen_between(s / 4, s / 4 + 1) for s in range(120)) <= 102


def test_what_has_had_its_attempts_has_its_row_when_the_run_stops() -> None:
    """Nobody can tell any more whether it or the server was to blame; what was answered is told."""
    ids = make_ids(60)
    server = VirtualServer(
        lambda i, _n: answers.problem(500) if i in ids[:3] else delayed(answers.ok(i), 20)
    )

    async def stop(run: VirtualRun) -> None:
        await anyio.sleep(5)
        run.stop.request(StoppedError("enough"))

    policy = Policy(rate_per_s=20, concurrency=8, attempts=1, grace_s=1)
    run = server.run(ids, policy, during=stop)
    assert {r.instance_id for r in run.results} == set(ids[:3])
    assert run.outcomes() == {Outcome.FAILED: 3}
    assert run.stats.unanswered == len(server.requests) - 3 > 0


def test_time_in_which_the_process_was_stopped_is_no_outage() -> None:
    """Trouble, then a suspended laptop: the clock of the outage has stood still."""
    server = VirtualServer()
    _down(server, 1.0, 305.0, answers.problem(503))

    async def suspend(_run: VirtualRun) -> None:
        await anyio.sleep(3)
        stall(300)

    policy = Policy(rate_per_s=20, limits=Limits(max_outage_s=60))
    run = server.run(make_ids(100), policy, during=suspend)
    assert run.stop.reason is None
    assert run.outcomes() == {Outcome.ACCEPTED: 100}


@pytest.mark.parametrize("status", [404, 403, 409])
def test_a_refusal_of_one_id_shows_the_server_at_work(status: int) -> None:
    """A probe that is told no, by the API itself, closes the breaker as well as a success."""
    ids = make_ids(100)
    server = VirtualServer()
    server.plan = lambda i, _n: (
        answers.problem(503)
        if 1 <= server.now < 3
        else answers.problem(status)
        if server.now >= 3
        else answers.ok(i)
    )
    run = _run(server, ids, Policy(rate_per_s=20, concurrency=4))
    assert run.stop.reason is None
    assert run.observed.breaker == [True, False]
    assert len(run.results) == 100
    assert run.seconds < 20


def test_being_throttled_in_an_outage_says_nothing_of_the_pace() -> None:
    """Probes are single requests: what limits them is not the rate that was sent before."""
    server = VirtualServer()
    server.plan = lambda i, _n: (
        answers.problem(503)
        if 1 <= server.now < 3
        else answers.limited(None)
        if 3 <= server.now < 12
        else answers.ok(i)
    )
    run = _run(server, make_ids(400), Policy(rate_per_s=50, concurrency=4))
    assert run.outcomes() == {Outcome.ACCEPTED: 400}
    assert run.observed.breaker == [True, False]
    assert run.observed.paces == []
    assert server.seen_between(3, 12) <= 5


def test_the_breaker_is_asked_again_after_the_wait_for_the_pace() -> None:
    """At a low pace many wait for their turn when it opens: none of them is sent."""
    server = VirtualServer(latency_s=0.01)
    _down(server, 1.0, 60.0, answers.problem(503))
    run = _run(server, make_ids(60), Policy(rate_per_s=5, concurrency=32))
    assert run.outcomes() == {Outcome.ACCEPTED: 60}
    assert server.seen_between(1.0, 60.0) <= 10 + 7


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

    server = VirtualServer(plan)
    policy = Policy(rate_per_s=200, concurrency=16, limits=Limits(max_outage_s=4), grace_s=1)
    run = _run(server, make_ids(100), policy)
    assert isinstance(run.stop.reason, StoppedError)
    assert run.observed.breaker == [True]
    assert len(server.requests) <= 10 + 10 + 16 + 5  # to open it, in flight, and the probes


def test_an_outage_beyond_its_limit_stops_the_run() -> None:
    """Nothing but trouble for as long as is allowed: the run stops and no ID is failed by it."""
    server = VirtualServer(
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
    server = VirtualServer(lambda _i, _n: answers.limited(None))
    policy = Policy(rate_per_s=100, concurrency=4, limits=Limits(max_outage_s=1))
    run = _run(server, make_ids(50), policy)
    assert isinstance(run.stop.reason, StoppedError)
    assert run.results == []


def test_a_bug_in_one_ids_handling_is_that_ids_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other IDs are not touched by it, and it is told loudly."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("bulkcancel.engine.canceller.outcome_of", broken)
    ids = make_ids(20)
    run = _run(VirtualServer(), ids)
    assert run.outcomes() == {Outcome.FAILED: len(ids)}
    assert "ZeroDivisionError" in run.results[0].error
    assert len(run.observed.bugs) == len(ids)
