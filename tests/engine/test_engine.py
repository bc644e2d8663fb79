"""One run's parts put together as its policy says, on virtual time."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from anyio.streams.memory import MemoryObjectReceiveStream

from bulkcancel.engine.engine import Engine, Policy
from bulkcancel.engine.limits import Limits
from bulkcancel.engine.stats import Stats
from bulkcancel.engine.stop import Stop
from bulkcancel.errors import LimitError, StoppedError, TokenRefusedError, UsageError
from bulkcancel.models import CancelResult, InvalidRow, Outcome, Target
from tests.support import faulty_answers as answers
from tests.support.runs import Observed, make_ids
from tests.support.virtual_server import Said, VirtualClient, VirtualServer, delayed
from tests.support.virtual_time import now, on_virtual_time

IDS = make_ids(400)
TARGETS = [Target(each, f"ids.txt:{n}") for n, each in enumerate(IDS, 1)]
FINISHED_AT = datetime(2026, 11, 28, 3, 0, tzinfo=UTC)
FAST = Policy(rate_per_s=400.0)


class Bench:
    """An engine before a server that says `said`, whatever the ID, or that all is well."""

    def __init__(
        self, policy: Policy = FAST, said: Said | None = None, *, timeout_s: float = 30.0,
        seed: int | None = 7, **more: Any,
    ) -> None:  # fmt: skip
        self.server = VirtualServer(lambda i, _n: answers.ok(i) if said is None else said)
        self.server.began = now()
        self.stop, self.stats, self.observed = Stop(), Stats(), Observed()
        self.rows: list[CancelResult] = []
        self.engine = Engine(
            VirtualClient(self.server, timeout_s=timeout_s), policy, stats=self.stats,
            stop=self.stop, observer=self.observed, clock=now,
            rng=None if seed is None else random.Random(seed), **more,
        )  # fmt: skip

    async def collect(self, results: MemoryObjectReceiveStream[CancelResult]) -> None:
        async for result in results:
            self.rows.append(result)

    async def run(self, count: int = 5) -> list[CancelResult]:
        with anyio.fail_after(5000):
            await self.engine.run(TARGETS[:count], self.collect)
        return self.rows


def test_a_policy_says_what_is_usual() -> None:
    """Careful with a server that nobody has said anything about."""
    assert Policy() == Policy(
        rate_per_s=10.0, burst=1, first_after_s=0.0, concurrency=16, attempts=5, grace_s=10.0,
        limits=Limits(), ok=frozenset(), succeeded_before=0,
    )  # fmt: skip


@pytest.mark.parametrize("rate_per_s", [0, -1, float("inf"), float("nan")])
def test_a_rate_that_makes_no_sense_is_refused(rate_per_s: float) -> None:
    """With the value that was given."""
    with pytest.raises(UsageError) as refused:
        Policy(rate_per_s=rate_per_s)
    assert str(refused.value) == (
        f"rate_per_s must be above 0, or None to search, not {rate_per_s}"
    )


@pytest.mark.parametrize("name", ["burst", "concurrency", "attempts"])
def test_a_number_below_one_is_refused(name: str) -> None:
    """By its name; one is enough, and so is a rate far below it."""
    with pytest.raises(UsageError) as refused:
        _with(name, 0)
    assert str(refused.value) == f"{name} must be at least 1, not 0"
    assert getattr(_with(name, 1), name) == 1
    assert Policy(rate_per_s=0.001).rate_per_s == 0.001
    assert Policy(rate_per_s=None).rate_per_s is None


def _with(name: str, value: int) -> Policy:
    given: dict[str, Any] = {name: value}
    return Policy(**given)


@on_virtual_time
async def test_rows_are_dated_and_named_as_is_said() -> None:
    """The host is the client's, unless there is a better name for it."""
    bench = Bench(host="acme.domo.com", wall_clock=lambda: FINISHED_AT)
    invalid = InvalidRow("abc", "ids.txt:1", "not a UUID")
    await bench.engine.run([invalid, TARGETS[0]], bench.collect)
    assert [row.outcome for row in bench.rows] == [Outcome.INVALID, Outcome.ACCEPTED]
    for row in bench.rows:
        assert (row.host, row.finished_at) == ("acme.domo.com", FINISHED_AT)
    before = datetime.now(UTC)
    (row,) = await Bench().run(1)
    assert row.host == "127.0.0.1:1"
    assert before <= row.finished_at <= datetime.now(UTC)
    assert row.finished_at.tzinfo is UTC


@on_virtual_time
async def test_the_rate_is_a_ceiling_or_searched_for() -> None:
    """A search begins at five a second and may find a thousand."""
    assert Bench(Policy(rate_per_s=40.0)).engine.pacer.rate_per_s == 40
    bench = Bench(Policy(rate_per_s=40.0))
    await bench.run(100)
    assert bench.engine.pacer.rate_per_s == 40
    search = Bench(Policy(rate_per_s=None, concurrency=64))
    assert search.engine.pacer.rate_per_s == 5
    rates: list[float] = []

    def endless() -> Iterator[Target]:
        for n in range(100_000):
            rates.append(search.engine.pacer.rate_per_s)
            if rates[-1] >= 1000:
                return
            yield TARGETS[n % 400]._replace(instance_id=f"{n:08x}{IDS[0][8:]}")

    await search.engine.run(endless(), search.collect)
    assert max(rates) == 1000
    assert search.observed.paces


