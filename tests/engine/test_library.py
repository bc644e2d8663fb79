"""The library on virtual time: what is sent when, what is saved, what is told on the way."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import json
import signal
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

import bulkcancel
from bulkcancel import (
    BusyError,
    CancelInterrupted,
    CancelResult,
    InputError,
    LimitError,
    Outcome,
    OutputError,
    Progress,
    ResultsError,
    ResultsPath,
    StoppedError,
    TokenRefusedError,
    UsageError,
    cancel_all,
    cancel_many,
    errors,
)
from bulkcancel.engine import Engine
from bulkcancel.engine.library import job
from bulkcancel.engine.library.saving import Opening, Saved
from bulkcancel.results import ResultsWriter
from tests.support import faulty_answers as answers
from tests.support.runs import make_ids
from tests.support.virtual_server import VirtualClient, VirtualServer
from tests.support.virtual_time import VirtualTimeLoop, now, on_virtual_time

IDS = make_ids(400)


@pytest.fixture(autouse=True)
def virtual_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines of the library go by the loop's clock; what waits for a disk is done in the loop."""

    async def at_once(work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)

    writer = functools.partial(ResultsWriter, clock=now, in_thread=at_once)
    monkeypatch.setattr(job, "Engine", functools.partial(Engine, clock=now))
    monkeypatch.setattr(job, "to_thread", SimpleNamespace(run_sync=at_once))
    monkeypatch.setattr("bulkcancel.results.saved.ResultsWriter", writer)


def work(
    server: VirtualServer, ids: Any = IDS, **arguments: Any
) -> AsyncGenerator[CancelResult, None]:
    server.began = server.began or now()
    return cancel_many(ids, client=VirtualClient(server, timeout_s=30), **arguments)


async def take(results: AsyncGenerator[CancelResult, None], count: int) -> None:
    for _ in range(count):
        await anext(results)


@pytest.mark.parametrize("rate_per_s", [10, 1000])
@pytest.mark.parametrize("latency_s", [0.001, 0.5])
def test_left_alone_it_sends_nothing_more(rate_per_s: float, latency_s: float) -> None:
    """What is in flight finishes, at most `concurrency` requests; not one is sent in an hour."""

    @on_virtual_time
    async def main() -> None:
        server = VirtualServer(latency_s=latency_s)
        results = work(server, rate_per_s=rate_per_s, concurrency=8)
        await take(results, 20)
        sent = len(server.requests)
        assert sent - 20 <= 8
        await anyio.sleep(3600)
        assert len(server.requests) == sent
        assert server.in_flight == 0
        await take(results, 20)  # and it goes on where it was left
        assert len(server.requests) >= 40
        await results.aclose()

    main()


def test_coming_back_is_no_reason_to_hurry() -> None:
    """Requests that were due meanwhile are not caught up with: the rate stays a ceiling."""

    @on_virtual_time
    async def main() -> None:
        server = VirtualServer()
        results = work(server, rate_per_s=10)
        await take(results, 5)
        await anyio.sleep(60)
        back = server.now
        await take(results, 20)
        assert server.seen_between(back, back + 1) <= 11
        await results.aclose()

    main()


def test_time_away_is_no_outage() -> None:
    """Trouble before and after a long pause of the caller's is not one of that length."""

    @on_virtual_time
    async def main() -> None:
        server = VirtualServer(latency_s=2)  # so that the trouble is in flight when it leaves
        bad = IDS[5:12]
        server.plan = lambda i, n: answers.problem(503) if i in bad and n < 3 else answers.ok(i)
        results = work(server, IDS[:12], max_outage_s=30)
        await take(results, 5)
        await anyio.sleep(3600)
        assert len([each async for each in results]) == 7

    main()


def test_what_is_invalid_does_not_pile_up_either() -> None:
    """An endless list of texts that are no IDs is read no further than results are asked for."""

    @on_virtual_time
    async def main() -> None:
        read = 0

        def endless() -> Iterator[str]:
            nonlocal read
            while True:
                read += 1
                yield f"no ID {read}"

        results = work(VirtualServer(), endless())
        await take(results, 10)
        await anyio.sleep(60)
        assert read < 10_000
        await results.aclose()

    main()


@pytest.mark.parametrize("way", ["aclosing", "anonymous"])
def test_leaving_ends_it_at_once(way: str) -> None:
    """Ten results and out: no task is left, no more is sent, whatever is in flight."""

    @on_virtual_time
    async def main() -> None:
        server = VirtualServer(latency_s=5)
        before = asyncio.all_tasks()
        began = now()
        if way == "aclosing":
            async with contextlib.aclosing(work(server)) as results:
                async for _ in results:
                    break
        else:
            async for _ in work(server):
                break
            await anyio.sleep(0.1)  # the loop closes it a turn later
        assert asyncio.all_tasks() == before
        assert now() - began < 5.3
        sent = len(server.requests)
        await anyio.sleep(60)
        assert len(server.requests) == sent

    main()


