"""Results from the stream to the results file: whole rows, in small groups, synced in time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
from anyio import EndOfStream, WouldBlock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from anyio.streams.memory import MemoryObjectReceiveStream

    from bulkcancel.models import CancelResult
    from bulkcancel.results.stream import ResultsStream

_GROUP_S = 0.02
_SYNC_S = 1.0
_SYNC_ROWS = 1000


async def _in_thread(work: Callable[[], None]) -> None:
    await anyio.to_thread.run_sync(work, abandon_on_cancel=True)


class ResultsWriter:
    """Writes every result within 100 ms of its answer and syncs every second or 1,000 rows.

    Rows are gathered for 20 ms and written in one go: a write for each costs the event loop
    more than the cancels; `on_written` is called with each group. Syncing waits for the disk and
    runs `in_thread`. Times are in seconds of `clock`.
    """

    def __init__(
        self,
        rows: ResultsStream,
        on_written: Callable[[Sequence[CancelResult]], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        in_thread: Callable[[Callable[[], None]], Awaitable[None]] = _in_thread,
    ) -> None:
        self._rows = rows
        self._on_written = on_written
        self._clock = clock
        self._in_thread = in_thread
        self._unsynced = 0
        self._due = anyio.Event()

    async def collect(self, results: MemoryObjectReceiveStream[CancelResult]) -> None:
        """Write results until their stream ends. Raises `ResultsError`."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep_synced)
            async for first in results:
                group = [first]
                with anyio.CancelScope(shield=True):  # what was received is written even in a stop
                    await anyio.sleep(_GROUP_S)
                try:
                    while True:
                        group.append(results.receive_nowait())
                except (WouldBlock, EndOfStream):
                    pass
                self._rows.write(group)
                self._on_written(group)
                self._unsynced += len(group)
                if self._unsynced >= _SYNC_ROWS:
                    self._due.set()
            tasks.cancel_scope.cancel()

    async def _keep_synced(self) -> None:
        while True:
            began = self._clock()
            with anyio.move_on_after(_SYNC_S):
                await self._due.wait()
            self._due = anyio.Event()
            self._unsynced = 0
            await self._in_thread(self._rows.sync)
            if self._clock() - began < 0.05:
                await anyio.sleep(0.05)  # a fast disk and a fast server: still no busy loop
