"""Standard input, or any other pipe, read in a thread that can hold nothing up."""

from __future__ import annotations

import asyncio
import os
import queue
import select
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from bulkcancel.errors import InputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

T = TypeVar("T")

_CHUNK_BYTES = 64 * 1024
_AHEAD = 256


def read_chunks(descriptor: int) -> Iterator[bytes]:
    """Yield what a pipe holds as soon as it holds anything, until it ends. Raises `InputError`."""
    while True:
        try:
            chunk = os.read(descriptor, _CHUNK_BYTES)
        except BlockingIOError:  # another program that has it open has made it so
            select.select([descriptor], [], [])
            continue
        except OSError as error:
            raise InputError(f"cannot read standard input: {error.strerror or error}") from None
        if not chunk:
            return
        yield chunk


@dataclass(frozen=True, slots=True)
class _End:
    error: Exception | None


class ThreadedIterator(Generic[T]):
    """Iterates over `items` in a thread of its own, at most 256 items ahead of the loop.

    The thread is a daemon: one that waits for a line nobody will type, or for room nobody will
    make, ends with the process. What `items` raises is raised again in the loop, which has its
    turn every 256 items at least, however fast they are passed over.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._items = items
        self._queue: queue.Queue[T | _End] = queue.Queue(_AHEAD)
        self._starved = False

    async def __aiter__(self) -> AsyncIterator[T]:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        threading.Thread(target=self._read, args=(loop, ready), daemon=True).start()
        taken = 0
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                ready.clear()
                self._starved = True  # from here on, the thread wakes us
                if self._queue.empty():
                    await ready.wait()
                self._starved = False
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
            taken += 1
            if taken % _AHEAD == 0:
                await asyncio.sleep(0)

    def _read(self, loop: asyncio.AbstractEventLoop, ready: asyncio.Event) -> None:
        end = _End(None)
        try:
            for item in self._items:
                self._put(item, loop, ready)
        except Exception as error:  # noqa: BLE001 - it is raised again in the loop's thread
            end = _End(error)
        self._put(end, loop, ready)

    def _put(self, item: T | _End, loop: asyncio.AbstractEventLoop, ready: asyncio.Event) -> None:
        self._queue.put(item)
        if self._starved:
            try:
                loop.call_soon_threadsafe(ready.set)
            except RuntimeError:  # the loop has ended, and with it the run
                return
