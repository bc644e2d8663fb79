"""The library: `cancel_many` in somebody else's event loop, against a real server."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
)
from pathlib import Path
from typing import cast

import anyio
import pytest

import bulkcancel
from bulkcancel import (
    BulkcancelError,
    CancelResult,
    DomoClient,
    LimitError,
    Outcome,
    StoppedError,
    TokenRefusedError,
    UsageError,
    cancel_many,
)
from bulkcancel.cli.process import loop_options
from bulkcancel.engine.stats import Stats
from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import CANARY, environment
from tests.support.runs import make_ids

Ids = Iterable[str] | AsyncIterable[str]
Run = Callable[[Callable[[], Coroutine[object, object, None]]], None]

IDS = make_ids(40)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Run]:
    """Run a coroutine function on one of the two event loops; nothing may be logged meanwhile."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")

    def run_there(main: Callable[[], Coroutine[object, object, None]]) -> None:
        anyio.run(main, backend_options=loop_options(request.param))

    with caplog.at_level(logging.DEBUG):
        yield run_there
    logged = caplog.get_records("call")
    assert [each for each in logged if each.levelno > logging.DEBUG] == []


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with running_in_thread(FaultyServer()) as running:
        yield running


def _client(server: FaultyServer) -> DomoClient:
    return DomoClient(base_url=server.base_url, token=CANARY)


def _work(ids: Ids, client: DomoClient) -> AsyncGenerator[CancelResult, None]:
    """Cancel as fast as it goes."""
    return cancel_many(ids, client=client, rate_per_s=100_000)


def _endless() -> Iterator[str]:
    return (str(uuid.uuid4()) for _ in itertools.count())


async def _streamed(ids: Iterable[str]) -> AsyncIterator[str]:
    for each in ids:
        await asyncio.sleep(0)
        yield each


async def _turns() -> None:
    """Let the running loop do what it has to do already."""
    for _ in range(50):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def _nothing_left_behind(server: FaultyServer) -> AsyncIterator[None]:
    """Every task begun within is gone afterwards, and no request is sent any more."""
    before = asyncio.all_tasks()
    yield
    await _turns()  # a loop left by `break` closes its generator a turn later
    assert asyncio.all_tasks() == before
    await asyncio.to_thread(server.call, _turns())  # it has read what was sent
    sent = len(server.requests)
    await asyncio.sleep(0.07)
    await asyncio.to_thread(server.call, _turns())
    assert len(server.requests) == sent


async def _timed_out(work: Awaitable[object], when: Callable[[], bool]) -> None:
    """Do it, and let its time be up as soon as that is so."""

    async def watch() -> None:
        while not when():  # noqa: ASYNC110 - a thread's doing
            await asyncio.sleep(0.005)
        limit.reschedule(asyncio.get_running_loop().time())

    async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as tasks:
        tasks.create_task(watch())
        await work


@pytest.mark.parametrize("kind", ["list", "generator", "async generator"])
def test_each_id_has_one_result(run: Run, server: FaultyServer, kind: str) -> None:
    """Whatever the IDs come from, each is sent once, and its result says what the server said."""

    async def main() -> None:
        ids: Ids = IDS
        if kind == "generator":
            ids = (each for each in IDS)
        elif kind == "async generator":
            ids = _streamed(IDS)
        async with _client(server) as client:
            results = [result async for result in _work(ids, client)]
        assert sorted(each.instance_id for each in results) == sorted(IDS)
        for each in results:
            assert each.outcome is Outcome.ACCEPTED
            assert (each.model_name, each.model_version) == ("AddTwoNumbers", "1.1.0")
            assert each.model_id == answers.MODEL_ID
            assert (each.http_status, each.attempts, each.error) == (200, 1, "")
            assert each.host == server.host

    run(main)
    assert server.times_seen == Counter(IDS)


