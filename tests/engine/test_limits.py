"""When a run as a whole is not worth going on with, on virtual time."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import anyio
import pytest

from bulkcancel.domo.verdict import Next, Verdict, judge_answer, judge_fault
from bulkcancel.engine.limits import Limits, RunMonitor
from bulkcancel.engine.stop import Stop
from bulkcancel.errors import (
    LimitError,
    StoppedError,
    TokenRefusedError,
    UntrustedError,
    UsageError,
)
from bulkcancel.http.faults import AttemptTimeoutError, NoDescriptorsError, TlsFailedError
from bulkcancel.models import CancelResult, Outcome
from tests.support import faulty_answers as answers
from tests.support.runs import make_ids
from tests.support.virtual_server import read, refused
from tests.support.virtual_time import now, on_virtual_time, stall

ID = make_ids(1)[0]


def _verdict(answer: answers.Answer) -> Verdict:
    return judge_answer(read(answer, ID, 0.0), ambiguous_before=False)


RESULT = CancelResult(
    ID, Outcome.FAILED, None, None, None, None, None, 1, "why", None, datetime.now(UTC),
    "acme.domo.com", "",
)  # fmt: skip
TROUBLE = _verdict(answers.problem(503, "down"))
STRANGER = _verdict(answers.page(404))
THROTTLED = _verdict(answers.limited(None))
REFUSED = _verdict(answers.problem(401, "who?"))
NO = _verdict(answers.problem(404))
SHORTAGE = judge_fault(NoDescriptorsError("no descriptor is left"))
TIMEOUT = judge_fault(AttemptTimeoutError("no whole answer within 30 s"))


class Bench:
    """A monitor, its stop, and when that came."""

    def __init__(
        self, limits: Limits | None = None, *, timeout_s: float = 30.0,
        ok: frozenset[Outcome] = frozenset(), succeeded_before: int = 0,
    ) -> None:  # fmt: skip
        self.stop = Stop()
        self.monitor = RunMonitor(
            self.stop, limits or Limits(max_outage_s=60), host="acme.domo.com",
            timeout_s=timeout_s, ok=ok, succeeded_before=succeeded_before, clock=now,
        )  # fmt: skip

    @property
    def reason(self) -> str:
        return str(self.stop.reason or "")

    def trouble(self, verdict: Verdict = TROUBLE, *, answered: bool = True) -> None:
        self.monitor.on_attempt(verdict, answered=answered, decisive=False)

    def result(self, outcome: Outcome) -> None:
        self.monitor.on_failed(RESULT._replace(outcome=outcome))

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Watch meanwhile."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.monitor.watch)
            yield
            tasks.cancel_scope.cancel()

    async def stopped_after(self, seconds: float, every: Callable[[], None] | None = None) -> float:
        """Watch for so long; return after how many seconds it stopped, or infinity."""
        began, ended = now(), float("inf")
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.monitor.watch)
                while not self.stop.requested:
                    if every is not None:
                        every()
                    await anyio.sleep(0.5)
                ended = now() - began
                tasks.cancel_scope.cancel()
        return ended


# ------------------------------------------------------------------ the first word


@on_virtual_time
async def test_a_refused_connection_as_the_first_word_ends_it_at_once() -> None:
    """What is in flight is cut too: it cannot get anywhere either."""
    bench = Bench()
    bench.trouble(judge_fault(refused()), answered=False)
    assert bench.reason == (
        "cannot connect to acme.domo.com:443: Connection refused: check the instance name, the "
        "address and the network"
    )
    with anyio.fail_after(1):
        await bench.stop.wait_cut()
    assert not bench.monitor.answered


@on_virtual_time
async def test_a_redirect_as_the_first_word_ends_it() -> None:
    """A login page elsewhere: what is in flight may still be answered."""
    bench = Bench()
    bench.trouble(_verdict(answers.redirect(302, "http://127.0.0.1:9/")))
    assert bench.reason == (
        "the address answers with a redirect (HTTP 302), which is never followed: check the "
        "instance name or the base URL"
    )
    with anyio.move_on_after(1) as waited:
        await bench.stop.wait_cut()
    assert waited.cancelled_caught


@on_virtual_time
async def test_later_on_both_are_trouble_like_other() -> None:
    """The server was there."""
    bench = Bench()
    bench.trouble(NO)
    assert bench.monitor.answered
    bench.trouble(judge_fault(refused()), answered=False)
    bench.trouble(_verdict(answers.redirect(302, "http://127.0.0.1:9/")))
    assert bench.reason == ""


@on_virtual_time
async def test_broken_tls_ends_it_whenever_it_comes() -> None:
    """Nothing was sent over it, and nothing will be."""
    bench = Bench()
    bench.monitor.on_success()
    bench.trouble(judge_fault(TlsFailedError("self-signed")), answered=False)
    assert bench.reason == (
        "no trusted TLS connection to acme.domo.com (tls: self-signed): nothing was sent over it"
    )


@pytest.mark.parametrize("known", ["nothing", "success"])
@on_virtual_time
async def test_an_issuer_that_is_not_trusted_ends_it_with_advice(known: str) -> None:
    """Whenever it comes; the text names what to give, which the command calls otherwise."""
    bench = Bench()
    if known == "success":
        bench.monitor.on_success()
    fault = TlsFailedError("who is that?")
    fault.unknown_issuer = True
    bench.trouble(judge_fault(fault), answered=False)
    said = (
        "no trusted TLS connection to acme.domo.com (tls: who is that?): nothing was sent over it; "
        "if it is to be trusted, give its certificate in SSL_CERT_FILE or "
    )
    assert bench.reason == f"{said}ca_file"
    assert isinstance(bench.stop.reason, UntrustedError)
    assert str(bench.stop.reason.called("--ca-file")) == f"{said}--ca-file"
    with anyio.move_on_after(1) as waited:
        await bench.stop.wait_cut()
    assert waited.cancelled_caught


@pytest.mark.parametrize("known", ["nothing", "success", "refusal", "trouble"])
@on_virtual_time
async def test_a_401_before_the_token_was_accepted_ends_it(known: str) -> None:
    """A success, or the API's word on an ID, shows that it was good; trouble shows nothing."""
    bench = Bench()
    if known == "success":
        bench.monitor.on_success()
    elif known != "nothing":
        bench.trouble(NO if known == "refusal" else TROUBLE)
    bench.trouble(REFUSED)
    if known in {"success", "refusal"}:
        assert bench.reason == ""
        bench.monitor.on_attempt(REFUSED, answered=True, decisive=True)
    assert isinstance(bench.stop.reason, TokenRefusedError)
    assert bench.reason == (
        "acme.domo.com refused the token (unauthorized: HTTP 401: who?): make a new one in Admin > "
        "Authentication (or Security) > Access tokens"
    )


