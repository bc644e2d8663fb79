"""The sandbox behaves as its rules and options say, over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import uvloop

from bulkcancel.errors import UsageError
from bulkcancel.sandbox import RULES, Sandbox, SandboxOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

RUNNING = "2052e10a-d142-4391-a731-2be1ab1c0188"
NOT_STARTED = "205201aa-0142-4391-a731-2be1ab1c0188"
COMPLETED = "2052e10a-d142-4391-a731-2be1ab1c0d0e"
CANCELED = "2052e10a-d142-4391-a731-2be1ab1c0ca0"
UNKNOWN = "2052e10a-d142-4391-a731-2be1ab1c0404"
FAILED = "2052e10a-d142-4391-a731-2be1ab1c0fa1"
FORBIDDEN = "2052e10a-d142-4391-a731-2be1ab1c0403"
V1 = "/api/workflow/v1/instances/"
V2 = "/api/workflow/v2/executions"
DOCUMENTED = set(
    re.findall(
        r"\w+",
        "id modelId modelName modelVersion createdBy createdOn updatedBy updatedOn status "
        "deploymentId bpmnProcessId bpmnProcessName isTestRun",
    )
)
TOKEN = {"X-DOMO-Developer-Token": "a-token"}


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def options(**changed: Any) -> SandboxOptions:
    return SandboxOptions(**{"port": 0, "latency_s": 0.0, "jitter_s": 0.0, **changed})


@contextlib.asynccontextmanager
async def serving(
    clock: Clock | None = None, headers: dict[str, str] = TOKEN, **changed: Any
) -> AsyncIterator[tuple[Sandbox, aiohttp.ClientSession]]:
    sandbox = Sandbox(options(**changed), clock=clock or Clock())
    async with (
        sandbox,
        aiohttp.ClientSession(
            sandbox.base_url,
            headers=headers,
            # One fresh connection each: a reset then is this request's own.
            connector=aiohttp.TCPConnector(force_close=True),
        ) as session,
    ):
        yield sandbox, session


async def cancel(session: aiohttp.ClientSession, instance_id: str) -> tuple[int, dict[str, Any]]:
    async with session.post(f"{V1}{instance_id}/cancel") as response:
        return response.status, await response.json()


async def read(session: aiohttp.ClientSession, path: str) -> tuple[int, Any]:
    async with session.get(path) as response:
        return response.status, await response.json()


async def fate(session: aiohttp.ClientSession, instance_id: str) -> int | str:
    """Return the status of one cancel, or the name of the error that took its place."""
    try:
        async with session.post(f"{V1}{instance_id}/cancel") as response:
            return response.status
    except aiohttp.ClientOSError as error:
        return type(error.__cause__ or error).__name__


@pytest.mark.parametrize(
    ("instance_id", "http_status", "status"),
    [
        (RUNNING, 200, "IN_PROGRESS"),
        (NOT_STARTED, 200, None),
        (COMPLETED, 200, "COMPLETED"),
        (CANCELED, 200, "CANCELED"),
        (RUNNING.upper(), 200, "IN_PROGRESS"),
        (COMPLETED.upper(), 200, "COMPLETED"),
        (FAILED, 200, "IN_PROGRESS"),
    ],
)
def test_a_cancel_answers_the_documented_object(
    instance_id: str, http_status: int, status: str | None
) -> None:
    """The ID's end decides the status; the object has every documented field."""

    async def scenario() -> None:
        async with serving() as (_, session):
            got, body = await cancel(session, instance_id)
        assert got == http_status
        assert body["status"] == status
        assert body["id"] == instance_id.lower()
        assert set(body) == DOCUMENTED

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("instance_id", "http_status"),
    [(UNKNOWN, 404), (FORBIDDEN, 403), ("abc", 400), ("a%20b", 400), (RUNNING[:-1], 400)],
)
def test_a_cancel_that_cannot_be_is_refused(instance_id: str, http_status: int) -> None:
    """Unknown, forbidden and malformed IDs get their own status and a message; nothing is done."""

    async def scenario() -> None:
        async with serving(settle_s=0.0) as (_, session):
            got, body = await cancel(session, instance_id)
            assert (await read(session, V1 + instance_id))[1]["status"] != "CANCELED"
        assert (got, body["status"]) == (http_status, http_status)
        assert body["message"]

    asyncio.run(scenario())


