"""The way of one ID: produced, queued, cancelled by a consumer, collected.

    targets → [bounded queue] → consumers → [bounded results stream] → collector
                     ↑ an ID that needs another attempt, or is to be looked at ↓

Back-pressure runs the other way: a slow collector holds the consumers, a slow server holds the
queue, a full queue holds the reading.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
from anyio import WouldBlock
from anyio.streams.memory import MemoryObjectReceiveStream

from bulkcancel.engine.turns import Retry
from bulkcancel.engine.verification import Check
from bulkcancel.models import CancelResult, InvalidRow, Outcome, Target

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectSendStream

    from bulkcancel.engine.canceller import Canceller
    from bulkcancel.engine.result_factory import ResultFactory
    from bulkcancel.engine.retries import WorkQueue
    from bulkcancel.engine.stop import Stop
    from bulkcancel.engine.turns import Turn
    from bulkcancel.engine.verification import Confirmer

_RESULTS_BUFFER = 2048

Items = Iterable[Target | InvalidRow] | AsyncIterable[Target | InvalidRow]
Collector = Callable[[MemoryObjectReceiveStream[CancelResult]], Awaitable[None]]
"""Takes results from their stream until it ends."""


@dataclass(slots=True, kw_only=True)
class Pipeline:
    """Cancels every target and hands every result to a collector, each exactly once.

    With a `confirmer`, what was accepted is then looked at until it has stopped.
    """

    queue: WorkQueue
    canceller: Canceller
    confirmer: Confirmer | None
    results: ResultFactory
    stop: Stop
    concurrency: int
    grace_s: float

    async def run(self, items: Items, collector: Collector) -> None:
        """Return when the input is worked through or a stop has drained.

        Once a stop is requested no new target is taken, and requests in flight get the grace. A
        target without a final answer by then has no result, unless its row is known all the same
        (`WorkQueue.results`). What `items` raises asks for a stop with that as its reason; what
        `collector` raises ends the run.
        """
        results_in, results_out = anyio.create_memory_object_stream[CancelResult](_RESULTS_BUFFER)
        work = anyio.CancelScope()
        async with anyio.create_task_group() as stages:
            stages.start_soon(_collect, collector, results_out)
            async with anyio.create_task_group() as watch:
                watch.start_soon(self._cut_after_grace, work)
                with results_in:
                    with work:
                        async with anyio.create_task_group() as workers:
                            workers.start_soon(self._produce, items, results_in.clone())
                            for _ in range(self.concurrency):
                                workers.start_soon(self._consume, results_in.clone())
                    for result in self.queue.results():
                        await results_in.send(result)
                watch.cancel_scope.cancel()

    async def _produce(self, items: Items, results: MemoryObjectSendStream[CancelResult]) -> None:
        with results, self.stop.waiting():
            try:
                if isinstance(items, AsyncIterable):
                    async for item in items:
                        await self._place(item, results)
                else:
                    for item in items:
                        await self._place(item, results)
            except Exception as error:  # noqa: BLE001 - drain first: answers in flight are not lost
                self.stop.request(error)
        self.queue.close()

    async def _place(
        self, item: Target | InvalidRow, results: MemoryObjectSendStream[CancelResult]
    ) -> None:
        if isinstance(item, InvalidRow):
            await results.send(self.results.invalid(item))
        else:
            await self.queue.put(item)

    async def _consume(self, results: MemoryObjectSendStream[CancelResult]) -> None:
        with results:
            while turn := self.queue.take_nowait() or await self._wait_for_a_turn():
                if isinstance(turn, Check):
                    await self._look(turn)
                    if self.stop.requested:
                        return
                    continue
                probe = False
                if not (self.stop.requested or self.canceller.try_admit(turn)):
                    self.queue.set_aside(turn)
                    with self.stop.waiting():
                        probe = await self.canceller.admit()
                    turn = self.queue.take_aside()
                if self.stop.requested:
                    if isinstance(turn, Retry):  # its row may be known
                        self.queue.put_back(turn)
                    return
                outcome = await self.canceller.attempt(turn, probe=probe)
                if isinstance(outcome, Retry):
                    self.queue.done(turn, again=outcome)
                else:
                    if self.confirmer is not None and outcome.outcome is Outcome.ACCEPTED:
                        self.confirmer.add(outcome.instance_id)
                    self.queue.done(turn)
                    await _send(outcome, results)

    async def _look(self, check: Check) -> None:
        """Look at an ID; a stop ends that at once, as nothing is lost with it."""
        assert self.confirmer is not None  # noqa: S101 - checks are its own
        with self.stop.waiting():
            await self.confirmer.look(check)

    async def _wait_for_a_turn(self) -> Turn | Check | None:
        turn: Turn | Check | None = None
        with self.stop.waiting():
            turn = await self.queue.take()
        return turn  # noqa: RET504 - None if a stop has ended the wait

    async def _cut_after_grace(self, work: anyio.CancelScope) -> None:
        await self.stop.wait()
        with anyio.move_on_after(self.grace_s):
            await self.stop.wait_cut()
        work.cancel()


async def _send(result: CancelResult, results: MemoryObjectSendStream[CancelResult]) -> None:
    try:
        results.send_nowait(result)  # an awaited send costs twenty times as much
    except WouldBlock:
        with anyio.CancelScope(shield=True):  # an answer received is never dropped
            await results.send(result)


async def _collect(collector: Collector, results: MemoryObjectReceiveStream[CancelResult]) -> None:
    with results:
        await collector(results)
