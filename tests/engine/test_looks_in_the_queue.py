"""When it is a look's turn in the work queue, beside cancels, on virtual time."""

from __future__ import annotations

import random

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


@on_virtual_time
async def test_an_open_breaker_holds_looks_only_for_cancels() -> None:
    """If the last cancel was answered and nothing probes any more, looks are not held for ever."""
    breaker = Breaker(rng=random.Random(1), on_change=lambda _: None, clock=now)
    checks = Checks(now)
    queue = WorkQueue(breaker, bound=4, clock=now, rng=random.Random(2), checks=checks)
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
    checks = Checks(now)
    rng = random.Random(1)
    breaker = Breaker(rng=rng, on_change=lambda _: None, clock=now)
    queue = WorkQueue(breaker, bound=100, clock=now, rng=rng, checks=checks)
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