def test_a_page_of_another_instance_is_never_sent(run: Run, server: FaultyServer) -> None:
    """Its ID is of that host: an `invalid` result, as for all that names no instance here."""

    async def work() -> None:
        page = f"https://acme.domo.com/workflows/instances/{IDS[2]}/1.0.0/"
        pages = [page + IDS[0], page.replace("acme", "acme-test") + IDS[1]]
        async with _client(server) as client:
            results = [each async for each in cancel_many(pages, client=client)]
        assert {each.instance_id: each.outcome for each in results} == {
            IDS[0]: Outcome.ACCEPTED,
            pages[1]: Outcome.INVALID,
        }
        assert [seen.instance_id for seen in server.requests] == [IDS[0]]

    run(work)


def test_duplicates_are_sent_once_and_invalid_text_never(run: Run, server: FaultyServer) -> None:
    """An ID in two spellings is one; what is no ID yields `invalid` and is not on the wire."""

    async def main() -> None:
        ids = [IDS[0], IDS[0].upper(), f" {IDS[0]}\n", "abc", "../../x", "abc", "", IDS[1]]
        async with _client(server) as client:
            results = [result async for result in _work(ids, client)]
        valid = [each for each in results if each.outcome is Outcome.ACCEPTED]
        invalid = [each for each in results if each.outcome is Outcome.INVALID]
        assert sorted(each.instance_id for each in valid) == sorted(IDS[:2])
        assert sorted(each.instance_id for each in invalid) == ["", "../../x", "abc"]
        assert {each.error.split(":")[0] for each in invalid} == {"invalid_id"}
        assert {each.attempts for each in invalid} == {0}
        assert len(results) == 5

    run(main)
    assert server.times_seen == Counter(IDS[:2])


def test_failures_are_results_not_exceptions(run: Run, server: FaultyServer) -> None:
    """An ID that is unknown, or forbidden, or fails for good, takes no other down with it."""
    fates = {IDS[0]: answers.problem(404), IDS[1]: answers.problem(403), IDS[2]: answers.page()}
    server.plan = lambda i, _n: fates.get(i) or answers.ok(i)

    async def main() -> None:
        async with _client(server) as client:
            found = cancel_many(reversed(IDS), client=client, rate_per_s=1000, attempts=1)
            outcomes = {each.instance_id: each.outcome async for each in found}
        expected = dict.fromkeys(IDS, Outcome.ACCEPTED) | {
            IDS[0]: Outcome.NOT_FOUND,
            IDS[1]: Outcome.FORBIDDEN,
            IDS[2]: Outcome.FAILED,
        }
        assert outcomes == expected

    run(main)


def test_it_shares_a_running_loop(run: Run, server: FaultyServer) -> None:
    """As in a notebook: two at a time on one client, while another task goes on with its work."""
    server.plan = lambda i, _n: Answer(answers.ok(i).data, delay_s=0.02)

    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.005)
                ticks += 1

        async def cancel(ids: list[str]) -> list[str]:
            return [result.instance_id async for result in _work(ids, client)]

        async with _client(server) as client:
            other = asyncio.create_task(tick())
            one, two = await asyncio.gather(cancel(IDS[:20]), cancel(IDS[20:]))
            other.cancel()
        assert sorted(one) == sorted(IDS[:20])
        assert sorted(two) == sorted(IDS[20:])
        assert ticks >= 3

    run(main)


@pytest.mark.parametrize("source", ["sync", "async"])
@pytest.mark.parametrize("way", ["break", "aclose", "exception"])
def test_leaving_early_leaves_nothing_behind(
    run: Run, server: FaultyServer, way: str, source: str
) -> None:
    """Ten results of an endless list, then out: no task remains and nothing more is sent."""
    server.plan = lambda i, _n: Answer(answers.ok(i).data, delay_s=0.01)

    async def main() -> None:
        got = 0
        before = asyncio.all_tasks()
        async with _client(server) as client, _nothing_left_behind(server):
            ids: Ids = _endless() if source == "sync" else _streamed(_endless())
            results = _work(ids, client)
            if way == "break":
                async for _ in results:
                    got += 1
                    if got == 10:
                        break
                del results  # as a loop over `cancel_many(...)` itself would
            elif way == "aclose":
                for _ in range(10):
                    await anext(results)
                    got += 1
                await results.aclose()
                assert asyncio.all_tasks() == before
            else:
                with contextlib.suppress(ZeroDivisionError):
                    async for _ in results:
                        got += 1
                        got / (10 - got)
                del results
        assert got == 10
        assert 10 <= len(server.requests) < 500

    run(main)


