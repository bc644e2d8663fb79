"""Produced, queued, cancelled, collected: each once, and nothing is lost at a stop."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, cast

import anyio
import pytest
from anyio.streams.memory import MemoryObjectReceiveStream

from bulkcancel.engine import pipeline as pipeline_module
from bulkcancel.engine.canceller import Canceller
from bulkcancel.engine.pipeline import Pipeline
from bulkcancel.engine.result_factory import ResultFactory
from bulkcancel.engine.retries import WorkQueue
from bulkcancel.engine.stop import Stop
from bulkcancel.engine.turns import Retry, Turn
from bulkcancel.errors import StoppedError
from bulkcancel.models import CancelResult, InvalidRow, Outcome, Target
from bulkcancel.pacing import Breaker
from tests.support.runs import make_ids
from tests.support.virtual_time import now, on_virtual_time

IDS = make_ids(400)
TARGETS = [Target(each, f"ids.txt:{n}") for n, each in enumerate(IDS, 1)]
RESULTS = ResultFactory("acme.domo.com", lambda: datetime(2026, 11, 28, tzinfo=UTC))


def row(target: Target) -> CancelResult:
    return RESULTS.bug(target, LookupError(), 1)._replace(outcome=Outcome.ACCEPTED)


class Bench:
    """A pipeline whose attempts take a second, unless `attempt` says what they do."""

    def __init__(self, *, concurrency: int = 4, grace_s: float = 10.0) -> None:
        self.stop = Stop()
        rng = random.Random(1)
        self.breaker = Breaker(rng=rng, on_change=lambda _: None, clock=now)
        self.queue = WorkQueue(self.breaker, bound=2 * concurrency, clock=now, rng=rng)
        self.pipeline = Pipeline(
            queue=self.queue, canceller=cast("Canceller", self), confirmer=None,
            results=RESULTS, stop=self.stop, concurrency=concurrency, grace_s=grace_s,
        )  # fmt: skip
        self.gate_s: float | None = None
        """How long breaker and pace hold each turn."""
        self.is_probe = False
        self.asked: list[Turn] = []
        """Those of which it was asked whether they may go."""
        self.admitted = 0
        self.probes: list[bool] = []
        """For each of `attempts`, whether it was the probe."""
        self.attempts: list[Turn] = []
        self.in_flight = self.peak = 0
        self.collected: list[CancelResult] = []
        self.does: Callable[[Turn], Coroutine[Any, Any, CancelResult | Retry]] = self.well

    def try_admit(self, turn: Turn) -> bool:
        self.asked.append(turn)
        return self.gate_s is None

    async def admit(self) -> bool:
        self.admitted += 1
        await anyio.sleep(self.gate_s or 0.0)
        return self.is_probe

    async def attempt(self, turn: Turn, *, probe: bool) -> CancelResult | Retry:
        self.attempts.append(turn)
        self.probes.append(probe)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            return await self.does(turn)
        finally:
            self.in_flight -= 1

    async def well(self, turn: Turn) -> CancelResult | Retry:
        await anyio.sleep(1)
        return row(turn.target if isinstance(turn, Retry) else turn)

    async def collect(self, results: MemoryObjectReceiveStream[CancelResult]) -> None:
        async for result in results:
            self.collected.append(result)

    async def run(
        self,
        items: Iterable[Target | InvalidRow] | AsyncIterator[Target | InvalidRow],
        stop_after_s: float | None = None,
        cut_after_s: float | None = None,
    ) -> float:
        """Run it, asked to stop and to cut at these times; return how long it took."""
        began = now()

        async def ask(after_s: float, *, cut: bool) -> None:
            await anyio.sleep(after_s)
            self.stop.request(StoppedError("enough"), cut=cut)

        async with anyio.create_task_group() as tasks:
            if stop_after_s is not None:
                tasks.start_soon(lambda: ask(stop_after_s, cut=False))
            if cut_after_s is not None:
                tasks.start_soon(lambda: ask(cut_after_s, cut=True))
            await self.pipeline.run(items, self.collect)
            tasks.cancel_scope.cancel()
        return now() - began

    def ids(self) -> list[str]:
        """The IDs in the order of the input, each as often as it was collected."""
        return sorted((each.instance_id for each in self.collected), key=IDS.index)


@on_virtual_time
async def test_every_target_is_attempted_once_and_collected() -> None:
    """As many at a time as there are consumers."""
    bench = Bench(concurrency=4)
    assert await bench.run(TARGETS[:40]) == pytest.approx(10)
    assert sorted(bench.attempts, key=TARGETS.index) == TARGETS[:40]  # type: ignore[arg-type]
    assert bench.ids() == IDS[:40]
    assert bench.peak == 4


@on_virtual_time
async def test_a_row_without_an_id_has_its_result_and_no_attempt() -> None:
    """What it says is why."""
    bench = Bench()
    await bench.run([InvalidRow("abc", "ids.txt:1", "not a UUID"), TARGETS[0]])
    assert [(r.outcome, r.error) for r in bench.collected if r.instance_id == "abc"] == [
        (Outcome.INVALID, "invalid_id: not a UUID")
    ]
    assert bench.attempts == TARGETS[:1]


@on_virtual_time
async def test_the_input_is_read_as_it_is_needed() -> None:
    """Never further ahead than the bounded queue, however long it is."""
    bench = Bench(concurrency=4)
    read = 0

    def endless() -> Iterator[Target]:
        nonlocal read
        for target in TARGETS:
            read += 1
            yield target

    await bench.run(endless(), stop_after_s=3.5)
    assert read <= 4 * 4 + 8 + 1
    assert bench.ids() == IDS[:16]


@on_virtual_time
async def test_an_id_that_is_put_back_holds_nobody() -> None:
    """It comes again when it is due; the run ends when it is through."""
    bench = Bench(concurrency=1)

    async def does(turn: Turn) -> CancelResult | Retry:
        await anyio.sleep(1)
        if isinstance(turn, Retry):
            return row(turn.target)
        return Retry(turn, now() + 30) if turn is TARGETS[0] else row(turn)

    bench.does = does
    assert await bench.run(TARGETS[:5]) == pytest.approx(32, abs=0.1)
    assert bench.ids() == IDS[:5]
    assert bench.collected[-1].instance_id == IDS[0]


@on_virtual_time
async def test_all_that_come_back_at_once_are_sent_side_by_side() -> None:
    """No consumer has gone that is needed."""
    bench = Bench(concurrency=4)

    async def does(turn: Turn) -> CancelResult | Retry:
        await anyio.sleep(1)
        return row(turn.target) if isinstance(turn, Retry) else Retry(turn, 1000 + 10)

    bench.does = does
    assert await bench.run(TARGETS[:4]) == pytest.approx(11, abs=0.1)
    assert len(bench.collected) == 4


@on_virtual_time
async def test_a_slow_pipe_is_waited_for() -> None:
    """What comes again meanwhile does not wait for it."""
    bench = Bench(concurrency=2)

    async def pipe() -> AsyncIterator[Target | InvalidRow]:
        for target in TARGETS[:3]:
            yield target
            await anyio.sleep(20)

    async def does(turn: Turn) -> CancelResult | Retry:
        if isinstance(turn, Retry):
            return row(turn.target)
        return Retry(turn, now() + 5)

    bench.does = does
    assert await bench.run(pipe()) == pytest.approx(60, abs=0.1)
    assert bench.ids() == IDS[:3]


@on_virtual_time
async def test_while_there_is_doubt_a_retry_in_hand_makes_room_for_a_new_target() -> None:
    """It was taken before an outage began: it is no probe, and comes again later."""
    bench = Bench(concurrency=1)
    bench.gate_s = 1.0
    bench.queue.put_back(Retry(TARGETS[0], due=now()))

    async def doubt() -> None:
        await anyio.sleep(0.5)
        bench.breaker.on_failure(now(), first=True)
        await anyio.sleep(4)
        bench.breaker.on_success(now())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(doubt)
        await bench.run(TARGETS[1:4])
    assert [each.instance_id for each in bench.collected] == [*IDS[1:4], IDS[0]]


@on_virtual_time
async def test_a_stop_in_the_moment_that_a_turn_comes_lets_nothing_be_sent() -> None:
    """The consumer was woken, and has not run since."""
    bench = Bench()

    async def items() -> AsyncIterator[Target]:
        await anyio.sleep(1)
        yield TARGETS[0]
        bench.stop.request(StoppedError("enough"))
        await anyio.sleep(60)

    assert await bench.run(items()) < 2
    assert bench.attempts == []
    assert bench.collected == []


@on_virtual_time
async def test_what_may_go_at_once_is_not_held() -> None:
    """Each turn is asked for; none of them is a probe."""
    bench = Bench()
    await bench.run(TARGETS[:5])
    assert bench.asked == bench.attempts
    assert bench.admitted == 0
    assert [probe is False for probe in bench.probes] == [True] * 5


@pytest.mark.parametrize("is_probe", [True, False])
@on_virtual_time
async def test_who_waited_knows_whether_it_is_the_probe(is_probe: bool) -> None:
    """As the breaker said."""
    bench = Bench()
    bench.gate_s, bench.is_probe = 1.0, is_probe
    await bench.run(TARGETS[:5])
    assert bench.admitted == 5
    assert bench.probes == [is_probe] * 5


@on_virtual_time
async def test_one_that_is_exhausted_is_told_once_all_others_had_their_attempt() -> None:
    """The queue is told of each attempt: nobody is left that could show the server to be well."""
    bench = Bench(concurrency=2)

    async def does(turn: Turn) -> CancelResult | Retry:
        await anyio.sleep(1)
        if isinstance(turn, Retry):
            return row(turn.target)
        return Retry(turn, now(), failed=True, exhausted=True, ended_at=now(), result=row(turn))

    bench.does = does
    assert await bench.run(TARGETS[:6], stop_after_s=60) < 10
    assert bench.stop.reason is None
    assert bench.ids() == IDS[:6]
    assert [isinstance(turn, Retry) for turn in bench.attempts] == [False] * 6 + [True] * 6


@on_virtual_time
async def test_a_row_without_an_id_may_come_from_a_pipe() -> None:
    """In its place among the others."""
    bench = Bench()

    async def pipe() -> AsyncIterator[Target | InvalidRow]:
        yield InvalidRow("abc", "-:1", "not a UUID")
        yield TARGETS[0]

    await bench.run(pipe())
    assert [each.outcome for each in bench.collected] == [Outcome.INVALID, Outcome.ACCEPTED]
    assert bench.stop.reason is None


# ------------------------------------------------------------------ stops


@on_virtual_time
async def test_a_stop_ends_the_wait_for_breaker_and_pace() -> None:
    """A new target was not reached; one that comes again is not forgotten if its row is known."""
    bench = Bench(concurrency=2)
    bench.gate_s = 1000.0
    bench.queue.put_back(Retry(TARGETS[0], due=now(), result=row(TARGETS[0])))
    assert await bench.run(TARGETS[1:9], stop_after_s=5) == pytest.approx(5)
    assert bench.attempts == []
    assert bench.ids() == IDS[:1]


@on_virtual_time
async def test_after_a_stop_nothing_is_begun_and_what_is_in_flight_may_end() -> None:
    """Within the grace."""
    bench = Bench(concurrency=4, grace_s=10)
    assert await bench.run(TARGETS, stop_after_s=2.5) == pytest.approx(3)
    assert len(bench.attempts) == 12
    assert bench.ids() == IDS[:12]


@pytest.mark.parametrize("cut_after_s", [None, 4.0])
@on_virtual_time
async def test_what_takes_longer_than_the_grace_is_given_up(cut_after_s: float | None) -> None:
    """Or what is still in flight when a second stop cuts it: it has no row."""
    bench = Bench(concurrency=4, grace_s=10)

    async def does(turn: Turn) -> CancelResult | Retry:
        await anyio.sleep(1 if turn is not TARGETS[3] else 100)
        return await bench.well(turn)

    bench.does = does
    took_s = await bench.run(TARGETS, stop_after_s=2.5, cut_after_s=cut_after_s)
    assert took_s == pytest.approx(cut_after_s or 12.5)
    assert IDS[3] not in bench.ids()
    assert len(bench.collected) == len(bench.attempts) - 1


@on_virtual_time
async def test_a_stop_ends_the_wait_for_input_and_for_what_is_due() -> None:
    """At once, however long it would have been."""
    bench = Bench()

    async def silent() -> AsyncIterator[Target | InvalidRow]:
        yield TARGETS[0]
        await anyio.sleep(1000)

    async def does(turn: Turn) -> CancelResult | Retry:
        return Retry(cast("Target", turn), now() + 500)

    bench.does = does
    assert await bench.run(silent(), stop_after_s=5) == pytest.approx(5)
    assert bench.collected == []


@on_virtual_time
async def test_rows_that_are_known_of_those_that_wait_are_collected_at_a_stop() -> None:
    """An ID that has had its attempts is not lost because nobody was there to tell it."""
    bench = Bench(concurrency=2)

    async def does(turn: Turn) -> CancelResult | Retry:
        await anyio.sleep(1)
        target = cast("Target", turn)
        known = row(target) if target is TARGETS[1] else None
        return Retry(target, now() + 500, result=known)

    bench.does = does
    await bench.run(TARGETS[:2], stop_after_s=5)
    assert bench.ids() == [IDS[1]]


@on_virtual_time
async def test_what_comes_of_a_turn_after_the_stop_is_not_lost() -> None:
    """The last word came in the grace: it is put back, and its row is collected."""
    bench = Bench(concurrency=2)

    async def does(turn: Turn) -> CancelResult | Retry:
        await anyio.sleep(4)
        target = cast("Target", turn)
        return Retry(target, now() + 9, result=row(target))

    bench.does = does
    await bench.run(TARGETS, stop_after_s=2)
    assert bench.ids() == IDS[:2]


@pytest.mark.parametrize("cut_after_s", [None, 3.0])
@on_virtual_time
async def test_answers_that_wait_for_a_slow_collector_are_not_lost(
    cut_after_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream of results is full, and then come one signal or two: each answer has its row."""
    monkeypatch.setattr(pipeline_module, "_RESULTS_BUFFER", 1)
    bench = Bench(concurrency=8, grace_s=5)
    answered: list[str] = []

    async def does(turn: Turn) -> CancelResult | Retry:
        await anyio.sleep(0.1)
        answered.append(cast("Target", turn).instance_id)
        return row(cast("Target", turn))

    async def slow(results: MemoryObjectReceiveStream[CancelResult]) -> None:
        async for result in results:
            await anyio.sleep(2)
            bench.collected.append(result)

    bench.does = does
    bench.collect = slow  # type: ignore[method-assign]
    await bench.run(TARGETS, stop_after_s=2.0, cut_after_s=cut_after_s)
    assert sorted(bench.ids()) == sorted(answered)
    assert len(answered) >= 8


@on_virtual_time
async def test_an_input_that_breaks_off_asks_for_a_stop_with_its_reason() -> None:
    """What is in flight is answered and collected first."""
    bench = Bench()

    async def broken() -> AsyncIterator[Target | InvalidRow]:
        for target in TARGETS[:3]:
            yield target
        await anyio.sleep(0.5)
        raise LookupError("no more")

    await bench.run(broken())
    assert isinstance(bench.stop.reason, LookupError)
    assert bench.ids() == IDS[:3]


@on_virtual_time
async def test_a_collector_that_fails_ends_the_run() -> None:
    """Nothing is sent for results that nobody can keep."""
    bench = Bench()

    async def full(results: MemoryObjectReceiveStream[CancelResult]) -> None:
        async for _ in results:
            raise OSError("disk full")

    bench.collect = full  # type: ignore[method-assign]
    with pytest.raises(ExceptionGroup) as raised:
        await bench.run(TARGETS)
    assert raised.group_contains(OSError, match="disk full")
    assert len(bench.attempts) <= 8