# ------------------------------------------------------------------ outages


@on_virtual_time
async def test_nothing_but_trouble_for_the_limit_ends_it() -> None:
    """To the second, with the last that was heard."""
    bench = Bench()
    bench.monitor.on_success()
    after_s = await bench.stopped_after(100, every=bench.trouble)
    assert 60 <= after_s <= 61
    assert isinstance(bench.stop.reason, LimitError)
    assert bench.reason == (
        "an outage of 60 s, the limit of max_outage_s (server_error: HTTP 503: down)"
    )


@pytest.mark.parametrize("end", ["success", "refusal", "failed row"])
@on_virtual_time
async def test_any_word_on_an_id_ends_the_trouble(end: str) -> None:
    """The next trouble begins its clock anew."""
    bench = Bench()
    bench.monitor.on_success()
    bench.trouble()
    assert await bench.stopped_after(50) == float("inf")
    if end == "success":
        bench.monitor.on_success()
    elif end == "refusal":
        bench.trouble(NO)
    else:
        bench.result(Outcome.FAILED)
    assert await bench.stopped_after(50) == float("inf")
    bench.trouble()
    assert await bench.stopped_after(59) == float("inf")
    assert await bench.stopped_after(59) <= 2


@on_virtual_time
async def test_one_throttled_answer_alone_is_no_outage() -> None:
    """What comes next may take its time; a second one makes it trouble since the first."""
    bench = Bench()
    bench.monitor.on_success()
    bench.trouble(THROTTLED)
    assert await bench.stopped_after(100) == float("inf")
    bench.trouble(THROTTLED)
    assert await bench.stopped_after(10) <= 1


