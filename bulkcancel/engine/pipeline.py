"""The way of one ID: produced, queued, cancelled by a consumer, collected.

    targets → [bounded queue] → consumers → [bounded results stream] → collector

Back-pressure runs the other way: a slow collector holds the consumers, a slow server holds the
queue, a full queue holds the reading.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import anyio
from anyio import EndOfStream, WouldBlock
from anyio.streams.memory import MemoryObjectReceiveStream

from bulkcancel.engine.result_factory import invalid_result
from bulkcancel.models import CancelResult, InvalidRow, Target

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectSendStream

    from bulkcancel.engine.canceller import Canceller
    from bulkcancel.engine.deferred import DeferredFailures
    from bulkcancel.engine.stop import Stop

_RESULTS_BUFFER = 2048
_SILENCE_S = 1.0

Items = Iterable[Target | InvalidRow] | AsyncIterable[Target | InvalidRow]
Collector = Callable[[MemoryObjectReceiveStream[CancelResult]], Awaitable[None]]
"""Takes results from their stream until it ends."""


class Pipeline:
    """Cancels every target and hands every result to a collector, each exactly once.

    IDs whose failure was `deferred` are cancelled again when their turn comes.
    """

    def __init__(
        self,
        canceller: Canceller,
        deferred: DeferredFailures,
        stop: Stop,
        *,
        concurrency: int,
        grace_s: float,
    ) -> None:
        self._canceller = canceller
        self._deferred = deferred
        self._stop = stop
        self._concurrency = concurrency
        self._grace_s = grace_s

    async def run(self, items: Items, collector: Collector) -> None:
        """Return when the input is worked through or a stop has drained.

        Once a stop is requested no new target is taken, and requests in flight get the grace. A
        target without an answer by then has no result. What `items` raises asks for a stop with
        that as its reason; what `collector` raises ends the run.
        """
        queue_in, queue_out = anyio.create_memory_object_stream[Target](2 * self._concurrency)
        results_in, results_out = anyio.create_memory_object_stream[CancelResult](_RESULTS_BUFFER)
        work = anyio.CancelScope()
        async with anyio.create_task_group() as stages:
            stages.start_soon(_collect, collector, results_out)
            async with anyio.create_task_group() as watch:
                watch.start_soon(self._cut_after_grace, work)
                with results_in:
                    with work, queue_in, queue_out:
                        async with anyio.create_task_group() as workers:
                            workers.start_soon(
                                self._produce, items, queue_in.clone(), results_in.clone()
                            )
                            for _ in range(self._concurrency):
                                workers.start_soon(
                                    self._consume, queue_out.clone(), results_in.clone()
                                )
                            queue_in.close()
                            queue_out.close()
                    for result in self._deferred.final_results():
                        await results_in.send(result)
                watch.cancel_scope.cancel()

    async def _produce(
        self,
        items: Items,
        queue: MemoryObjectSendStream[Target],
        results: MemoryObjectSendStream[CancelResult],
    ) -> None:
        with queue, results, self._stop.waiting():
            try:
                if isinstance(items, AsyncIterable):
                    async for item in items:
                        await self._place(item, queue, results)
                else:
                    for item in items:
                        await self._place(item, queue, results)
            except Exception as error:  # noqa: BLE001 - drain first: answers in flight are not lost
                self._stop.request(error)

    async def _place(
        self,
        item: Target | InvalidRow,
        queue: MemoryObjectSendStream[Target],
        results: MemoryObjectSendStream[CancelResult],
    ) -> None:
        if isinstance(item, InvalidRow):
            await results.send(invalid_result(item, self._canceller.host))
            return
        try:
            queue.send_nowait(item)  # an awaited send costs twenty times as much
        except WouldBlock:
            await queue.send(item)

    async def _consume(
        self,
        queue: MemoryObjectReceiveStream[Target],
        results: MemoryObjectSendStream[CancelResult],
    ) -> None:
        with queue, results:
            while not self._stop.requested:
                target = self._deferred.next(idle=False)
                if target is None:
                    try:
                        target = queue.receive_nowait()
                    except (WouldBlock, EndOfStream):
                        target = await self._wait(queue)
                if target is None:
                    return
                result = await self._canceller.cancel(target)
                if result is None:
                    continue
                try:
                    results.send_nowait(result)
                except WouldBlock:
                    with anyio.CancelScope(shield=True):  # an answer received is never dropped
                        await results.send(result)

    async def _wait(self, queue: MemoryObjectReceiveStream[Target]) -> Target | None:
        """Return the next target, `None` when there is none any more or a stop came.

        A pipe that is silent for a second counts as ended until something comes.
        """
        while not self._stop.requested:
            found: Target | None = None
            with self._stop.waiting(), anyio.move_on_after(_SILENCE_S) as wait:
                try:
                    found = await queue.receive()
                except EndOfStream:
                    return self._deferred.next(idle=True)
            if found is None and wait.cancelled_caught:
                found = self._deferred.next(idle=True)
            if found is not None:
                return found
        return None

    async def _cut_after_grace(self, work: anyio.CancelScope) -> None:
        await self._stop.wait()
        with anyio.move_on_after(self._grace_s):
            await self._stop.wait_cut()
        work.cancel()


async def _collect(collector: Collector, results: MemoryObjectReceiveStream[CancelResult]) -> None:
    with results:
        await collector(results)
