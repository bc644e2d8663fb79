"""Asking whether accepted runs have stopped: the logic on virtual time."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import anyio
import pytest

from bulkcancel.domo import READ_BACK
from bulkcancel.engine.engine import Policy
from bulkcancel.engine.verification import Checks, Findings, Verification
from bulkcancel.errors import InterruptedRunError, StoppedError, TokenRefusedError
from bulkcancel.http.faults import DisconnectedError, IdleConnectionClosedError, TlsFailedError
from bulkcancel.ids import pack
from bulkcancel.models import Finding, Outcome
from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.runs import make_ids
from tests.support.virtual_server import Said, VirtualRun, VirtualServer, refused
from tests.support.virtual_time import stall

V2, V1 = READ_BACK
FAST = Policy(rate_per_s=1000, verification=Verification())
GOES_ON = "IN_PROGRESS"


def _found(run: VirtualRun, instance_id: str) -> Finding | None:
    assert run.engine.confirmer is not None
    return run.engine.confirmer.findings.of(pack(instance_id))


def _outcomes(run: VirtualRun) -> Counter[Outcome]:
    assert run.engine.confirmer is not None
    return run.engine.confirmer.findings.outcomes


def _gave_up(run: VirtualRun) -> str:
    assert run.engine.confirmer is not None
    assert run.observed.verification == [str(run.engine.confirmer.gave_up)]
    return str(run.engine.confirmer.gave_up)


def test_what_was_accepted_is_asked_after_until_it_has_stopped() -> None:
    """The row says accepted as before; what the looks find is kept beside it."""
    server = VirtualServer()
    server.look_plan = lambda i, n, _: answers.ok(i, GOES_ON if n < 4 else "CANCELLED")
    ids = make_ids(40)
    run = server.run(ids, FAST)
    assert run.outcomes() == {Outcome.ACCEPTED: 40}
    assert _outcomes(run) == {Outcome.CANCELED: 40}
    assert _found(run, ids[7]) == Finding(Outcome.CANCELED, "CANCELLED", "")
    assert Counter(each.instance_id for each in server.looks) == dict.fromkeys(ids, 4)
    assert {each.call for each in server.looks} == {V2}
    assert run.stats.looks == 160
    assert run.stats.unchecked == 0


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("CANCELED", Outcome.CANCELED),
        ("CANCELLED", Outcome.CANCELED),
        ("cancelled", Outcome.CANCELED),
        ("COMPLETED", Outcome.COMPLETED),
        ("FAILED", Outcome.COMPLETED),
        ("NOT_STARTED", Outcome.UNCONFIRMED),
        ("IN_PROGRESS", Outcome.UNCONFIRMED),
        ("CANCELLING", Outcome.UNCONFIRMED),
        ("", Outcome.UNCONFIRMED),
        (None, Outcome.UNCONFIRMED),
    ],
)
def test_only_words_that_say_so_mean_that_it_has_stopped(
    status: str | None, outcome: Outcome
) -> None:
    """Both spellings and any case; one that failed had ended by itself; unknown words do not."""
    server = VirtualServer()
    server.look_plan = lambda i, _n, _c: answers.ok(i, status)
    (instance_id,) = ids = make_ids(1)
    finding = _found(server.run(ids, FAST), instance_id)
    assert finding is not None
    assert (finding.outcome, finding.status) == (outcome, status)
    assert finding.error.startswith("not_confirmed: ") is (outcome is Outcome.UNCONFIRMED)


def test_what_had_stopped_already_is_not_asked_after() -> None:
    """A cancel that answers CANCELED or COMPLETED, or fails, needs no look."""
    ids = make_ids(4)
    said = [
        answers.ok(ids[0], "CANCELED"), answers.ok(ids[1], "COMPLETED"), answers.problem(404),
        answers.problem(403),
    ]  # fmt: skip
    server = VirtualServer(lambda i, _: said[ids.index(i)])
    run = server.run(ids, FAST)
    assert server.looks == []
    assert not _outcomes(run)


@pytest.mark.parametrize("timeout_s", [1.0, 20.0, 120.0, 1800.0])
def test_one_that_never_stops_is_told_once_its_time_is_up(timeout_s: float) -> None:
    """Its time counts from the first look; looks grow rarer, and the last one comes at its end."""
    server = VirtualServer()
    server.look_plan = lambda i, _n, _c: answers.ok(i, GOES_ON)
    ids = make_ids(3)
    run = server.run(ids, Policy(rate_per_s=100, verification=Verification(timeout_s)))
    assert _outcomes(run) == {Outcome.UNCONFIRMED: 3}
    for each in ids:
        at = [look.at for look in server.looks if look.instance_id == each]
        assert timeout_s <= at[-1] - at[0] < timeout_s + 0.5
        waits = [after - before for before, after in pairwise(at[:-1])]
        assert all(1.5 <= wait <= 37.5 for wait in waits)
        assert len(at) <= 8 + timeout_s / 22


def test_an_id_that_waited_long_for_its_first_look_has_its_whole_time() -> None:
    """In a long run the first looks come late: that is not the instance's fault."""
    server = VirtualServer()
    server.look_plan = lambda i, _n, _c: answers.ok(i, GOES_ON if server.now < 400 else "CANCELED")
    ids = make_ids(300)
    run = server.run(ids, Policy(rate_per_s=1, verification=Verification(700)))
    assert _outcomes(run) == {Outcome.CANCELED: 300}