@on_virtual_time
async def test_a_shortage_here_is_not_the_start_of_an_outage_there() -> None:
    """The server's trouble begins with its own; a shortage alone ends the run after as long."""
    bench = Bench()
    bench.monitor.on_first_request()
    bench.trouble(SHORTAGE, answered=False)
    await anyio.sleep(20)
    bench.trouble(SHORTAGE, answered=False)
    await anyio.sleep(5)
    bench.trouble()
    bench.trouble(SHORTAGE, answered=False)
    assert await bench.stopped_after(80) == pytest.approx(60, abs=0.5)
    alone = Bench()
    alone.monitor.answered = True
    assert await alone.stopped_after(
        80, every=lambda: alone.trouble(SHORTAGE, answered=False)
    ) == pytest.approx(60, abs=0.5)
    assert "no descriptor" in alone.reason


@on_virtual_time
async def test_a_host_that_was_not_asked_for_a_shortage_here_has_its_time() -> None:
    """Half a minute for its first answer begins once a request is out."""
    bench = Bench()
    bench.monitor.on_first_request()
    for _ in range(28):
        bench.trouble(SHORTAGE, answered=False)
        bench.monitor.on_first_request()
        await anyio.sleep(1)
    bench.monitor.on_first_request(sent=True)
    assert await bench.stopped_after(60) == pytest.approx(29, abs=0.5)
    assert "never answered (the first request is still unanswered)" in bench.reason


@on_virtual_time
async def test_trouble_that_was_there_before_a_shortage_goes_on() -> None:
    """Nor does one in the middle begin it anew."""
    bench = Bench()
    bench.trouble()
    await anyio.sleep(30)
    bench.trouble(SHORTAGE, answered=False)
    bench.trouble()
    assert await bench.stopped_after(80) == pytest.approx(30, abs=0.5)


@on_virtual_time
async def test_time_in_which_nothing_ran_is_no_trouble() -> None:
    """A suspended laptop: neither an outage nor strangers from the start."""
    for first in (TROUBLE, STRANGER):
        bench = Bench()
        bench.trouble(first)
        async with bench.watched():
            await anyio.sleep(20)
            stall(300)
            await anyio.sleep(5)
            assert bench.reason == ""
        assert await bench.stopped_after(60) < 36


@on_virtual_time
async def test_an_answer_that_waited_while_nothing_ran_is_judged_without_that_time() -> None:
    """It is read from its socket before anything looks at the clock."""
    bench = Bench()
    async with bench.watched():
        await anyio.sleep(0.1)
        bench.trouble(THROTTLED)
        bench.trouble(_verdict(answers.limited("20")))
        await anyio.sleep(20)
        stall(300)
        bench.trouble(_verdict(answers.limited("39")))
        assert bench.reason == ""
        await anyio.sleep(5)
        assert bench.reason == ""
        bench.trouble(_verdict(answers.limited("39")))
    assert bench.reason.startswith("acme.domo.com asks to be left alone for 39 s, longer than")


@on_virtual_time
async def test_strangers_after_a_stall_have_their_half_minute() -> None:
    """It begins with the first of their answers."""
    bench = Bench(Limits(max_outage_s=600))
    async with bench.watched():
        await anyio.sleep(0.1)
        stall(300)
        bench.trouble(STRANGER)
        await anyio.sleep(28)
        assert bench.reason == ""
        await anyio.sleep(3)
    assert "has not answered once as Domo's Workflow API does" in bench.reason


