"""How a run is asked to end, on virtual time."""

from __future__ import annotations

import anyio

from bulkcancel.engine.stop import Stop
from bulkcancel.errors import StoppedError
from tests.support.virtual_time import now, on_virtual_time

ENOUGH = StoppedError("enough")


@on_virtual_time
async def test_nothing_is_asked_for_at_first() -> None:
    """No reason, and those who watch for a stop wait."""
    stop = Stop()
    assert stop.reason is None
    assert stop.requested is False
    for wait in (stop.wait, stop.wait_cut):
        with anyio.move_on_after(10) as waited:
            await wait()
        assert waited.cancelled_caught


@on_virtual_time
async def test_a_request_tells_those_who_watch() -> None:
    """Its reason is kept; nothing is cut by it."""
    stop = Stop()
    began = now()

    async def ask() -> None:
        await anyio.sleep(3)
        stop.request(ENOUGH)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await stop.wait()
    assert now() - began == 3
    assert stop.reason is ENOUGH
    assert stop.requested is True
    with anyio.move_on_after(10) as waited:
        await stop.wait_cut()
    assert waited.cancelled_caught


@on_virtual_time
async def test_the_first_reason_stays_and_a_later_request_may_cut() -> None:
    """A second signal changes what becomes of requests in flight, not why it ended."""
    stop = Stop()
    stop.request(ENOUGH)
    stop.request(StoppedError("more than enough"), cut=True)
    assert stop.reason is ENOUGH
    with anyio.fail_after(1):
        await stop.wait_cut()


@on_virtual_time
async def test_a_wait_ends_at_once() -> None:
    """One that is under way, one that begins afterwards; other work goes on."""
    stop = Stop()
    began = now()
    ended: list[tuple[str, float, bool]] = []

    async def wait(name: str, begin_s: float) -> None:
        await anyio.sleep(begin_s)
        with stop.waiting() as scope:
            await anyio.sleep(100)
        ended.append((name, now() - began, scope.cancelled_caught))

    async def work() -> None:
        await anyio.sleep(9)
        ended.append(("work", now() - began, False))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, "first", 0)
        tasks.start_soon(wait, "second", 1)
        tasks.start_soon(wait, "late", 7)
        tasks.start_soon(work)
        await anyio.sleep(5)
        stop.request(ENOUGH)
    assert sorted(ended) == [
        ("first", 5.0, True), ("late", 7.0, True), ("second", 5.0, True), ("work", 9.0, False),
    ]  # fmt: skip


@on_virtual_time
async def test_a_wait_that_is_over_is_forgotten() -> None:
    """A long run waits a million times."""
    stop = Stop()
    with stop.waiting() as scope:
        await anyio.sleep(1)
    assert not scope.cancel_called
    assert stop._waiting == set()
    stop.request(ENOUGH)
    assert not scope.cancel_called
