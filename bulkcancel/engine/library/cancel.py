"""The library's face: cancel many instances from Python, results as they finish."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from bulkcancel.engine.engine import (
    DEFAULT_ATTEMPTS,
    DEFAULT_CONCURRENCY,
    DEFAULT_RATE_PER_S,
    Engine,
    Policy,
)
from bulkcancel.engine.stats import SilentObserver, Stats
from bulkcancel.engine.stop import Stop
from bulkcancel.errors import LimitError, UsageError
from bulkcancel.ids import IdSet, PageHost, pack
from bulkcancel.models import CancelResult, InvalidRow, Target
from bulkcancel.text import shorten

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from bulkcancel.domo import DomoClient
    from bulkcancel.engine.pipeline import Collector


_YIELD_EVERY = 256


async def cancel_many(
    ids: Iterable[str] | AsyncIterable[str],
    *,
    client: DomoClient,
    rate_per_s: float | None = DEFAULT_RATE_PER_S,
    concurrency: int = DEFAULT_CONCURRENCY,
    attempts: int = DEFAULT_ATTEMPTS,
) -> AsyncIterator[CancelResult]:
    """Cancel every instance of `ids` and yield one result for each distinct ID as it finishes.

    `rate_per_s` is a ceiling in requests a second, retries included; `None` searches for what
    the server allows. What is no instance ID yields an `invalid` result and is never sent.
    Leaving the loop early stops the work. Raises `TokenRefusedError` when the server refuses
    the token or forbids the first 25; `StoppedError` when it cannot be reached, stays in trouble
    or asks to be left alone for more than ten minutes, or when what answers is not Domo; and
    whatever `ids` raises; results that came before are yielded first. Raises `UsageError`
    for arguments that make no sense and a client that is not open.
    """
    if isinstance(ids, str):
        raise UsageError("ids must be an iterable of IDs, not one string: pass [instance_id]")
    policy = Policy(rate_per_s=rate_per_s, concurrency=concurrency, attempts=attempts)
    stop, stats = Stop(), Stats()
    engine = Engine(client, policy, stats=stats, stop=stop, observer=SilentObserver())
    into, out = anyio.create_memory_object_stream[CancelResult](0)

    async def forward(results: MemoryObjectReceiveStream[CancelResult]) -> None:
        async for result in results:
            stats.count((result,))
            await into.send(result)

    # The work runs in a task of its own: a generator that is left early may be closed by any
    # task, but a task group must be left by the task that entered it.
    work = asyncio.create_task(_run(engine, client.host, ids, forward, into))
    try:
        async for result in out:
            yield result
        await work
        if isinstance(stop.reason, LimitError):  # of no argument: only `max_outage_s` is set here
            raise stop.reason.called("ten minutes")
        if stop.reason is not None:
            raise stop.reason
    finally:
        work.cancel()
        await asyncio.wait([work])
        out.close()


async def _run(
    engine: Engine,
    host: str,
    ids: Iterable[str] | AsyncIterable[str],
    forward: Collector,
    into: MemoryObjectSendStream[CancelResult],
) -> None:
    with into:
        await engine.run(_targets(ids, PageHost.of_run(host)), forward)


async def _targets(
    ids: Iterable[str] | AsyncIterable[str], pages: PageHost
) -> AsyncIterator[Target | InvalidRow]:
    seen, seen_invalid = IdSet(), set[str]()
    async for text in _each(ids):
        if not isinstance(text, str):
            raise UsageError(f"ids must be strings, not {type(text).__name__}: pass str(id)")
        instance_id, problem = pages.read(text)
        if problem is None:
            if seen.add(pack(instance_id)):
                yield Target(instance_id, "")
        elif text not in seen_invalid:
            seen_invalid.add(text)
            yield InvalidRow(shorten(text), "", problem)


async def _each(ids: Iterable[str] | AsyncIterable[str]) -> AsyncIterator[str]:
    if isinstance(ids, AsyncIterable):
        async for text in ids:
            yield text
    else:
        for number, text in enumerate(ids, 1):
            if number % _YIELD_EVERY == 0:  # a long stretch of duplicates must not hold the loop
                await anyio.lowlevel.checkpoint()
            yield text
