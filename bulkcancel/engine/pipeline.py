"""The way of one ID: produced, queued, cancelled by a consumer, collected.

    targets → [bounded queue] → consumers → [bounded results stream] → collector

Back-pressure runs the other way: a slow collector holds the consumers, a slow server holds the
queue, a full queue holds the reading.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import TYPE_CHECKING, Protocol

import anyio
from anyio import EndOfStream, WouldBlock

from bulkcancel.models import CancelResult, InvalidRow, Target

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from bulkcancel.engine.stop import Stop

_RESULTS_BUFFER = 2048
_SILENCE_S = 1.0

Items = Iterable[Target | InvalidRow] | AsyncIterable[Target | InvalidRow]


class Leftover(Protocol):
    """Where targets come from that need another turn."""

    def __call__(self, *, ended: bool) -> Target | None:
        """Return one if it is time for it, or if all others have `ended`."""


async def run_pipeline(
    items: Items,
    *,
    cancel: Callable[[Target], Awaitable[CancelResult | None]],
    leftover: Leftover,
    given_up: Callable[[], Iterable[CancelResult]],
    reject: Callable[[InvalidRow], CancelResult],
    collect: Callable[[MemoryObjectReceiveStream[CancelResult]], Awaitable[None]],
    concurrency: int,
    stop: Stop,
    grace_s: float,
) -> None:
    """Cancel every target and hand every result to `collect`, each exactly once.

    What `leftover` returns is cancelled again: asked before each target, and when the queue has
    ended, until it is `None`.

    Returns when the input is worked through or a stop has drained: no new target is taken once
    it is requested, requests in flight get `grace_s` seconds. A target in hand without an
    answer then has no result, those `given_up` have theirs. What `items` raises asks for a stop
    with that as its reason; what `collect` raises ends the run.
    """
    queue_in, queue_out = anyio.create_memory_object_stream[Target](2 * concurrency)
    results_in, results_out = anyio.create_memory_object_stream[CancelResult](_RESULTS_BUFFER)
    work = anyio.CancelScope()
    async with anyio.create_task_group() as stages:
        stages.start_soon(_collect, collect, results_out)
        async with anyio.create_task_group() as watch:
            watch.start_soon(_cut_after_grace, stop, grace_s, work)
            with results_in:
                with work, queue_in, queue_out:
                    async with anyio.create_task_group() as workers:
                        workers.start_soon(
                            _produce, items, reject, queue_in.clone(), results_in.clone(), stop
                        )
                        for _ in range(concurrency):
                            out, into = queue_out.clone(), results_in.clone()
                            workers.start_soon(_consume, cancel, leftover, out, into, stop)
                        queue_in.close()
                        queue_out.close()
                for result in given_up():
                    await results_in.send(result)
            watch.cancel_scope.cancel()


async def _produce(
    items: Items,
    reject: Callable[[InvalidRow], CancelResult],
    queue: MemoryObjectSendStream[Target],
    results: MemoryObjectSendStream[CancelResult],
    stop: Stop,
) -> None:
    with queue, results, stop.waiting():
        try:
            if isinstance(items, AsyncIterable):
                async for item in items:
                    await _place(item, reject, queue, results)
            else:
                for item in items:
                    await _place(item, reject, queue, results)
        except Exception as error:  # noqa: BLE001 - drain first: answers in flight are not lost
            stop.request(error)


async def _place(
    item: Target | InvalidRow,
    reject: Callable[[InvalidRow], CancelResult],
    queue: MemoryObjectSendStream[Target],
    results: MemoryObjectSendStream[CancelResult],
) -> None:
    if isinstance(item, InvalidRow):
        await results.send(reject(item))
        return
    try:
        queue.send_nowait(item)  # an awaited send costs twenty times as much
    except WouldBlock:
        await queue.send(item)


async def _consume(
    cancel: Callable[[Target], Awaitable[CancelResult | None]],
    leftover: Leftover,
    queue: MemoryObjectReceiveStream[Target],
    results: MemoryObjectSendStream[CancelResult],
    stop: Stop,
) -> None:
    with queue, results:
        while not stop.requested:
            target = leftover(ended=False)
            if target is None:
                try:
                    target = queue.receive_nowait()
                except (WouldBlock, EndOfStream):
                    target = await _wait(queue, leftover, stop)
            if target is None:
                return
            result = await cancel(target)
            if result is None:
                continue
            try:
                results.send_nowait(result)
            except WouldBlock:
                with anyio.CancelScope(shield=True):  # an answer received is never dropped
                    await results.send(result)


async def _wait(
    queue: MemoryObjectReceiveStream[Target], leftover: Leftover, stop: Stop
) -> Target | None:
    """Return the next target, `None` when there is none any more or a stop came.

    A pipe that is silent for a second is taken as ended for the time being.
    """
    while not stop.requested:
        found: Target | None = None
        with stop.waiting(), anyio.move_on_after(_SILENCE_S) as wait:
            try:
                found = await queue.receive()
            except EndOfStream:
                return leftover(ended=True)
        if found is None and wait.cancelled_caught:
            found = leftover(ended=True)
        if found is not None:
            return found
    return None


async def _collect(
    collect: Callable[[MemoryObjectReceiveStream[CancelResult]], Awaitable[None]],
    results: MemoryObjectReceiveStream[CancelResult],
) -> None:
    with results:
        await collect(results)


async def _cut_after_grace(stop: Stop, grace_s: float, work: anyio.CancelScope) -> None:
    await stop.wait()
    with anyio.move_on_after(grace_s):
        await stop.wait_cut()
    work.cancel()
