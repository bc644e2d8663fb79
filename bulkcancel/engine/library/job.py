"""One call of the library: IDs in, results out, and nothing sent while nobody asks for them."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
from anyio import EndOfStream, WouldBlock, to_thread

from bulkcancel.engine.engine import Engine
from bulkcancel.engine.library.progress import ProgressObserver
from bulkcancel.engine.library.saving import Opening
from bulkcancel.engine.stats import Stats
from bulkcancel.engine.stop import Stop
from bulkcancel.errors import StoppedError, UsageError
from bulkcancel.ids import IdSet, PageHost, pack
from bulkcancel.models import CancelResult, InvalidRow, Outcome, Target
from bulkcancel.text import shorten

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence

    from anyio.streams.memory import MemoryObjectReceiveStream

    from bulkcancel.domo import DomoClient
    from bulkcancel.engine.engine import Policy
    from bulkcancel.engine.library.progress import Progress
    from bulkcancel.engine.library.saving import Into, Saved
    from bulkcancel.models import Finding

_YIELD_EVERY = 256


class Job:
    """One run of the engine whose results are asked for one by one.

    Requests go only while somebody waits in `results`: left alone, what is in flight finishes, at
    most `concurrency` requests, and nothing more is sent.
    """

    def __init__(
        self,
        ids: Iterable[str] | AsyncIterable[str],
        client: DomoClient,
        policy: Policy,
        *,
        into: Into | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        if isinstance(into, str | os.PathLike):
            raise UsageError(f"into must be a ResultsPath: pass ResultsPath({os.fspath(into)!r})")
        self.stop = Stop()
        self._ids = ids
        self._client = client
        self._policy = policy
        self._into = into
        self._stats = Stats(ok=policy.ok)
        self._observer = ProgressObserver(on_progress, self._stats, self.stop)
        self._engine: Engine | None = None
        self._unseen: dict[bytes, CancelResult] = {}
        """Results of accepted IDs that are being looked at."""
        self._asked = anyio.Event()
        self._all_read = False

    async def results(self) -> AsyncGenerator[CancelResult, None]:
        """Yield one result for each distinct ID; then raise why the run ended early, if it did."""
        # The work runs in a task of its own: a generator that is left early may be closed by any
        # task, but a task group must be left by the task that entered it.
        self._send, self._receive = anyio.create_memory_object_stream[CancelResult](math.inf)
        work = asyncio.create_task(self._work())
        try:
            while (result := await self._next()) is not None:
                yield result
            await work
            if self.stop.reason is not None:
                raise self.stop.reason
        except GeneratorExit:
            await self._leave(work)
            if not work.cancelled() and (error := work.exception()) is not None:
                raise error from None  # such as rows that could not be written
            raise
        finally:
            try:
                await self._leave(work)
            finally:  # a second cancellation ends the wait
                self._receive.close()

    async def _leave(self, work: asyncio.Task[None]) -> None:
        """End the work at once; an answer that has come still gets its row."""
        if not work.done():
            self.stop.request(StoppedError("nobody asks for results any more"), cut=True)
            self._release()
            try:
                await asyncio.wait([work])
            finally:
                work.cancel()
                await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # else it would be told as never looked at

    async def _next(self) -> CancelResult | None:
        """Wait for a result; `None` when there are no more."""
        try:
            return self._receive.receive_nowait()
        except WouldBlock:
            self._release()
        except EndOfStream:
            return None
        try:
            return await self._receive.receive()
        except EndOfStream:
            return None
        finally:
            self._hold()

    def _hold(self) -> None:
        self._asked = anyio.Event()
        if self._engine is not None:
            self._engine.hold()

    def _release(self) -> None:
        self._asked.set()
        if self._engine is not None:
            self._engine.release()

    async def _work(self) -> None:
        with self._send:
            if self._into is None:
                await self._run(None)
                return
            asks = self._policy.verification is not None
            host = self._client.host
            opening = Opening(partial(self._into.open, host, asks=asks))
            try:
                saved = await to_thread.run_sync(opening.open)
            except asyncio.CancelledError:
                opening.abandon()
                raise
            try:
                await self._run(saved)
            finally:
                saved.close()

    async def _run(self, saved: Saved | None) -> None:
        policy = self._policy
        if saved is not None:
            policy = replace(policy, succeeded_before=saved.succeeded_before)
        engine = Engine(
            self._client, policy, stats=self._stats, stop=self.stop, observer=self._observer
        )
        self._engine, self._observer.pacer = engine, engine.pacer
        if not self._asked.is_set():
            engine.hold()
        confirmer = engine.confirmer
        if confirmer is not None:
            confirmer.findings.on_found = self._found
        unseen = saved.unseen() if saved is not None else ()
        try:
            await engine.run(self._targets(saved), partial(self._collect, saved), unseen)
        finally:
            try:
                if saved is not None and confirmer is not None:
                    saved.bring_up_to_date(confirmer.findings.of)
            finally:
                for result in self._unseen.values():
                    self._give(result)
        if not (self._all_read or self.stop.requested):
            # A task that ends so does not tell: the IDs behind would be missing without a word.
            raise StoppedError("ids raised CancelledError: the IDs behind it were not sent")

    async def _collect(
        self, saved: Saved | None, results: MemoryObjectReceiveStream[CancelResult]
    ) -> None:
        if saved is not None:
            await saved.collect(results, self._deliver)
            return
        async for result in results:
            self._deliver((result,))

    def _deliver(self, results: Sequence[CancelResult]) -> None:
        """Give results to the caller; those of IDs that are looked at once that is over."""
        confirmer = self._engine.confirmer if self._engine is not None else None
        for result in results:
            if confirmer is None or result.outcome is not Outcome.ACCEPTED:
                self._give(result)
                continue
            packed = pack(result.instance_id)
            finding = confirmer.findings.of(packed)
            if finding is not None:
                self._give(result.found(finding))
            elif confirmer.gave_up is not None:
                self._give(result)
            else:
                self._unseen[packed] = result

    def _found(self, packed: bytes, finding: Finding) -> None:
        result = self._unseen.pop(packed, None)
        if result is not None:
            self._give(result.found(finding))

    def _give(self, result: CancelResult) -> None:
        self._stats.count((result,))
        self._observer.finished(result)
        try:
            self._send.send_nowait(result)
        except anyio.BrokenResourceError:
            return  # the caller has gone; its row is written

    async def _targets(self, saved: Saved | None) -> AsyncIterator[Target | InvalidRow]:
        pages = PageHost.of_run(self._client.host)
        seen, seen_invalid = IdSet(), set[str]()
        async for text in _each(self._ids):
            if not isinstance(text, str):
                raise UsageError(f"ids must be strings, not {type(text).__name__}: pass str(id)")
            instance_id, problem = pages.read(text)
            item: Target | InvalidRow | None = None
            if problem is None:
                if seen.add(pack(instance_id)):
                    item = Target(instance_id, "")
            elif text not in seen_invalid:
                seen_invalid.add(text)
                item = InvalidRow(shorten(text), "", problem)
            if item is not None and saved is not None:
                item = saved.left(item)
            if isinstance(item, InvalidRow):  # no pace holds it back
                await self._asked.wait()
            if item is not None:
                yield item
        self._all_read = True


async def _each(ids: Iterable[str] | AsyncIterable[str]) -> AsyncIterator[str]:
    if isinstance(ids, AsyncIterable):
        async for text in ids:
            yield text
    else:
        for number, text in enumerate(ids, 1):
            if number % _YIELD_EVERY == 0:  # a long stretch of duplicates must not hold the loop
                await anyio.lowlevel.checkpoint()
            yield text
