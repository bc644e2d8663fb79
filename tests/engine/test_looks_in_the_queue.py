"""When it is a look's turn in the work queue, beside cancels, on virtual time."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from bulkcancel.engine.retries import WorkQueue
from bulkcancel.engine.turns import Retry, Turn
from bulkcancel.engine.verification import Check, Checks
from bulkcancel.ids import pack
from bulkcancel.models import Target
from bulkcancel.pacing import Breaker
from tests.support.runs import make_ids
from tests.support.virtual_time import now, on_virtual_time

IDS = make_ids(200)


class Bench:
    """A queue with IDs that are to be looked at beside its cancels."""

    def __init__(self) -> None:
        rng = random.Random(1)
        self.breaker = Breaker(rng=rng, on_change=lambda _: None, clock=now)
        self.checks = Checks(now)
        self.queue = WorkQueue(self.breaker, bound=100, clock=now, rng=rng, checks=self.checks)
        self.asked = 0
        """How often somebody asked whose turn it is."""
        real = self.queue.take_nowait

        def take_nowait() -> Turn | Check | None:
            self.asked += 1
            return real()

        self.queue.take_nowait = take_nowait  # type: ignore[method-assign]

    async def put(self, count: int) -> None:
        for each in IDS[:count]:
            await self.queue.put(Target(each, "ids.txt:1"))

    def add(self, *after_s: float) -> None:
        for n, each in enumerate(after_s):
            self.checks.add(pack(IDS[n]), now() + each)

    def take(self) -> str:
        """Whose turn it is, which is over at once: a cancel's, a look's or nobody's."""
        turn = self.queue.take_nowait()
        if isinstance(turn, Check):
            self.checks.done()
            return "look"
        if turn is None:
            return "-"
        self.queue.done(turn)
        return "cancel"

    def take_and_hold(self) -> bool:
        """Whether there was a look to be taken; it does not end."""
        return isinstance(self.queue.take_nowait(), Check)

    @asynccontextmanager
    async def consumers(self, count: int) -> AsyncGenerator[list[float], None]:
        """Have as many who wait, from a second on; say after how many seconds each look came."""
        began, times = now(), list[float]()

        async def consume() -> None:
            while (turn := await self.queue.take()) is not None:
                if isinstance(turn, Check):
                    times.append(round(now() - began, 1))
                    self.checks.done()
                else:
                    self.queue.done(turn)

        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(consume)
            await anyio.sleep(1)
            yield times


@on_virtual_time
async def test_a_look_that_is_due_comes_after_ten_cancels() -> None:
    """Cancels go first, but looks get their tenth; and where no cancel's turn is they come."""
    bench = Bench()
    await bench.put(25)
    bench.add(0, 0, 0)
    turns = [bench.take() for _ in range(29)]
    ten = ["cancel"] * 10
    assert turns == [*ten, "look", *ten, "look", *ten[:5], "look", "-"]


@on_virtual_time
async def test_after_a_look_ten_cancels_are_counted_anew() -> None:
    """One that came because there was no cancel is a turn like any other."""
    bench = Bench()
    await bench.put(4)
    bench.add(0, 0)
    assert [bench.take() for _ in range(5)] == ["cancel"] * 4 + ["look"]
    await bench.put(12)
    assert [bench.take() for _ in range(13)] == ["cancel"] * 10 + ["look"] + ["cancel"] * 2


@on_virtual_time
async def test_cancels_do_not_wait_for_a_look_that_is_not_due() -> None:
    """However many there were: it comes once it is due, before the next cancel."""
    bench = Bench()
    await bench.put(30)
    bench.add(5)
    assert [bench.take() for _ in range(25)] == ["cancel"] * 25
    await anyio.sleep(5.01)
    assert [bench.take() for _ in range(3)] == ["look", "cancel", "cancel"]