def test_a_cancelled_run_settles() -> None:
    """It keeps its status for `settle_s`, then every call says that it was cancelled."""

    async def scenario() -> None:
        clock = Clock()
        async with serving(clock, settle_s=5.0) as (_, session):
            for moment in (1000.0, 1004.9):
                clock.now_s = moment
                assert (await cancel(session, RUNNING))[1]["status"] == "IN_PROGRESS"
            assert (await read(session, V1 + RUNNING))[1]["status"] == "IN_PROGRESS"
            clock.now_s = 1005.0
            assert (await cancel(session, RUNNING))[1]["status"] == "CANCELED"
            assert (await read(session, V1 + RUNNING))[1]["status"] == "CANCELED"
            assert (await read(session, f"{V2}/{RUNNING}"))[1]["status"] == "CANCELLED"

    asyncio.run(scenario())


def test_reading_an_instance_does_not_cancel_it() -> None:
    """A GET leaves the run as it is, and tells of a forbidden one too."""

    async def scenario() -> None:
        clock = Clock()
        async with serving(clock, settle_s=0.0) as (_, session):
            for _ in range(2):
                assert (await read(session, V1 + RUNNING))[1]["status"] == "IN_PROGRESS"
            assert (await read(session, V1 + FORBIDDEN))[0] == 200
            assert (await read(session, V1 + UNKNOWN))[0] == 404

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("accepted", "sent", "http_status"),
    [
        (None, "anything", 200),
        (None, "", 401),
        (None, None, 401),
        ("right", "right", 200),
        ("right", "wrong", 401),
    ],
)
def test_the_token_is_checked(accepted: str | None, sent: str | None, http_status: int) -> None:
    """A missing or wrong token gets 401; without `token` any but an empty one will do."""
    headers = {} if sent is None else {"X-DOMO-Developer-Token": sent}

    async def scenario() -> None:
        async with serving(headers=headers, token=accepted) as (_, session):
            assert (await cancel(session, RUNNING))[0] == http_status

    asyncio.run(scenario())


def test_the_rate_limit_answers_429_with_retry_after() -> None:
    """A tenth of a second's worth may come at once; the rest as fast as the limit says."""

    async def scenario() -> None:
        clock = Clock()
        async with serving(clock, rate_limit_per_s=32.0) as (_, session):

            async def statuses(count: int) -> list[int]:
                return [(await cancel(session, RUNNING))[0] for _ in range(count)]

            assert await statuses(5) == [200, 200, 200, 429, 429]
            clock.now_s += 1 / 32
            assert await statuses(2) == [200, 429]
            clock.now_s += 3600
            assert await statuses(4) == [200, 200, 200, 429]
            async with session.post(f"{V1}{RUNNING}/cancel") as response:
                assert response.headers["Retry-After"] == "1"

    asyncio.run(scenario())


async def _fates(seed: int) -> list[tuple[int | str, bool]]:
    """Return for each of 200 IDs how its cancel ended, and whether it was carried out."""

    async def said(session: aiohttp.ClientSession, instance_id: str) -> str:
        while True:
            with contextlib.suppress(aiohttp.ClientOSError):
                async with session.get(V1 + instance_id) as response:
                    if response.ok:
                        return str((await response.json())["status"])

    async with serving(seed=seed, error_rate=0.3, reset_rate=0.2, settle_s=0.0) as (_, session):
        ids = [f"{place:08x}{RUNNING[8:]}" for place in range(200)]
        ends = [await fate(session, each) for each in ids]
        return [
            (end, await said(session, each) == "CANCELED")
            for end, each in zip(ends, ids, strict=True)
        ]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_trouble_comes_at_its_rate_and_by_the_seed(
    run: Callable[[Awaitable[Any]], Any],
) -> None:
    """5xx of all four kinds and real connection resets, the same for the same seed."""
    first = run(_fates(1))
    assert first == run(_fates(1))
    assert first != run(_fates(2))
    ends = Counter(end for end, _ in first)
    assert set(ends) == {200, 500, 502, 503, 504, "ConnectionResetError"}
    assert 20 <= ends["ConnectionResetError"] <= 65
    assert 35 <= sum(ends[status] for status in (500, 502, 503, 504)) <= 85