def test_not_even_begun_sends_nothing(run: Run, server: FaultyServer) -> None:
    """A call whose results nobody asks for does nothing and warns of nothing."""

    async def main() -> None:
        async with _client(server) as client, _nothing_left_behind(server):
            _work(IDS, client)

    run(main)
    assert server.connections == 0


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_cancelling_the_consumer_leaves_nothing_behind(
    run: Run, server: FaultyServer, how: str
) -> None:
    """The task that loops over the results is cancelled from outside, or times out."""
    server.plan = lambda i, _n: Answer(answers.ok(i).data, delay_s=0.01)

    async def main() -> None:
        got = 0
        ten = asyncio.Event()
        before = asyncio.all_tasks()

        async def consume() -> None:
            nonlocal got
            async for _ in _work(_endless(), client):
                got += 1
                if got == 10:
                    ten.set()

        async with _client(server) as client, _nothing_left_behind(server):
            if how == "timeout":
                with pytest.raises(TimeoutError):
                    await _timed_out(consume(), ten.is_set)
            else:
                consumer = asyncio.create_task(consume())
                await ten.wait()
                consumer.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await consumer
            assert asyncio.all_tasks() == before
        assert got >= 10

    run(main)


def test_a_silent_server_does_not_hold_who_leaves(run: Run, server: FaultyServer) -> None:
    """Requests in flight are abandoned at once when nobody wants their results any more."""
    server.plan = lambda _i, _n: answers.silence()

    async def main() -> None:
        async with _client(server) as client, _nothing_left_behind(server):
            with pytest.raises(TimeoutError):
                await _timed_out(anext(_work(IDS, client)), lambda: len(server.requests) > 0)

    run(main)


def test_a_refused_token_is_raised_after_the_results_before_it(
    run: Run, server: FaultyServer
) -> None:
    """What had been answered is yielded first; then `TokenRefusedError`, and nothing goes on."""
    server.plan = lambda i, _n: answers.ok(i) if i in IDS[:5] else answers.problem(401)

    async def main() -> None:
        accepted: set[str] = set()

        async def consume() -> None:
            async for result in cancel_many(IDS, client=client, rate_per_s=1000, concurrency=1):
                if result.outcome is Outcome.ACCEPTED:
                    accepted.add(result.instance_id)

        async with _client(server) as client, _nothing_left_behind(server):
            with pytest.raises(TokenRefusedError, match="refused the token") as caught:
                await consume()
        assert isinstance(caught.value, BulkcancelError)
        assert CANARY not in str(caught.value)
        assert accepted == set(IDS[:5])

    run(main)
    assert len(server.requests) <= 7


def test_a_host_that_cannot_be_reached_is_an_error(run: Run, unused_port: int) -> None:
    """A connection refused from the start raises `StoppedError`, not a result for each ID."""

    async def main() -> None:
        client = DomoClient(base_url=f"http://127.0.0.1:{unused_port}", token=CANARY)
        before = asyncio.all_tasks()
        async with client:
            with pytest.raises(StoppedError, match="check the instance name"):
                await anext(_work(IDS, client))
        assert asyncio.all_tasks() == before

    run(main)