@on_virtual_time
async def test_while_cancels_may_come_one_look_is_in_hand() -> None:
    """A look that hangs holds one consumer; all may look once no cancel is left."""
    reading, retrying, alone = Bench(), Bench(), Bench()
    for bench in (reading, retrying, alone):
        bench.add(0, 0, 0)
    retrying.queue.put_back(Retry(Target(IDS[9], "ids.txt:1"), due=now() + 60))
    retrying.queue.close()
    alone.queue.close()
    assert [reading.take_and_hold() for _ in range(3)] == [True, False, False]
    assert [retrying.take_and_hold() for _ in range(3)] == [True, False, False]
    assert [alone.take_and_hold() for _ in range(3)] == [True, True, True]
    await retrying.put(1)
    assert not retrying.take_and_hold()  # it is the target's turn
    assert not retrying.take_and_hold()


@on_virtual_time
async def test_a_look_wakes_one_who_waits_when_it_is_due() -> None:
    """Whether it was added before or after; and what is not due yet costs next to nothing."""
    bench = Bench()
    async with bench.consumers(8) as times:
        bench.queue.put_back(Retry(Target(IDS[9], "ids.txt:1"), due=now() + 3000))
        bench.add(*range(40, 0, -1))
        await anyio.sleep(100)
        assert times == [float(1 + n) for n in range(1, 41)]
        assert bench.asked <= 8 + 3 * 40
        bench.queue.close()


@on_virtual_time
async def test_the_queue_ends_when_the_last_look_has_ended() -> None:
    """One in hand may have to wait again: until then nobody who waits goes."""
    bench = Bench()
    began = now()
    async with bench.consumers(3) as times:
        bench.add(60)
        bench.queue.close()
        await anyio.sleep(30)
        assert not times
    assert times == [61.0]
    assert round(now() - began) == 61


@on_virtual_time
async def test_looks_that_are_given_up_end_the_queue() -> None:
    """Those who wait for one that is due in an hour go at once."""
    bench = Bench()
    began = now()
    async with bench.consumers(3) as times:
        bench.add(3600)
        bench.queue.close()
        await anyio.sleep(5)
        bench.checks.drop()
    assert not times
    assert round(now() - began) == 6


@on_virtual_time
async def test_an_open_breaker_holds_looks_only_for_cancels() -> None:
    """If the last cancel was answered and nothing probes any more, looks are not held for ever."""
    bench = Bench()
    breaker, checks, queue = bench.breaker, bench.checks, bench.queue
    target = Target(make_ids(1)[0], "ids.txt:1")
    await queue.put(target)
    assert queue.take_nowait() == target
    for _ in range(10):
        breaker.on_failure(now(), first=True)
    checks.add(bytes(16), now())
    queue.put_back(Retry(target, due=now() + 5))
    queue.close()
    assert breaker.open
    assert queue.take_nowait() is None
    await anyio.sleep(6)
    retry = queue.take_nowait()
    assert isinstance(retry, Retry)
    queue.done(retry)
    assert queue.take_nowait() == Check(bytes(16), 0, None)


@on_virtual_time
async def test_who_was_woken_for_a_new_target_and_takes_a_look_wakes_another() -> None:
    """The look may hang; an eleventh cancel does not wait for it."""
    bench = Bench()
    checks, queue = bench.checks, bench.queue
    taken: list[Turn | Check] = []

    async def consume() -> None:
        while (turn := await queue.take()) is not None:
            taken.append(turn)
            if isinstance(turn, Check):
                await anyio.sleep(60)
            else:
                queue.done(turn)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(consume)
        for n in range(10):
            await queue.put(Target(IDS[n], str(n)))
            await anyio.sleep(0.1)
        checks.add(pack(IDS[0]), now() - 0.01)  # it was due before its timer can tell
        await queue.put(Target(IDS[10], "10"))
        await anyio.sleep(1)
        tasks.cancel_scope.cancel()
    assert [type(turn) for turn in taken[-2:]] == [Check, Target]