@pytest.mark.parametrize("status", [403, 404, 405, 410, 501, 401])
def test_where_v2_is_not_there_v1_is_asked(status: int) -> None:
    """Three refusals and no answer about any ID show that; those asked in vain are asked again."""
    server = VirtualServer()
    server.look_plan = lambda i, _n, call: (
        answers.problem(status) if call == V2 else answers.ok(i, "CANCELED")
    )
    run = server.run(make_ids(50), FAST)
    assert _outcomes(run) == {Outcome.CANCELED: 50}
    assert sum(each.call == V2 for each in server.looks) <= 3 + 16  # those under way
    assert run.observed.verification == []


@pytest.mark.parametrize("answer", [answers.problem(404), answers.problem(403, "no right")])
@pytest.mark.parametrize("count", [1, 2, 200])
def test_where_neither_call_is_there_that_is_said_once(answer: Answer, count: int) -> None:
    """Nothing is claimed or failed, and the run ends soon."""
    server = VirtualServer()
    server.look_plan = lambda _i, _n, _c: answer
    run = server.run(make_ids(count), FAST)
    assert run.outcomes() == {Outcome.ACCEPTED: count}
    assert not _outcomes(run)
    assert "does not tell" in _gave_up(run)
    assert len(server.looks) <= 2 * (3 + 16)
    assert run.seconds < 60
    assert run.stop.reason is None


def test_a_token_that_may_not_read_is_told_as_refused() -> None:
    """401 to both calls ends looking, with an error of its own kind; not the run."""
    server = VirtualServer()
    server.look_plan = lambda _i, _n, _c: answers.problem(401)
    run = server.run(make_ids(5), FAST)
    assert run.engine.confirmer is not None
    assert type(run.engine.confirmer.gave_up) is TokenRefusedError
    assert run.stop.reason is None


def test_one_id_that_the_call_does_not_know_is_unconfirmed() -> None:
    """The call is there for the others: this one is asked after until its time is up."""
    ids = make_ids(10)
    server = VirtualServer()
    server.look_plan = lambda i, _n, _c: (
        answers.problem(404, f"no execution {i}") if i == ids[4] else answers.ok(i, "CANCELLED")
    )
    run = server.run(ids, Policy(rate_per_s=1000, concurrency=1, verification=Verification(60)))
    assert _outcomes(run) == {Outcome.CANCELED: 9, Outcome.UNCONFIRMED: 1}
    finding = _found(run, ids[4])
    assert finding is not None
    assert finding.error == "not_confirmed: HTTP 404: no execution …"
    assert {each.call for each in server.looks} == {V2}


TROUBLE: list[Callable[[], Said]] = [
    lambda: answers.problem(500),
    lambda: answers.problem(503),
    answers.page,
    answers.not_found_page,
    lambda: answers.http(200, b"[]"),
    lambda: answers.ok(make_ids(99)[98], "CANCELLED"),
    lambda: answers.redirect(302, "https://evil.example/"),
    lambda: DisconnectedError("the server closed the connection without an answer"),
    refused,
    answers.silence,
    lambda: answers.problem(429),
    lambda: answers.limited("1"),
]