def test_an_answer_that_came_is_saved_although_nobody_waits(tmp_path: Path) -> None:
    """Left in the middle, every request that was answered has its row; a second call resumes."""
    path = tmp_path / "results.jsonl"

    @on_virtual_time
    async def main() -> None:
        server = VirtualServer(latency_s=0.05)
        async with contextlib.aclosing(
            work(server, IDS[:40], rate_per_s=1000, into=ResultsPath(path))
        ) as results:
            await anext(results)
            await anyio.sleep(1)
        first = [json.loads(line)["instanceId"] for line in path.read_text().splitlines()]
        assert sorted(first) == sorted(server.times_seen)
        resumed = work(server, IDS[:40], rate_per_s=1000, into=ResultsPath(path, resume=True))
        second = [each.instance_id async for each in resumed]
        assert sorted([*first, *second]) == sorted(IDS[:40])
        assert set(server.times_seen.values()) == {1}

    main()


@pytest.mark.parametrize("opened", [False, True])
def test_a_file_that_is_opened_for_nobody_is_closed(opened: bool, tmp_path: Path) -> None:
    """Who is cancelled while a thread reads it leaves no lock behind, whichever comes first."""
    path = ResultsPath(tmp_path / "results.csv")
    opening = Opening(lambda: path.open("acme.domo.com"))
    steps = [opening.abandon, opening.open]
    for step in reversed(steps) if opened else steps:
        step()
    path.open("acme.domo.com").close()
    assert [each.name for each in tmp_path.iterdir()] == ["results.csv"]