def test_a_pause_that_is_too_long_is_told_with_the_argument_that_says_so(run: Run) -> None:
    """By its name in Python, which is also there to be read by a program."""

    async def main() -> None:
        async with (
            FaultyServer(lambda _i, _n: answers.limited("1209600")) as server,
            _client(server) as client,
        ):
            with pytest.raises(LimitError, match=r"what is left of max_outage_s \(") as raised:
                await anext(_work(make_ids(1), client))
        assert raised.value.name == "max_outage_s"

    run(main)


def test_an_error_of_the_callers_own_iterable_comes_through(run: Run, server: FaultyServer) -> None:
    """It is the caller's exception itself, not one of a task group."""

    async def main() -> None:
        got = 0

        async def broken() -> AsyncIterator[str]:
            for each in IDS[:3]:
                yield each
            while got < 3:  # noqa: ASYNC110 - results come meanwhile
                await asyncio.sleep(0.005)
            raise LookupError("the caller's own")

        async def consume() -> None:
            nonlocal got
            async for _ in _work(broken(), client):
                got += 1

        async with _client(server) as client, _nothing_left_behind(server):
            with pytest.raises(LookupError, match="the caller's own"):
                await consume()
        assert got == 3

    run(main)


def test_one_string_is_not_a_list_of_ids(run: Run, server: FaultyServer) -> None:
    """`cancel_many("2052e10a-…")` would be 36 invalid IDs: it is refused and says what to pass."""

    async def main() -> None:
        async with _client(server) as client:
            with pytest.raises(UsageError, match=r"pass \[instance_id\]"):
                await anext(_work(IDS[0], client))

    run(main)
    assert server.connections == 0


def test_the_token_is_not_shown(server: FaultyServer) -> None:
    """A client in a log line or a debugger's variable list gives away its address, no more."""
    client = _client(server)
    assert repr(client) == f"DomoClient('{server.base_url}')"
    assert CANARY not in f"{client} {client!r}"


def test_every_public_name_is_there() -> None:
    """What `__all__` promises can be imported; what nobody promised is an `AttributeError`."""
    for name in bulkcancel.__all__:
        assert getattr(bulkcancel, name) is not None
    assert dir(bulkcancel) == bulkcancel.__all__
    with pytest.raises(AttributeError, match="cancel_none"):
        _ = bulkcancel.cancel_none


_QUIET_SCRIPT = """
import asyncio, gc, logging, sys
from bulkcancel import DomoClient, TokenRefusedError, cancel_many
from bulkcancel.engine.stats import Stats
from uvloop import new_event_loop

async def main(base_url, token, *ids):
    async with DomoClient(base_url=base_url, token=token) as client:
        async for result in cancel_many(ids[:20], client=client, rate_per_s=500):
            pass
        async for result in cancel_many(ids[:20], client=client, rate_per_s=500):
            break
        async def later():
            yield ids[0]
            await asyncio.sleep(0.02)
            raise LookupError("nobody is there any more")
        async for result in cancel_many(later(), client=client, rate_per_s=500):
            await asyncio.sleep(0.1)
            break
        try:
            async for result in cancel_many(ids, client=client, rate_per_s=500):
                pass
        except TokenRefusedError:
            ids = ()
        assert not ids
    gc.collect()

factory = new_event_loop if sys.argv[1] == 'uvloop' else None
with asyncio.Runner(loop_factory=factory, debug=True) as runner:
    runner.run(main(*sys.argv[2:]))
assert not logging.getLogger().handlers
ours = [n for n in logging.root.manager.loggerDict if n.startswith("bulkcancel")]
assert not ours, ours
assert "structlog" not in sys.modules and "rich" not in sys.modules
"""


