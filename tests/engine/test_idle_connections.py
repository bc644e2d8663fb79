"""What a server says on a connection that nobody has asked anything on."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from bulkcancel.engine.engine import Policy
from bulkcancel.models import Outcome
from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.faulty_server import FaultyServer
from tests.support.runs import Run, make_ids

IDS = make_ids(8)
CLOSING = {"Connection": "close"}


class _Server:
    """Answers each request well and adds `unasked` after `idle_s`, or sends it alone every other
    time a connection is used again: as if it had been on its way already."""

    def __init__(self, unasked: Answer, *, idle_s: float | None) -> None:
        self.unasked = unasked.data
        self.idle_s = idle_s
        self.answered = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        used = 0
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                used += 1
                if self.idle_s is None and used == 2:
                    writer.write(self.unasked)
                    break
                self.answered += 1
                writer.write(answers.ok(head.split(b"/instances/")[1][:36].decode()).data)
                if self.idle_s is not None:
                    await asyncio.sleep(self.idle_s)
                    writer.write(self.unasked)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def run(self) -> Run:
        async with await asyncio.start_server(self.serve, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            run = Run(f"http://127.0.0.1:{port}", Policy(rate_per_s=10, concurrency=1))
            await run.work(IDS)
        return run


@pytest.mark.parametrize(
    "unasked",
    [
        answers.http(408, b"", CLOSING),
        answers.problem(404, "there is no such instance"),
        answers.problem(409, "already cancelled"),
        answers.problem(401),
        answers.limited("3600"),
        Answer(b"?"),
    ],
)
def test_what_nobody_asked_for_is_no_answer(unasked: Answer) -> None:
    """It comes while a connection is idle, and is not taken for the word on the next ID."""
    server = _Server(unasked, idle_s=0.005)
    run = anyio.run(server.run)
    assert run.outcomes() == {Outcome.ACCEPTED: len(IDS)}
    assert {r.attempts for r in run.results} == {1}
    assert server.answered == len(IDS)


@pytest.mark.parametrize(
    "unasked",
    [
        answers.http(408, b"", CLOSING),
        answers.problem(408, Connection="close"),
        answers.http(400, b"<html>Bad Request", {"Connection": "Close"}),
    ],
)
def test_giving_up_a_kept_connection_costs_no_attempt(unasked: Answer) -> None:
    """A 408, or a 400 of the server's own, that crossed with a request on a kept connection."""
    server = _Server(unasked, idle_s=None)
    run = anyio.run(server.run)
    assert run.outcomes() == {Outcome.ACCEPTED: len(IDS)}
    assert {r.attempts for r in run.results} == {1}
    assert run.observed.breaker == []


def test_a_refusal_by_the_api_is_one_however_it_ends() -> None:
    """A 400 in JSON is the word on its ID although it closes a kept connection."""
    server = _Server(answers.problem(400, "no such thing", Connection="close"), idle_s=None)
    run = anyio.run(server.run)
    assert run.outcomes() == {Outcome.ACCEPTED: 4, Outcome.REJECTED: 4}


@pytest.mark.slow
def test_idle_connections_closed_by_the_server_cost_nothing() -> None:
    """Every kept-alive connection dies silently: no ID fails, no attempt is counted."""
    ids = make_ids(3000)
    server = FaultyServer(lambda i, _n: answers.closing_on_next(i))

    async def work() -> Run:
        async with server:
            run = Run(server.base_url, Policy(rate_per_s=100_000, concurrency=16))
            await run.work(ids)
        return run

    run = anyio.run(work)
    assert run.outcomes() == {Outcome.ACCEPTED: len(ids)}
    assert {r.attempts for r in run.results} == {1}
    assert run.observed.breaker == []
    assert server.unheard > 750