def test_cancelled_twice_while_a_long_file_is_read_it_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second call, in the same process, is not told that the first one holds it."""
    path = tmp_path / "results.jsonl"
    abandoned: list[Callable[[], Saved]] = []

    @on_virtual_time
    async def main() -> None:
        async def for_ever(work: Callable[[], Saved]) -> None:
            abandoned.append(work)
            await anyio.sleep_forever()

        with monkeypatch.context() as patch:
            patch.setattr(job, "to_thread", SimpleNamespace(run_sync=for_ever))
            results = work(VirtualServer(), into=ResultsPath(path))
            task = asyncio.create_task(anext(results))
            for _ in range(2):
                await anyio.sleep(1)
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        abandoned[0]()  # the thread ends only now
        assert len([each async for each in work(VirtualServer(), into=ResultsPath(path))]) == 400

    main()


def test_a_saved_row_is_the_result_as_a_dict(tmp_path: Path) -> None:
    """`as_dict` is what a line of a `.jsonl` results file holds."""
    path = tmp_path / "results.jsonl"

    @on_virtual_time
    async def main() -> None:
        ids = [*IDS[:3], "no ID"]
        server = VirtualServer(lambda i, _: answers.problem(404) if i == IDS[1] else answers.ok(i))
        results = [each async for each in work(server, ids, into=ResultsPath(path))]
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert [each.as_dict() for each in results] == rows

    main()


def test_failed_rows_are_sent_again_and_others_keep_theirs(tmp_path: Path) -> None:
    """A failed row of an ID that is not asked for stays, also where `ids` come one by one."""
    path = tmp_path / "results.jsonl"

    @on_virtual_time
    async def main() -> None:
        server = VirtualServer(lambda i, _: answers.problem(403) if i in IDS[:2] else answers.ok(i))
        async for _ in work(server, IDS[:4], into=ResultsPath(path)):
            pass
        server.plan = lambda i, _: answers.ok(i)
        again = work(server, iter(IDS[1:4]), into=ResultsPath(path, resume=True))
        assert [each.instance_id async for each in again] == [IDS[1]]
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        outcomes = {row["instanceId"]: row["outcome"] for row in rows}
        assert outcomes == dict.fromkeys(IDS[1:4], "accepted") | {IDS[0]: "forbidden"}
        assert len(rows) == 4
        assert [each.as_dict() for each in ResultsPath(path).results()] == rows

    main()


def test_of_an_id_with_two_rows_the_last_is_its_result(tmp_path: Path) -> None:
    """As a killed call may leave them; invalid rows have no ID and all count."""
    path = tmp_path / "results.csv"
    with pytest.raises(InputError, match=r"cannot read .*results\.csv"):
        ResultsPath(path).results()

    @on_virtual_time
    async def main() -> None:
        server = VirtualServer(lambda i, _: answers.ok(i))
        async for _ in work(server, [IDS[0], "no ID", "none"], into=ResultsPath(path)):
            pass

    main()
    *others, last = path.read_text().splitlines()
    row = next(each for each in [*others, last] if each.startswith(IDS[0]))
    with path.open("a") as file:
        file.write(row.replace("accepted", "canceled") + "\n" + row[:40])
    assert sorted(each.outcome for each in ResultsPath(path).results()) == [
        "canceled", "invalid", "invalid",
    ]  # fmt: skip


def test_trouble_with_the_file_speaks_of_arguments(tmp_path: Path) -> None:
    """One that exists, one that is held, one of another host; none of them has sent anything."""
    path = tmp_path / "results.csv"

    @on_virtual_time
    async def main() -> None:
        server = VirtualServer()

        async def once(into: ResultsPath) -> None:
            assert [each async for each in work(server, IDS[:1], into=into)]

        await once(ResultsPath(path))
        sent = len(server.requests)
        with pytest.raises(OutputError, match="resume=True goes on with it, overwrite=True") as a:
            await once(ResultsPath(path))
        with pytest.raises(OutputError, match="there is no directory") as b:
            await once(ResultsPath(tmp_path / "nowhere" / "results.csv"))
        held = ResultsPath(path, resume=True).open("127.0.0.1:1")
        try:
            with pytest.raises(BusyError, match="holds") as c:
                await once(ResultsPath(path, overwrite=True))
        finally:
            held.close()
        path.write_text(path.read_text().replace("127.0.0.1:1", "acme.domo.com"))
        with pytest.raises(OutputError, match=r"of acme\.domo\.com, not of") as d:
            await once(ResultsPath(path, resume=True))
        assert not [each for each in (a, b, c, d) if "--" in str(each.value)]
        assert len(server.requests) == sent

    main()


@pytest.mark.parametrize(
    "bad",
    [{"path": "a.txt"}, {"resume": True, "overwrite": True}, {"again": "failed"},
     {"again": ["fialed"]}, {"again": [Outcome.INVALID]}],
)  # fmt: skip
def test_a_results_path_that_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    """Where it is made."""
    with pytest.raises(UsageError):
        ResultsPath(**{"path": "results.csv", **bad})


@pytest.mark.parametrize(
    ("fate", "outcome"), [("CANCELLED", "canceled"), ("IN_PROGRESS", "unconfirmed")]
)
def test_with_verify_a_result_comes_once_it_is_known(
    tmp_path: Path, fate: str, outcome: str
) -> None:
    """One for each ID, with the last word on it; the row says the same."""
    path = tmp_path / "results.jsonl"

    @on_virtual_time
    async def main() -> None:
        server = VirtualServer()
        server.look_plan = lambda i, _n, _c: answers.ok(i, fate)
        results = work(server, IDS[:3], verify=True, verify_timeout_s=20, into=ResultsPath(path))
        got = [each async for each in results]
        assert [each.outcome for each in got] == [Outcome(outcome)] * 3
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        key = lambda row: row["instanceId"]  # noqa: E731
        assert sorted(rows, key=key) == sorted((each.as_dict() for each in got), key=key)

    main()


def test_with_verify_results_come_although_the_file_is_gone(tmp_path: Path) -> None:
    """What was accepted is told as that before the `ResultsError`, as its cancel has been sent."""
    path = tmp_path / "results.jsonl"

    @on_virtual_time
    async def main() -> None:
        server = VirtualServer()

        def look(instance_id: str, _number: int, _call: str) -> Any:
            path.unlink(missing_ok=True)
            return answers.ok(instance_id, "IN_PROGRESS")

        server.look_plan = look
        results = work(server, IDS[:3], verify=True, into=ResultsPath(path))
        got = [(await anext(results)).outcome for _ in IDS[:3]]
        with pytest.raises(ResultsError, match="deleted"):
            await anext(results)
        assert got == [Outcome.ACCEPTED] * 3

    main()


def test_where_nothing_can_be_looked_at_results_come_all_the_same() -> None:
    """As `accepted`, which is all that is known."""

    @on_virtual_time
    async def main() -> None:
        server = VirtualServer()
        server.look_plan = lambda _i, _n, _c: answers.problem(404)
        events: list[str] = []
        got = [
            each.outcome
            async for each in work(
                server, IDS[:8], verify=True, on_progress=lambda told: events.append(told.event)
            )
        ]
        assert got == [Outcome.ACCEPTED] * 8
        assert events.count("verification.ended") == 1

    main()


@pytest.mark.parametrize(
    ("limit", "name"),
    [
        ({"max_failures": 3}, "max_failures"),
        ({"max_outage_s": 20}, "max_outage_s"),
        ({"deadline_s": 5}, "deadline_s"),
    ],
)
def test_a_limit_ends_it_and_names_its_argument(limit: dict[str, Any], name: str) -> None:
    """A program reads it from the exception as well."""

    @on_virtual_time
    async def main() -> None:
        problem = answers.problem(404 if name == "max_failures" else 503)
        server = VirtualServer(lambda i, _: answers.ok(i) if i == IDS[0] else problem)
        with pytest.raises(LimitError, match=name) as raised:
            async for _ in work(server, **limit):
                pass
        assert raised.value.name == name

    main()


def test_progress_is_told_as_values() -> None:
    """Retries, results and the breaker, each with the figures after it."""

    @on_virtual_time
    async def main() -> None:
        told: list[Progress] = []
        server = VirtualServer(lambda i, n: answers.problem(503) if n == 1 else answers.ok(i))
        got = [each async for each in work(server, IDS[:20], on_progress=told.append)]
        events = [each.event for each in told]
        assert events.count("cancel.finished") == len(got) == 20
        assert {"cancel.retry_scheduled", "breaker.opened", "breaker.closed"} <= set(events)
        assert told[-1].done == 20
        assert told[-1].failed == 0
        assert told[-1].requests == len(server.requests)
        assert told[-1].retries > 0
        assert 0 < told[-1].rate_per_s <= 10

    main()


@pytest.mark.parametrize("verify", [False, True])
def test_progress_counts_one_result_after_the_other(tmp_path: Path, verify: bool) -> None:
    """Also of those that got their rows together, and by their last outcome: unconfirmed failed."""

    @on_virtual_time
    async def main() -> None:
        told: list[Progress] = []
        server = VirtualServer(latency_s=0.01)
        server.look_plan = lambda i, _n, _c: answers.ok(i, "IN_PROGRESS")
        into = ResultsPath(tmp_path / "results.jsonl")
        async for _ in work(
            server, IDS[:50], rate_per_s=1000, into=into, on_progress=told.append,
            verify=verify, verify_timeout_s=5,
        ):  # fmt: skip
            pass
        finished = [each for each in told if each.event == "cancel.finished"]
        assert [each.done for each in finished] == list(range(1, 51))
        assert finished[-1].failed == (50 if verify else 0)

    main()


@pytest.mark.parametrize("event", ["cancel.finished", "cancel.retry_scheduled"])
def test_what_on_progress_raises_is_the_callers(event: str) -> None:
    """It ends the run, is raised as it is, and is no fault of the ID it came with."""

    @on_virtual_time
    async def main() -> None:
        server = VirtualServer(lambda i, n: answers.problem(503) if n == 1 else answers.ok(i))

        def fails(told: Progress) -> None:
            if told.event == event:
                raise LookupError("the caller's own")

        got: list[CancelResult] = []

        async def consume() -> None:
            async for each in work(server, IDS[:9], on_progress=fails):
                got.append(each)  # noqa: PERF401 - what came before the error counts

        with pytest.raises(LookupError, match="the caller's own"):
            await consume()
        assert all(each.ok for each in got)

    main()


@pytest.mark.parametrize("where", ["ids", "on_progress"])
def test_a_callers_own_cancelled_error_is_no_quiet_end(where: str) -> None:
    """Such as that of a task which the IDs come from: what is missing is told of."""

    @on_virtual_time
    async def main() -> None:
        async def broken() -> AsyncGenerator[str, None]:
            for each in IDS[:20]:
                yield each
            raise asyncio.CancelledError

        def show(told: Progress) -> None:
            if told.done == 10:
                raise asyncio.CancelledError

        given: Any = {"ids": broken()} if where == "ids" else {"on_progress": show}
        results = work(VirtualServer(), **given)
        with pytest.raises(StoppedError, match=f"{where} raised CancelledError"):
            await take(results, len(IDS))

    main()


def test_a_kept_generator_that_is_dropped_leaves_no_task() -> None:
    """The last reference gone, the loop closes it."""

    @on_virtual_time
    async def main() -> None:
        before = asyncio.all_tasks()
        results = work(VirtualServer())
        await take(results, 3)
        del results
        gc.collect()
        await anyio.sleep(1)
        assert asyncio.all_tasks() == before

    main()


@pytest.mark.parametrize(
    "bad",
    [{"max_outage_s": 0}, {"deadline_s": -1}, {"max_failures": 0}, {"max_failure_share": 1.5},
     {"grace_s": -1}, {"burst": 0}, {"verify": True, "verify_timeout_s": 0},
     {"ok": "not_found"}, {"ok": ["notfound"]}, {"into": "results.csv"},
     {"into": Path("results.csv")}],
)  # fmt: skip
def test_bad_arguments_are_refused_by_the_call_itself(bad: dict[str, Any]) -> None:
    """Not only when results are asked for; the message names the argument."""
    with pytest.raises(UsageError, match=list(bad)[-1]):
        cancel_many(IDS, client=VirtualClient(VirtualServer(), timeout_s=1), **bad)
    with pytest.raises(UsageError, match=list(bad)[-1]):
        cancel_all(IDS, token="x", instance="acme", **bad)


def test_both_calls_take_the_same_arguments() -> None:
    """With the same defaults; `cancel_all` takes those of the client as well."""
    many = inspect.signature(cancel_many).parameters
    whole = inspect.signature(cancel_all).parameters
    client = inspect.signature(bulkcancel.DomoClient).parameters
    shared = [name for name in many if name not in {"ids", "client"}]
    assert len(shared) > 10
    assert [whole[name].default for name in shared] == [many[name].default for name in shared]
    assert set(whole) == {"ids", *shared, *client}


def test_every_exception_that_a_call_can_raise_is_exported() -> None:
    """All of the tree but what only the command raises, and what has a better known base."""
    alone = {"InputError", "DeclinedError", "InterruptedRunError", "NamingError", "ExistsError"}
    ours = {
        name
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, BaseException)
    }
    assert ours - alone <= set(bulkcancel.__all__)


def test_a_refused_token_keeps_the_results_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """`cancel_all` has nothing to return: they are in the exception."""
    server = VirtualServer(lambda i, _: answers.ok(i) if i in IDS[:5] else answers.problem(401))
    _on_virtual_server(monkeypatch, server)
    with pytest.raises(TokenRefusedError) as raised:
        cancel_all(IDS[:30], token="x", instance="acme", concurrency=1)
    assert {each.instance_id for each in raised.value.results if each.ok} == set(IDS[:5])


@pytest.mark.parametrize("lost", [False, True])
def test_ctrl_c_does_not_hide_that_rows_are_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """What went wrong with the file while the run ended is the cause; else there is none."""
    _on_virtual_server(monkeypatch, VirtualServer())
    path = tmp_path / "results.jsonl"

    def interrupt(told: Progress) -> None:
        if told.done == 5:
            if lost:
                path.unlink()
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a script
    try:
        with pytest.raises(CancelInterrupted) as raised:
            cancel_all(
                IDS, token="x", instance="acme", into=ResultsPath(path), on_progress=interrupt
            )
    finally:
        signal.signal(signal.SIGINT, before)
    assert 5 <= len(raised.value.results) < len(IDS)
    assert isinstance(raised.value.__cause__, ResultsError) == lost
    assert (raised.value.__cause__ is None) != lost


def test_cancel_all_reads_its_ids_before_it_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they raise is raised before anything is sent."""
    server = VirtualServer()
    _on_virtual_server(monkeypatch, server)

    def failing() -> Iterator[str]:
        yield str(uuid.uuid4())
        raise LookupError

    with pytest.raises(LookupError):
        cancel_all(failing(), token="x", instance="acme")
    assert server.requests == []
    assert len(cancel_all(iter(IDS[:9]), token="x", instance="acme")) == 9