@on_virtual_time
async def test_a_stall_without_trouble_is_nothing() -> None:
    """The run goes on being watched: the deadline holds for it."""
    bench = Bench(Limits(deadline_s=100))
    async with bench.watched():
        await anyio.sleep(20)
        stall(50)
        await anyio.sleep(5)
        assert bench.reason == ""
        await anyio.sleep(30)
    assert bench.reason == "the deadline of 100 s has passed (deadline_s)"


@on_virtual_time
async def test_time_in_which_a_run_is_held_is_no_trouble() -> None:
    """However long, and whoever asks for it again: what was trouble goes on where it stopped."""
    for first in (TROUBLE, STRANGER):
        limit_s = 60 if first is TROUBLE else 30
        bench = Bench()
        bench.monitor.answered = True
        async with bench.watched():
            await anyio.sleep(5)
            bench.trouble(first)
            await anyio.sleep(20)
            bench.monitor.hold()
            await anyio.sleep(100)
            bench.monitor.hold()
            stall(100)
            await anyio.sleep(100)
            assert bench.reason == ""
            bench.monitor.release()
            bench.monitor.release()
        assert await bench.stopped_after(100) == pytest.approx(limit_s - 20, abs=0.5)


@on_virtual_time
async def test_a_stall_while_a_run_is_held_is_left_out_once() -> None:
    """Also where it goes on before anything has looked at the clock."""
    bench = Bench()
    bench.monitor.answered = True
    async with bench.watched():
        await anyio.sleep(5)
        bench.trouble()
        bench.monitor.hold()
        stall(40)
        bench.monitor.release()
        await anyio.sleep(59.5)
        assert bench.reason == ""
        await anyio.sleep(1)
    assert "an outage of 60 s" in bench.reason


@on_virtual_time
async def test_a_stall_before_a_run_is_held_is_left_out_as_well() -> None:
    """Though nothing has looked at the clock since: at once, and once it goes on."""
    for held_s in (0, 5):
        bench = Bench()
        bench.monitor.answered = True
        async with bench.watched():
            await anyio.sleep(5)
            bench.trouble()
            stall(90)
            bench.monitor.hold()
            await anyio.sleep(held_s)
            bench.monitor.release()
            await anyio.sleep(59)
            assert bench.reason == ""
            await anyio.sleep(2)
        assert "an outage of 60 s" in bench.reason


@on_virtual_time
async def test_the_deadline_counts_from_the_start_of_the_run() -> None:
    """Not from when its parts were made."""
    bench = Bench(Limits(deadline_s=10))
    await anyio.sleep(100)
    assert await bench.stopped_after(20) == pytest.approx(10, abs=0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("max_outage_s", "deadline_s") for value in (0, -1, math.nan)),
        ("max_failures", 0),
        *(("max_failure_share", value) for value in (0.0, -0.1, 1.1, math.nan)),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(name: str, value: float) -> None:
    """By its name."""
    with pytest.raises(UsageError, match=f"^{name} must be above 0.*, not {value}$"):
        Limits(**{name: value})  # type: ignore[arg-type]


def test_a_limit_may_be_as_large_as_all() -> None:
    """Every ID may fail, and a run may go on for ever."""
    limits = Limits(max_outage_s=math.inf, deadline_s=math.inf, max_failure_share=1.0)
    assert (limits.max_outage_s, limits.max_failure_share) == (math.inf, 1.0)


@on_virtual_time
async def test_a_run_without_limits_goes_on() -> None:
    """Failures do not end it, and no time does."""
    bench = Bench(Limits())
    for _ in range(200):
        bench.result(Outcome.FAILED)
    assert await bench.stopped_after(700) == float("inf")
    assert Limits() == Limits(
        max_outage_s=600, deadline_s=None, max_failures=None, max_failure_share=None
    )