def test_trouble_strikes_before_and_after_acting() -> None:
    """Of the cancels that end in trouble, some have been carried out and some have not."""
    fates = asyncio.run(_fates(3))
    assert all(carried_out for end, carried_out in fates if end == 200)
    acted_anyway = [carried_out for end, carried_out in fates if end != 200]
    assert 0.3 < sum(acted_anyway) / len(acted_anyway) < 0.7


def test_a_list_is_asked_for_by_its_query() -> None:
    """What follows the `?` arrives; the ages of the listed count from now."""

    async def scenario() -> None:
        async with serving(executions=40) as (_, session):
            status, page = await read(session, f"{V2}?status=IN_PROGRESS&limit=9&offset=3")
        now = datetime.now(UTC)
        assert (status, len(page)) == (200, 9)
        ages = [now - datetime.fromisoformat(each["startedAt"]) for each in page]
        assert timedelta(minutes=7) < min(ages)
        assert max(ages) < timedelta(days=6)

    asyncio.run(scenario())


def test_it_stops_at_once_with_connections_open() -> None:
    """An idle keep-alive connection and an hour's pending latency do not hold it up."""

    async def scenario() -> None:
        arrived = asyncio.Event()

        def clock() -> float:
            arrived.set()
            return 0.0

        stack = contextlib.AsyncExitStack()
        sandbox = Sandbox(options(latency_s=3600.0), clock=clock)
        await stack.enter_async_context(sandbox)
        port = int(sandbox.base_url.rpartition(":")[2])
        idle = await asyncio.open_connection("127.0.0.1", port)
        busy = await asyncio.open_connection("127.0.0.1", port)
        arrived.clear()  # the clock was read when the sandbox was made
        busy[1].write(
            f"POST {V1}{RUNNING}/cancel HTTP/1.1\r\nHost: x\r\n"
            "X-DOMO-Developer-Token: t\r\nContent-Length: 0\r\n\r\n".encode()
        )
        await arrived.wait()
        # Far above what it takes, far below the hour and aiohttp's own minute.
        async with asyncio.timeout(10):
            await stack.aclose()
        for reader, writer in (idle, busy):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()

    asyncio.run(scenario())


def test_a_taken_port_is_an_error_that_says_what_to_do() -> None:
    """The message names the port and the way out."""

    async def scenario(port: int) -> None:
        with pytest.raises(UsageError, match=rf"port {port} .*choose another port"):
            async with Sandbox(options(port=port)):
                pass

    with socket.create_server(("127.0.0.1", 0)) as taken:
        asyncio.run(scenario(taken.getsockname()[1]))


@pytest.mark.parametrize(
    "bad",
    [
        {"port": 70000},
        {"port": -1},
        {"token": ""},
        {"token": " "},
        {"token": "a\nb"},
        {"token": "ключ"},
        {"latency_s": -1.0},
        {"jitter_s": float("nan")},
        {"settle_s": float("inf")},
        {"rate_limit_per_s": 0.0},
        {"error_rate": 1.5},
        {"reset_rate": -0.1},
        {"error_rate": 0.6, "reset_rate": 0.6},
        {"never_settle": 1.1},
        {"never_settle": float("nan")},
        {"executions": -1},
        {"executions": 100_001},
    ],
)
def test_options_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    """At construction, by a sentence that names the option and what it may be."""
    with pytest.raises(
        UsageError,
        match=next(iter(bad)).removesuffix("_per_s").removesuffix("_s").replace("_", " "),
    ):
        SandboxOptions(**bad)


def test_the_rule_text_names_every_rule() -> None:
    """What `--help` and the README print is what the sandbox does."""
    for end in (COMPLETED, CANCELED, FAILED, UNKNOWN, FORBIDDEN):
        assert f"...{end[-3:]} " in RULES
