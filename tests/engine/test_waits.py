"""How long a run waits for a server that asks to be left alone, and when it is too long."""

from __future__ import annotations

import asyncio
import pickle
from email.utils import formatdate
from time import time

import anyio
import pytest

from bulkcancel.domo import Connection, DomoClient
from bulkcancel.engine.engine import Policy
from bulkcancel.engine.limits import Limits
from bulkcancel.errors import LimitError, StoppedError
from bulkcancel.models import Outcome
from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.faulty_server import FaultyServer
from tests.support.runs import Run, make_ids
from tests.support.virtual_server import VirtualRun, VirtualServer

IDS = make_ids(20)


def _run(server: VirtualServer, limits: Limits, *, concurrency: int = 1) -> VirtualRun:
    return server.run(IDS, Policy(rate_per_s=1000, concurrency=concurrency, limits=limits))


@pytest.mark.parametrize("status", [429, 503, 403])
@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        (Limits(max_outage_s=30), "max_outage_s"),
        (Limits(deadline_s=60), "deadline_s"),
        (Limits(max_outage_s=2_000_000, deadline_s=60), "deadline_s"),
    ],
)
def test_a_pause_that_the_run_cannot_wait_for_ends_it(
    status: int, limits: Limits, limit: str
) -> None:
    """At once, with the figure the server gave; nothing more is sent, nobody has failed."""
    server = VirtualServer(
        lambda i, _n: (
            answers.ok(i)
            if len(server.requests) <= 5
            else answers.problem(status, **{"Retry-After": "1209600"})
        )
    )
    run = _run(server, limits)
    reason = run.stop.reason
    assert isinstance(reason, LimitError)
    assert reason.name == limit
    assert "asks to be left alone for 1209600 s" in str(reason)
    assert f"what is left of {limit} (" in str(reason)
    assert str(reason.called("--it")) == str(reason).replace(limit, "--it")
    assert str(pickle.loads(pickle.dumps(reason))) == str(reason)  # as between processes
    assert run.outcomes() == {Outcome.ACCEPTED: 5}
    assert len(server.requests) == 6
    assert run.stats.unanswered == 1


@pytest.mark.parametrize(
    "answer",
    [
        answers.problem(500, **{"Retry-After": "1209600"}),
        answers.problem(404, **{"Retry-After": "1209600"}),
        answers.problem(403, **{"Retry-After": "next month"}),
        answers.limited("1e9"),
    ],
)
def test_only_a_refusal_with_a_figure_asks_for_a_pause(answer: Answer) -> None:
    """`Retry-After` beside any other trouble, or one that cannot be read, holds nothing up."""
    server = VirtualServer(lambda i, n: answer if i == IDS[3] and n == 1 else answers.ok(i))
    run = _run(server, Limits(max_outage_s=30))
    assert run.stop.reason is None
    assert len(run.results) == len(IDS)


def test_pauses_count_towards_the_outage() -> None:
    """One second is asked for again and again: after two of them the limit has passed."""
    server = VirtualServer(lambda _i, _n: answers.limited("1"))
    run = _run(server, Limits(max_outage_s=1.9))
    assert isinstance(run.stop.reason, StoppedError)
    assert 2 <= len(server.requests) <= 3
    assert run.results == []


def test_one_refusal_alone_is_no_outage() -> None:
    """What comes after the pause takes until the limit is over, and is a success."""
    server = VirtualServer(
        lambda i, n: (
            answers.limited("1")
            if len(server.requests) == 1
            else Answer(answers.ok(i).data, delay_s=0.5 if len(server.requests) == 2 else 0)
        )
    )
    run = _run(server, Limits(max_outage_s=1.2))
    assert run.stop.reason is None
    assert run.outcomes() == {Outcome.ACCEPTED: len(IDS)}


@pytest.mark.parametrize("off_s", [-600, 600, 86_400])
def test_a_date_counts_by_the_servers_own_clock(off_s: float) -> None:
    """Its clock is minutes off: the wait is the one between its `Date` and its `Retry-After`."""

    def limited() -> Answer:
        now = time() + off_s
        dates = {
            "Date": formatdate(now, usegmt=True),
            "Retry-After": formatdate(now + 1, usegmt=True),
        }
        return answers.http(429, b"{}", dates)

    server = VirtualServer(lambda i, n: limited() if i == IDS[0] and n == 1 else answers.ok(i))
    run = _run(server, Limits(max_outage_s=30))
    assert run.stop.reason is None
    assert run.outcomes() == {Outcome.ACCEPTED: len(IDS)}
    assert any("asks for 1 s of quiet" in reason for _, reason in run.observed.paces)


def _slow_to_connect(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    real = DomoClient.connect

    async def slow(self: DomoClient) -> Connection:
        await asyncio.sleep(seconds)
        return await real(self)

    monkeypatch.setattr(DomoClient, "connect", slow)


def test_a_slow_connection_and_a_low_rate_still_send(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slot of a request is not given away because connecting took a moment."""
    _slow_to_connect(monkeypatch, 0.1)
    server = FaultyServer()

    async def work() -> Run:
        async with server:
            run = Run(server.base_url, Policy(rate_per_s=0.5, concurrency=4), timeout_s=1)
            await run.work(IDS[:1])
        return run

    assert anyio.run(work).outcomes() == {Outcome.ACCEPTED: 1}
    assert len(server.requests) == 1


def test_what_waits_with_its_connection_neither_times_out_nor_holds_a_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first answer asks for a pause when others have connected: they wait, and are not sent."""
    _slow_to_connect(monkeypatch, 0.2)
    server = FaultyServer(lambda _i, _n: answers.limited("60"))

    async def work() -> Run:
        async with server:
            policy = Policy(rate_per_s=50, concurrency=8, grace_s=30)
            run = Run(server.base_url, policy, timeout_s=0.5)
            async with anyio.create_task_group() as tasks:

                async def stop() -> None:
                    await anyio.sleep(1.5)
                    run.stop.request(StoppedError("enough"))

                tasks.start_soon(stop)
                with anyio.fail_after(20):  # less than the grace
                    await run.work(IDS)
            return run

    run = anyio.run(work)
    assert str(run.stop.reason) == "enough"
    assert run.results == []
    assert run.stats.unanswered == run.stats.requests == len(server.requests)
    assert "timeout" not in " ".join(run.observed.retries)