@on_virtual_time
async def test_one_that_asks_for_as_long_as_an_outage_may_last_is_no_outage() -> None:
    """It is asked again after that, whether it said 429 or 503: two refusals at least end a run."""
    for status in (429, 503):
        bench = Bench()
        bench.monitor.on_success()
        bench.trouble(_verdict(answers.problem(status, **{"Retry-After": "60"})))
        assert await bench.stopped_after(70) == float("inf")
        bench.trouble(_verdict(answers.problem(status)))
        assert await bench.stopped_after(70) <= 1


@on_virtual_time
async def test_one_throttling_answer_after_trouble_that_has_passed_is_no_outage() -> None:
    """What came before the last success does not count."""
    bench = Bench()
    for _ in range(3):
        bench.trouble()
    bench.monitor.on_success()
    bench.trouble(THROTTLED)
    assert await bench.stopped_after(100) == float("inf")


@on_virtual_time
async def test_a_stall_of_more_than_a_second_does_not_count() -> None:
    """Nothing ran: however often that happens."""
    bench = Bench()
    bench.monitor.on_success()
    bench.trouble()
    async with bench.watched():
        for _ in range(100):
            await anyio.sleep(0.3)
            stall(1.3)
        assert bench.reason == ""
        await anyio.sleep(35)
    assert "an outage of 60 s" in bench.reason


@on_virtual_time
async def test_a_short_stall_counts() -> None:
    """A busy loop is late by up to a second and still runs."""
    bench = Bench()
    bench.monitor.on_success()
    bench.trouble()
    async with bench.watched():
        for _ in range(59):
            stall(0.9)
            await anyio.sleep(0.1)
        assert bench.reason == ""
        for _ in range(3):
            stall(0.9)
            await anyio.sleep(0.1)
    assert bench.stop.reason is not None


@on_virtual_time
async def test_a_host_that_never_answers_is_told_within_half_a_minute() -> None:
    """Counted from the first request, which may come late; what is in flight is cut."""
    bench = Bench(Limits(max_outage_s=600))
    assert await bench.stopped_after(100) == float("inf")
    bench.monitor.on_first_request()
    assert 28 <= await bench.stopped_after(60) <= 30
    assert bench.reason == (
        "acme.domo.com has never answered (the first request is still unanswered)"
    )
    with anyio.fail_after(1):
        await bench.stop.wait_cut()


@on_virtual_time
async def test_a_long_timeout_is_waited_for() -> None:
    """The first answer may take as long as the user allows."""
    bench = Bench(Limits(max_outage_s=600), timeout_s=90)
    bench.monitor.on_first_request()
    bench.trouble(TIMEOUT, answered=False)
    assert 89 <= await bench.stopped_after(200) <= 91
    assert "has never answered (timeout: no whole answer within 30 s)" in bench.reason


@pytest.mark.parametrize(("timeout_s", "told_after_s"), [(5, 29), (30, 29), (31, 31)])
@on_virtual_time
async def test_half_a_minute_is_given_unless_the_timeout_is_longer(
    timeout_s: float, told_after_s: float
) -> None:
    """A short timeout is no reason to give up earlier: the next attempt may be answered."""
    bench = Bench(Limits(max_outage_s=600), timeout_s=timeout_s)
    bench.monitor.on_first_request()
    assert await bench.stopped_after(100) == pytest.approx(told_after_s, abs=0.5)


@pytest.mark.parametrize(
    ("verdict", "sent"), [(TIMEOUT, True), (TIMEOUT, False), (SHORTAGE, False)]
)
@on_virtual_time
async def test_half_a_minute_does_not_begin_anew(verdict: Verdict, sent: bool) -> None:
    """Not by a request after one that got nowhere, nor by one that a shortage here keeps back."""
    bench = Bench(Limits(max_outage_s=600))
    bench.monitor.on_first_request()

    def go_on() -> None:
        bench.trouble(verdict, answered=False)
        bench.monitor.on_first_request(sent=sent)

    assert await bench.stopped_after(100, every=go_on) == pytest.approx(29, abs=0.5)