@pytest.mark.parametrize("trouble", TROUBLE)
def test_trouble_with_looks_claims_nothing_and_passes(trouble: Callable[[], Said]) -> None:
    """While it lasts there are few looks and no findings; afterwards all are found."""
    server = VirtualServer()
    server.look_plan = lambda i, _n, _c: (
        trouble() if 2 <= server.now < 25 else answers.ok(i, "CANCELLED")
    )
    ids = make_ids(100)
    run = server.run(ids, FAST, timeout_s=1.0)
    assert run.outcomes() == {Outcome.ACCEPTED: 100}
    assert _outcomes(run) == {Outcome.CANCELED: 100}
    assert sum(each.at < 25 for each in server.looks) <= 16 + 12
    assert run.observed.verification == []


@pytest.mark.parametrize("answered_before", [False, True])
@pytest.mark.parametrize("trouble", TROUBLE)
def test_trouble_that_stays_ends_the_looks_and_not_the_run(
    trouble: Callable[[], Said], answered_before: bool
) -> None:
    """After as long as an ID may take (per call, where none was ever answered) it is given up."""
    server = VirtualServer()
    server.look_plan = lambda i, n, _c: (
        answers.ok(i, GOES_ON) if answered_before and n == 1 else trouble()
    )
    run = server.run(make_ids(100), FAST, timeout_s=1.0)
    assert run.outcomes() == {Outcome.ACCEPTED: 100}
    assert not _outcomes(run)
    assert _gave_up(run)
    assert run.seconds < 2 * 120 + 2 * 45
    assert len(server.looks) <= 100 + 2 * (16 + 15)
    assert run.stop.reason is None


def test_time_in_which_no_look_could_be_made_is_no_trouble() -> None:
    """Looks that fail before a long outage and after it end nothing."""
    server = VirtualServer(latency_s=0.01)
    server.plan = lambda i, _: answers.problem(500) if 6 <= server.now < 300 else answers.ok(i)
    server.look_plan = lambda i, _n, _c: (
        answers.ok(i, GOES_ON)
        if server.now < 4
        else answers.problem(503)
        if server.now < 360
        else answers.ok(i, "CANCELLED")
    )
    run = server.run(make_ids(1500), Policy(rate_per_s=20, verification=Verification()))
    assert run.observed.breaker == [True, False]
    assert [each for each in server.looks if 4 < each.at < 6]
    assert run.observed.verification == []
    assert _outcomes(run) == {Outcome.CANCELED: 1500}


def test_an_outage_that_holds_the_last_cancels_back_holds_looks_too() -> None:
    """Though all of those are in the hands of consumers, which wait for the breaker."""
    server = VirtualServer(latency_s=0.01)
    last = set(make_ids(214)[200:])
    server.plan = lambda i, _: (
        answers.problem(500) if i in last and server.now < 300 else answers.ok(i)
    )
    server.look_plan = lambda i, _n, _c: (
        answers.problem(500) if 10 < server.now < 300 else answers.ok(i, "CANCELLED")
    )
    run = server.run(make_ids(214), Policy(rate_per_s=20, verification=Verification()))
    assert run.observed.breaker == [True, False]
    assert sum(12 < each.at < 300 for each in server.looks) <= 2
    assert run.observed.verification == []
    assert _outcomes(run) == {Outcome.CANCELED: 214}


def test_a_stopped_process_gives_no_looks_up() -> None:
    """The time that it did not run is nobody's trouble."""
    server = VirtualServer()
    server.look_plan = lambda i, n, _c: (
        answers.ok(i, GOES_ON)
        if n == 1
        else answers.problem(503)
        if server.now < 660
        else answers.ok(i, "CANCELLED")
    )

    async def suspend(_: VirtualRun) -> None:
        await anyio.sleep(20)
        stall(600)

    run = server.run(make_ids(20), FAST, during=suspend)
    assert run.observed.verification == []
    assert _outcomes(run) == {Outcome.CANCELED: 20}


def test_a_closed_idle_connection_is_no_trouble() -> None:
    """The look is made again at once, and nothing is held up."""
    server = VirtualServer()

    def plan(instance_id: str, nth: int, _call: str) -> Said:
        if nth < 5:
            return IdleConnectionClosedError("the server had closed an idle connection")
        return answers.ok(instance_id, "CANCELLED")

    server.look_plan = plan
    run = server.run(make_ids(20), FAST)
    assert _outcomes(run) == {Outcome.CANCELED: 20}
    assert run.seconds < 5


