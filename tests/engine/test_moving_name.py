"""A name that leads to another address in mid-run: the run follows it."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
import pytest
import trustme

from bulkcancel.engine.engine import Policy
from bulkcancel.engine.limits import Limits
from bulkcancel.models import Outcome
from bulkcancel.pacing import breaker
from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer, End
from tests.support.faulty_server import FaultyServer
from tests.support.moving_name import MovingName
from tests.support.runs import Run, make_ids
from tests.support.tls import certified, trusting

pytestmark = pytest.mark.skipif(
    sys.platform == "darwin", reason="127.0.0.2 is no address of a Mac until it is made one"
)
IDS = make_ids(150)
BEFORE = 40
"""How many requests the old server sees before anything happens to it."""


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> MovingName:
    monkeypatch.setattr(breaker, "_FIRST_WAIT_S", 0.1)
    return MovingName(monkeypatch)


@contextlib.asynccontextmanager
async def _both(old: FaultyServer, new: FaultyServer) -> AsyncIterator[None]:
    """Have them listen on the same port of two addresses."""
    async with old:
        new.port = old.port
        async with new:
            yield


def _run_while(
    what: Callable[[Run], Awaitable[None]], old: FaultyServer, new: FaultyServer, policy: Policy
) -> Run:
    """Run the engine while something happens once the old server has seen enough."""

    async def work() -> Run:
        async with _both(old, new):
            run = Run(old.base_url.replace("127.0.0.1", "localhost"), policy, timeout_s=1.0)

            async def happen() -> None:
                await _until(lambda: len(old.requests) >= BEFORE)
                await what(run)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(happen)
                await run.work(IDS)
                tasks.cancel_scope.cancel()
            return run

    return anyio.run(work)


async def _until(so: Callable[[], bool]) -> None:
    while not so():  # noqa: ASYNC110 - the server has no event for it
        await anyio.sleep(0.002)


def _check_followed(run: Run, old: FaultyServer, new: FaultyServer) -> None:
    assert run.stop.reason is None
    assert Counter(result.instance_id for result in run.results) == Counter(IDS)
    assert run.outcomes() == {Outcome.ACCEPTED: len(IDS)}
    assert len(old.requests) < len(IDS)
    assert len(new.requests) > len(IDS) / 2


def _limits() -> Limits:
    return Limits(max_outage_s=15)  # one that does not follow fails the test instead of hanging it


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_run_goes_where_the_name_does(
    name: MovingName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """The old server goes as the name moves: no outage comes of it."""
    context = None
    if scheme == "https":
        authority = trustme.CA()
        context = certified(authority, "localhost")
        monkeypatch.setenv("SSL_CERT_FILE", trusting(authority, tmp_path)["SSL_CERT_FILE"])
    old, new = FaultyServer(ssl=context), FaultyServer(host="127.0.0.2", ssl=context)

    async def move(_: Run) -> None:
        name.address = "127.0.0.2"
        await old.refuse()

    run = _run_while(move, old, new, Policy(rate_per_s=400, concurrency=2, limits=_limits()))
    _check_followed(run, old, new)
    assert run.observed.breaker == []


def test_the_run_waits_for_the_name_to_move(name: MovingName) -> None:
    """The old server is gone for a while before: one of the probes finds the new one."""
    old, new = FaultyServer(), FaultyServer(host="127.0.0.2")

    async def move(run: Run) -> None:
        await old.refuse()
        await _until(lambda: run.observed.breaker == [True])
        assert new.requests == []
        name.address = "127.0.0.2"

    run = _run_while(move, old, new, Policy(rate_per_s=400, concurrency=8, limits=_limits()))
    _check_followed(run, old, new)
    assert run.observed.breaker == [True, False]


@pytest.mark.slow
def test_a_server_that_falls_silent_is_left_for_where_the_name_leads(name: MovingName) -> None:
    """It still takes connections and keeps them, and answers none: a probe asks the name again."""
    silent: list[bool] = []

    def plan(instance_id: str, _nth: int) -> Answer:
        return answers.silence() if silent else answers.ok(instance_id)

    old, new = FaultyServer(plan), FaultyServer(host="127.0.0.2")

    async def move(_: Run) -> None:
        silent.append(True)
        name.address = "127.0.0.2"

    run = _run_while(move, old, new, Policy(rate_per_s=400, concurrency=12, limits=_limits()))
    _check_followed(run, old, new)
    assert run.observed.breaker == [True, False]


@pytest.mark.parametrize("slow_s", [0.0, 0.05])
def test_the_name_is_looked_up_once_while_all_is_well(name: MovingName, slow_s: float) -> None:
    """Not for each connection, of which every request has its own here, nor for those at once."""
    name.slow_s = slow_s
    looked_up: list[int] = []

    def plan(instance_id: str, _nth: int) -> Answer:
        return answers.http(200, answers.instance(instance_id), end=End.FIN)

    old, new = FaultyServer(plan), FaultyServer(plan, host="127.0.0.2")

    async def move(_: Run) -> None:
        looked_up.append(name.looked_up)
        name.address = "127.0.0.2"
        await old.refuse()

    run = _run_while(move, old, new, Policy(rate_per_s=400, concurrency=8, limits=_limits()))
    assert looked_up == [1]
    assert old.connections >= BEFORE
    _check_followed(run, old, new)