@on_virtual_time
async def test_a_host_that_has_answered_is_there() -> None:
    """Silence after the first answer is no reason to stop within half a minute."""
    bench = Bench(Limits(max_outage_s=600))
    bench.monitor.on_success()
    bench.monitor.on_first_request()
    assert await bench.stopped_after(700) == float("inf")


# ------------------------------------------------------------------ strangers


@on_virtual_time
async def test_nothing_but_strangers_from_the_start_ends_it() -> None:
    """After half a minute, with what they said."""
    bench = Bench()
    after_s = await bench.stopped_after(100, every=lambda: bench.trouble(STRANGER))
    assert 30 <= after_s <= 31
    assert bench.reason.startswith(
        "acme.domo.com has not answered once as Domo's Workflow API does (bad_response: HTTP 404: "
    )
    assert bench.reason.endswith(
        "): check the instance name or the base URL, and what stands in between"
    )


@pytest.mark.parametrize("word", ["success", "trouble", "throttled"])
@on_virtual_time
async def test_one_word_of_the_api_shows_that_it_is_there(word: str) -> None:
    """Before or after the strangers: then they are an outage like another."""
    for first in (True, False):
        bench = Bench()
        if not first:
            bench.trouble(STRANGER)
        if word == "success":
            bench.monitor.on_success()
        else:
            bench.trouble(TROUBLE if word == "trouble" else THROTTLED)
        bench.trouble(STRANGER)
        assert await bench.stopped_after(45) == float("inf")


# ------------------------------------------------------------------ limits


@on_virtual_time
async def test_the_deadline_ends_it() -> None:
    """Whatever goes on."""
    bench = Bench(Limits(deadline_s=90.5))
    assert 90.5 <= await bench.stopped_after(200, every=bench.monitor.on_success) <= 91.5
    assert bench.reason == "the deadline of 90.5 s has passed (deadline_s)"


@pytest.mark.parametrize(
    ("limits", "pause_s", "limit", "left"),
    [
        (Limits(max_outage_s=60), 60.1, "max_outage_s", 60),
        (Limits(max_outage_s=600, deadline_s=50), 50.1, "deadline_s", 50),
        (Limits(max_outage_s=40, deadline_s=50), 40.1, "max_outage_s", 40),
    ],
)
@on_virtual_time
async def test_a_pause_that_cannot_be_waited_for_ends_it(
    limits: Limits, pause_s: float, limit: str, left: int
) -> None:
    """At once, with the figure; one that fits does not."""
    bench = Bench(limits)
    fitting = Verdict(
        Next.RETRY_UNCOUNTED, Outcome.FAILED, "rate_limited: HTTP 429", throttled=True,
        pause_s=left,
    )  # fmt: skip
    bench.trouble(fitting)
    assert bench.reason == ""
    bench.trouble(_longer(fitting, pause_s))
    assert isinstance(bench.stop.reason, LimitError)
    assert bench.stop.reason.name == limit
    assert bench.reason == (
        f"acme.domo.com asks to be left alone for {pause_s:.0f} s, longer than what is left of "
        f"{limit} ({left} s; rate_limited: HTTP 429)"
    )


def _longer(verdict: Verdict, pause_s: float) -> Verdict:
    return Verdict(verdict.next, verdict.outcome, verdict.error, throttled=True, pause_s=pause_s)


@on_virtual_time
async def test_what_is_left_grows_less_with_the_trouble_and_the_run() -> None:
    """Trouble of 20 s leaves 40 of an outage of 60; a run of 20 s leaves 40 of a deadline of 60."""
    for limits, known in ((Limits(max_outage_s=60), True), (Limits(deadline_s=60), False)):
        bench = Bench(limits)
        if known:
            bench.trouble()
        await bench.stopped_after(20)
        bench.trouble(_longer(THROTTLED, 39))
        assert bench.reason == ""
        bench.trouble(_longer(THROTTLED, 41))
        assert "(40 s;" in bench.reason