def test_a_limit_of_looks_does_not_stop_the_cancels() -> None:
    """429 with Retry-After: no look before that; cancels go on, more slowly."""
    server = VirtualServer(latency_s=0.05)
    told = False

    def plan(instance_id: str, _nth: int, _call: str) -> Said:
        nonlocal told
        if not told:
            told = True
            return answers.limited("20")
        return answers.ok(instance_id, "CANCELLED")

    server.look_plan = plan
    run = server.run(make_ids(600), Policy(rate_per_s=20, verification=Verification()))
    first, *others = [each.at for each in server.looks]
    assert len([at for at in others if at < first + 0.2]) <= 16
    assert not [at for at in others if first + 0.2 < at < first + 20]
    assert server.seen_between(first, first + 20) >= 50
    assert _outcomes(run) == {Outcome.CANCELED: 600}


def test_looks_that_are_to_wait_too_long_are_given_up() -> None:
    """A month's quota of looks: the accepted rows stay, and the run ends."""
    server = VirtualServer()
    server.look_plan = lambda _i, _n, _c: answers.limited("2592000")
    run = server.run(make_ids(30), FAST)
    assert "left alone for 2592000 s" in _gave_up(run)
    assert run.seconds < 10
    assert run.outcomes() == {Outcome.ACCEPTED: 30}


@pytest.mark.parametrize("concurrency", [1, 16])
def test_cancels_go_first_and_looks_get_a_tenth(concurrency: int) -> None:
    """While there are cancels, one request in eleven is a look, from when looks are due."""
    server = VirtualServer(latency_s=0.01)
    policy = Policy(rate_per_s=50, concurrency=concurrency, verification=Verification())
    run = server.run(make_ids(600), policy)
    without = VirtualServer(latency_s=0.01)
    without.run(make_ids(600), Policy(rate_per_s=50, concurrency=concurrency))
    last = server.requests[-1].at
    meanwhile = sum(4 < each.at <= last for each in server.looks)
    cancels = server.seen_between(4, last)
    assert cancels / 10.6 <= meanwhile <= cancels / 9.9
    assert last <= 1.1 * without.requests[-1].at
    assert _outcomes(run) == {Outcome.CANCELED: 600}


def test_looks_and_cancels_together_keep_the_pace() -> None:
    """No second holds more than the rate and 2 %, whatever they are."""
    server = VirtualServer(latency_s=0.2)
    server.look_plan = lambda i, n, _: answers.ok(i, GOES_ON if n < 3 else "CANCELLED")
    server.run(make_ids(500), Policy(rate_per_s=50, verification=Verification()))
    times = sorted([each.at for each in server.requests] + [each.at for each in server.looks])
    assert len(times) == 2000
    fullest = max(
        sum(at <= other < at + 1 for other in times[n : n + 60]) for n, at in enumerate(times)
    )
    assert fullest <= 51


def test_while_cancels_wait_for_the_server_nobody_looks() -> None:
    """The breaker holds looks as well: the server is in trouble."""
    server = VirtualServer(latency_s=0.01)
    server.plan = lambda i, _: answers.problem(500) if 5 <= server.now < 20 else answers.ok(i)
    server.look_plan = lambda i, _n, _c: answers.ok(i, "CANCELLED" if server.now > 25 else GOES_ON)
    run = server.run(make_ids(500), Policy(rate_per_s=20, verification=Verification()))
    assert run.observed.breaker == [True, False]
    assert not [each for each in server.looks if 8 < each.at < 20]
    assert _outcomes(run) == {Outcome.CANCELED: 500}


def _interrupted_after(seconds: float) -> Callable[[VirtualRun], Coroutine[Any, Any, None]]:
    async def interrupt(run: VirtualRun) -> None:
        await anyio.sleep(seconds)
        run.stop.request(InterruptedRunError("SIGTERM", 15))

    return interrupt


def test_a_stop_ends_looks_at_once() -> None:
    """A look under way is cut off, as nothing is lost with it; what was found stays found."""
    server = VirtualServer()
    server.look_plan = lambda i, n, _c: (
        answers.silence() if server.now > 5 else answers.ok(i, GOES_ON)
    )
    ids = make_ids(50)
    run = server.run(ids, FAST, during=_interrupted_after(7.0))
    assert 7.0 <= run.seconds < 7.1
    assert run.outcomes() == {Outcome.ACCEPTED: 50}
    assert not _outcomes(run)
    assert run.stats.unchecked == 50