def test_cancel_all_in_a_running_loop_says_what_to_use() -> None:
    """As in a notebook; one string and async iterables are refused with the fix as well."""

    async def main() -> None:
        with pytest.raises(UsageError, match="async for result in cancel_many"):
            cancel_all(IDS, token="x", instance="acme")

    anyio.run(main)
    with pytest.raises(UsageError, match=r"pass \[instance_id\]"):
        cancel_all(IDS[0], token="x", instance="acme")
    with pytest.raises(UsageError, match="use cancel_many"):
        cancel_all(_streamed(), token="x", instance="acme")  # type: ignore[arg-type]


async def _streamed() -> AsyncGenerator[str, None]:
    yield IDS[0]


def _on_virtual_server(monkeypatch: pytest.MonkeyPatch, server: VirtualServer) -> None:
    client = VirtualClient(server, timeout_s=30)
    monkeypatch.setattr("bulkcancel.engine.library.cancel.DomoClient", lambda *_a, **_k: client)
    run = functools.partial(asyncio.Runner, loop_factory=VirtualTimeLoop)

    def on_virtual_loop(main: Any) -> None:
        with run() as runner:
            runner.run(main)

    monkeypatch.setattr("bulkcancel.engine.library.cancel.asyncio.run", on_virtual_loop)