@on_virtual_time
async def test_the_lesser_of_what_is_left_counts() -> None:
    """The deadline came nearer with the run, and an outage has not begun."""
    bench = Bench(Limits(max_outage_s=60, deadline_s=70))
    await bench.stopped_after(20)
    bench.trouble(_longer(THROTTLED, 55))
    assert "(50 s;" in bench.reason
    assert isinstance(bench.stop.reason, LimitError)
    assert bench.stop.reason.name == "deadline_s"


@on_virtual_time
async def test_when_nothing_is_left_any_pause_is_too_long() -> None:
    """Except none."""
    bench = Bench(Limits(max_outage_s=60))
    bench.trouble()
    await anyio.sleep(61)
    bench.trouble(_longer(THROTTLED, 0))
    assert bench.reason == ""
    bench.trouble(_longer(THROTTLED, 0.5))
    assert "longer than what is left of max_outage_s (0 s;" in bench.reason


@on_virtual_time
async def test_too_many_failures_end_it() -> None:
    """At the number given; what counts as success does not count."""
    bench = Bench(Limits(max_failures=3), ok=frozenset({Outcome.NOT_FOUND}))
    for outcome in (*[Outcome.FAILED, Outcome.REJECTED], *[Outcome.NOT_FOUND] * 5):
        bench.result(outcome)
    assert bench.reason == ""
    bench.result(Outcome.FORBIDDEN)
    assert bench.reason == "3 failed, the limit of max_failures"


@on_virtual_time
async def test_a_share_of_failures_counts_once_there_are_a_hundred() -> None:
    """Of all that are finished, those that count as success among them."""
    bench = Bench(Limits(max_failure_share=0.1), ok=frozenset({Outcome.NOT_FOUND}))
    for _ in range(9):
        bench.result(Outcome.FAILED)
    for _ in range(45):
        bench.monitor.on_success()
        bench.result(Outcome.NOT_FOUND)
    assert bench.reason == ""
    bench.result(Outcome.FAILED)
    assert bench.reason == "10 failed, the limit of max_failure_share"


@on_virtual_time
async def test_nine_of_a_hundred_are_less_than_a_tenth() -> None:
    """The share is of what is finished, and below a hundred it says nothing."""
    bench = Bench(Limits(max_failure_share=0.1))
    for _ in range(50):
        bench.result(Outcome.FAILED)
    assert bench.reason == ""
    few = Bench(Limits(max_failure_share=0.1))
    for _ in range(92):
        few.monitor.on_success()
    for _ in range(9):
        few.result(Outcome.REJECTED)
    assert few.stop.reason is None


@pytest.mark.parametrize("allowed", ["nothing", "success", "before", "no such instance", "ok"])
@on_virtual_time
async def test_forbidden_from_the_start_ends_it(allowed: str) -> None:
    """After twenty-five, unless they are not the first or one had succeeded in the run before."""
    ok = frozenset({Outcome.REJECTED})
    bench = Bench(succeeded_before=int(allowed == "before"), ok=ok)
    if allowed == "success":
        bench.monitor.on_success()
    elif allowed == "no such instance":
        bench.result(Outcome.NOT_FOUND)
    elif allowed == "ok":
        bench.result(Outcome.REJECTED)
    for _ in range(24):
        bench.result(Outcome.FORBIDDEN)
    assert bench.reason == ""
    bench.result(Outcome.FORBIDDEN)
    if allowed == "nothing":
        assert isinstance(bench.stop.reason, TokenRefusedError)
        assert bench.reason == ("acme.domo.com forbade the first 25 cancels and allowed none: why")
    else:
        assert bench.reason == ""


def test_the_first_reason_stays() -> None:
    """Whatever comes after it."""
    stop = Stop()
    stop.request(StoppedError("first"))
    stop.request(StoppedError("second"), cut=True)
    assert str(stop.reason) == "first"