def test_ids_of_earlier_runs_are_looked_at_too() -> None:
    """They need no cancel, and are due at once."""
    server = VirtualServer()
    ids = make_ids(30)
    run = server.run(ids[:10], FAST, accepted=ids[10:])
    assert len(server.requests) == 10
    assert _outcomes(run) == {Outcome.CANCELED: 30}
    assert server.looks[0].at < 0.1


def test_without_anything_to_cancel_a_dead_server_is_told_at_once() -> None:
    """Nothing has ever answered: there is no point in waiting."""
    server = VirtualServer()
    server.look_plan = lambda _i, _n, _c: refused()
    run = server.run([], FAST, accepted=make_ids(30))
    assert "cannot connect" in _gave_up(run)
    assert run.seconds < 1
    assert type(run.engine.confirmer and run.engine.confirmer.gave_up) is StoppedError


def test_a_server_that_is_not_trusted_is_not_asked_again() -> None:
    """Broken TLS does not pass: it is told at once, and nothing was sent."""
    server = VirtualServer()
    server.look_plan = lambda _i, _n, _c: TlsFailedError("certificate has expired")
    run = server.run([], FAST, accepted=make_ids(30))
    assert "no trusted TLS connection (tls: certificate has expired)" in _gave_up(run)
    assert run.seconds < 1


def test_without_verification_nobody_looks() -> None:
    """It is an option: by default no such call is made."""
    server = VirtualServer()
    run = server.run(make_ids(30), Policy(rate_per_s=1000))
    assert run.engine.confirmer is None
    assert server.looks == []


def test_a_fault_of_ours_in_a_look_ends_the_looks_alone() -> None:
    """The cancels go on; it is told as what it is."""
    server = VirtualServer()

    def plan(_id: str, _nth: int, _call: str) -> Said:
        raise LookupError("ours")

    server.look_plan = plan
    run = server.run(make_ids(200), Policy(rate_per_s=50, verification=Verification()))
    assert run.outcomes() == {Outcome.ACCEPTED: 200}
    assert "bulkcancel itself failed (LookupError)" in _gave_up(run)
    assert {type(each) for each in run.observed.bugs} == {LookupError}


def test_waiting_ids_take_less_than_a_hundred_bytes_each() -> None:
    """Also those that were looked at before."""
    rng = random.Random(1)
    ids = [rng.randbytes(16) for _ in range(10_000)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    checks = Checks(lambda: 1000.0)
    for n, each in enumerate(ids):
        checks.add(each, 1000.0 + n % 977, looks=n % 5, first_at=1000.0 + n % 13 if n % 2 else None)
    waiting = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(checks) == len(ids)
    assert waiting < 100 * len(ids)


def test_checks_come_as_they_are_due_with_what_is_known_of_them() -> None:
    """In the order of their times, whatever their IDs; times are kept to a millisecond."""
    clock = [50.0]
    checks = Checks(lambda: clock[0])
    rng = random.Random(4)
    given = [(rng.randbytes(16), 50 + rng.random() * 1e5, n) for n in range(500)]
    for packed, due, looks in given:
        checks.add(packed, due, looks=looks, first_at=due - 1 if looks % 3 else None)
    for packed, due, looks in sorted(given, key=lambda each: each[1]):
        assert due <= checks.next_due() < due + 0.0011
        check = checks.take()
        assert check.packed == packed
        assert check.looks == min(looks, 255)
        if looks % 3:
            assert check.first_at == pytest.approx(due - 1, abs=0.0011)
        else:
            assert check.first_at is None
        checks.done()


def test_a_server_that_says_something_else_to_each_id_does_not_fill_the_memory() -> None:
    """Beyond two hundred kinds of findings only their outcome is kept."""
    findings = Findings()
    ids = make_ids(1000)
    for n, each in enumerate(ids):
        findings.add(pack(each), Finding(Outcome.UNCONFIRMED, f"S{n}", f"not_confirmed: no {n}"))
    last = findings.of(pack(ids[-1]))
    assert last == Finding(Outcome.UNCONFIRMED, None, "not_confirmed")
    assert findings.of(pack(ids[0])) == Finding(Outcome.UNCONFIRMED, "S0", "not_confirmed: no 0")
    assert findings.outcomes == {Outcome.UNCONFIRMED: 1000}