@pytest.mark.alone  # debug mode tells of slow callbacks, and probes go by time
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_nothing_is_printed_and_no_logging_is_configured(
    tmp_path: Path, server: FaultyServer, loop: str
) -> None:
    """In a process of its own, in debug mode, with failures, early ends and a refused token."""
    last = IDS[-2:]
    server.plan = lambda i, n: (
        answers.problem(401) if i in last else answers.problem(500 if n == 1 else 404)
        if i == IDS[1] else answers.ok(i)
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", _QUIET_SCRIPT, loop, server.base_url, CANARY, *IDS],
        cwd=tmp_path, env=environment(), capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    # And the probes that were to tell if it was meant: one alone may be that ID's own trouble.
    assert 2 <= sum(server.times_seen[each] for each in last) <= 5
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_printed_in_this_process_either(
    run: Run, server: FaultyServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither standard output nor standard error, by file descriptor, hears of failures."""
    server.plan = lambda i, _n: answers.ok(i) if i in IDS[:20] else answers.problem(404, "\x1b[1m")

    async def main() -> None:
        async with _client(server) as client:
            results = [each async for each in _work([*IDS, "abc"], client)]
        assert len(results) == 41

    run(main)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "bad",
    [{"rate_per_s": 0}, {"rate_per_s": -1}, {"rate_per_s": float("nan")}, {"concurrency": 0},
     {"concurrency": -1}, {"attempts": 0}],
)  # fmt: skip
def test_arguments_that_make_no_sense_are_refused(
    run: Run, server: FaultyServer, bad: dict[str, float]
) -> None:
    """A rate of 0 must not come to mean no limit; nothing is sent."""

    async def main() -> None:
        async with _client(server) as client:
            with pytest.raises(UsageError, match=next(iter(bad))):
                await anext(aiter(cancel_many(IDS, client=client, **bad)))  # type: ignore[arg-type]

    run(main)
    assert server.requests == []


@pytest.mark.parametrize("bad", [None, b"x", uuid.UUID(IDS[0])])
def test_an_id_is_a_string(run: Run, server: FaultyServer, bad: object) -> None:
    """Anything else is the caller's mistake, told as one."""

    async def main() -> None:
        async with _client(server) as client:
            with pytest.raises(UsageError, match="strings"):
                await anext(aiter(_work(cast("Ids", [bad]), client)))

    run(main)
    assert server.requests == []


def test_a_client_that_is_not_open_is_a_mistake_not_a_failure(run: Run) -> None:
    """No ID has failed because of it."""

    async def main() -> None:
        client = DomoClient(base_url="http://127.0.0.1:9", token=CANARY)
        with pytest.raises(UsageError, match="async with"):
            await anext(aiter(_work(IDS, client)))

    run(main)


def test_endless_duplicates_do_not_hold_the_loop(run: Run, server: FaultyServer) -> None:
    """However long nothing new comes, others get their turn."""

    async def main() -> None:
        async with _client(server) as client:
            results = _work(itertools.repeat(IDS[0]), client)
            assert (await anext(results)).ok
            await results.aclose()

    run(main)


def test_answers_in_flight_survive_a_source_that_fails(run: Run, server: FaultyServer) -> None:
    """What the caller's iterable raises comes through, after the results of what was sent."""
    server.plan = lambda i, _n: Answer(answers.ok(i).data, delay_s=0.2)

    def failing() -> Iterator[str]:
        yield from IDS[:8]
        raise LookupError("no more")

    async def main() -> None:
        seen: list[str] = []

        async def keep(results: AsyncIterator[CancelResult]) -> None:
            async for result in results:
                seen.append(result.instance_id)  # noqa: PERF401 - what came before the error counts

        async with _client(server) as client:
            with pytest.raises(LookupError, match="no more"):
                await keep(_work(failing(), client))
        assert sorted(seen) == sorted(server.times_seen)

    run(main)


def test_what_is_kept_of_ids_goes_with_their_results(
    run: Run, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever cancels for days from one process does not pay for each ID for ever."""
    stats = Stats()
    monkeypatch.setattr("bulkcancel.engine.library.job.Stats", lambda **_: stats)

    async def main() -> None:
        async with _client(server) as client:
            results = [result async for result in _work(IDS, client)]
        assert len(results) == stats.done == len(IDS)
        assert stats.open_ids == set()

    run(main)