@on_virtual_time
async def test_runs_that_share_a_rate_take_turns() -> None:
    """Started together, each at its place: never two requests at the same time."""
    at: list[float] = []
    for turn in range(4):
        bench = Bench(Policy(rate_per_s=2.5, burst=2 if turn else 1, first_after_s=turn / 10))
        await bench.run(5)
        at += [each.at for each in bench.server.requests]
    gaps = [later - earlier for earlier, later in itertools.pairwise(sorted(at))]
    assert len(gaps) == 19
    assert all(0.09 < gap < 0.11 for gap in gaps), gaps


@on_virtual_time
async def test_a_burst_goes_at_once() -> None:
    """Then one after the other."""
    bench = Bench(Policy(rate_per_s=1.0, burst=4))
    await bench.run(6)
    assert [round(seen.at) for seen in bench.server.requests] == [0, 0, 0, 0, 1, 2]


@on_virtual_time
async def test_as_many_are_in_flight_as_is_said_and_twice_as_many_are_read() -> None:
    """Not one more."""
    bench = Bench(Policy(rate_per_s=400.0, concurrency=3), delayed(answers.ok(IDS[0]), 20.0))
    read = 0

    def items() -> Iterator[Target]:
        nonlocal read
        for target in TARGETS[:40]:
            read += 1
            yield target

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.engine.run, items(), bench.collect)
        await anyio.sleep(10)
        tasks.cancel_scope.cancel()
    assert bench.server.peak_in_flight == 3
    assert read == 6 + 1  # the last one waits for half of the others to be taken


@on_virtual_time
async def test_an_id_has_the_attempts_that_are_said() -> None:
    """Then it has failed; the observer has heard of each that came again."""
    bench = Bench(Policy(rate_per_s=400.0, attempts=3), answers.problem(500))
    (row,) = await bench.run(1)
    assert (row.outcome, row.attempts) == (Outcome.FAILED, 3)
    assert len(bench.observed.retries) == 2
    assert bench.stats.requests == 3


@on_virtual_time
async def test_what_is_in_flight_has_the_grace_that_is_said() -> None:
    """After a stop, to the second."""
    bench = Bench(Policy(rate_per_s=400.0, grace_s=7.0), answers.silence(), timeout_s=60)
    began = now()

    async def stop() -> None:
        await anyio.sleep(3)
        bench.stop.request(StoppedError("enough"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop)
        await bench.run(1)
    assert now() - began == pytest.approx(10)


@on_virtual_time
async def test_limits_hold() -> None:
    """And what counts as success does not count towards them."""
    policy = replace(FAST, concurrency=1, limits=Limits(max_failures=3))
    bench = Bench(policy, answers.problem(404))
    await bench.run()
    assert isinstance(bench.stop.reason, LimitError)
    assert len(bench.rows) == 3
    tolerant = Bench(replace(policy, ok=frozenset({Outcome.NOT_FOUND})), answers.problem(404))
    assert len(await tolerant.run()) == 5
    assert tolerant.stop.reason is None


@on_virtual_time
async def test_what_has_succeeded_before_shows_that_the_token_may_cancel() -> None:
    """So forbidden from the start ends the run only if there is no such thing."""
    bench = Bench(replace(FAST, concurrency=1), answers.problem(403), host="acme.domo.com")
    assert len(await bench.run(40)) == 25
    assert isinstance(bench.stop.reason, TokenRefusedError)
    assert str(bench.stop.reason).startswith("acme.domo.com forbade the first 25 cancels")
    resumed = Bench(replace(FAST, succeeded_before=1), answers.problem(403))
    assert len(await resumed.run(40)) == 40
    assert resumed.stop.reason is None


@on_virtual_time
async def test_the_first_answer_may_take_the_clients_timeout() -> None:
    """A server that never answers is told when that is over, by the clock of the run."""
    bench = Bench(Policy(limits=Limits(max_outage_s=600)), answers.silence(), timeout_s=90)
    began = now()
    await bench.run(1)
    assert 90 <= now() - began <= 101  # and the grace
    assert "has never answered" in str(bench.stop.reason)


@on_virtual_time
async def test_the_observer_hears_of_outages_and_all_come_back_spread_out() -> None:
    """Opened, and closed."""
    bench = Bench(replace(FAST, concurrency=2))
    bench.server.plan = lambda i, _n: (
        answers.problem(503) if bench.server.now < 8 else answers.ok(i)
    )
    assert len(await bench.run(60)) == 60
    assert bench.observed.breaker == [True, False]
    failed = {seen.instance_id for seen in bench.server.requests if seen.at < 8}
    again = [
        seen.at for seen in bench.server.requests if seen.at >= 8 and seen.instance_id in failed
    ]
    assert len(again) >= 10
    assert max(again) - min(again) > 1.5


@on_virtual_time
async def test_chance_is_what_is_given() -> None:
    """The same seed is the same run, request by request; without one no two runs are alike."""
    runs: list[list[float]] = []
    for seed in (7, 7, 8, None, None):
        bench = Bench(said=answers.problem(500), seed=seed)
        await bench.run(3)
        runs.append([round(seen.at, 6) for seen in bench.server.requests])
    assert runs[0] == runs[1]
    assert len({tuple(times) for times in runs}) == 4


@on_virtual_time
async def test_what_a_collector_raises_is_raised() -> None:
    """As it is, and not in a group."""
    bench = Bench()

    async def full(results: MemoryObjectReceiveStream[CancelResult]) -> None:
        async for _ in results:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full") as raised:
        await bench.engine.run(TARGETS, full)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
