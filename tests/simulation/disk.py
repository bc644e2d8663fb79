"""A disk that is slow, runs full or loses what was written last."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast
from unittest import mock

import anyio

from bulkcancel.results import replacing, stream
from bulkcancel.results.earlier import update
from tests.support import virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

T = TypeVar("T")


class _Cramped:
    """A file that takes only what the disk has room for."""

    def __init__(self, file: BinaryIO, disk: SimulatedDisk) -> None:
        self._file = file
        self._disk = disk

    def write(self, data: bytes) -> int:
        self._disk.take(len(data))
        return self._file.write(data)


class SimulatedDisk:
    """What one run finds when it writes: as slow as the world says, with so much room."""

    def __init__(
        self,
        *,
        write_s: float,
        sync_s: float,
        room: int | None,
        on_full: Callable[[], None],
        on_rewrite: Callable[[], None],
    ) -> None:
        self.dead = False
        """Whether the process was killed: from then on nothing is written."""
        self.room = room
        self._write_s = write_s
        self._sync_s = sync_s
        self._on_full = on_full
        self._on_rewrite = on_rewrite
        self._last_group: tuple[int, int] | None = None

    def write_all(self, descriptor: int, data: bytes) -> None:
        """Take the place of the real one: hand the bytes to the file, or a part of them."""
        if self.dead:
            return
        if self._write_s:
            virtual_time.stall(self._write_s)
        start = os.fstat(descriptor).st_size
        fits = len(data) if self.room is None else min(len(data), self.room)
        os.write(descriptor, data[:fits])
        self._last_group = start, start + fits
        if self.room is not None:
            self.room -= fits
        if fits < len(data):
            self._on_full()
            raise OSError(errno.ENOSPC, "No space left on device")

    @contextmanager
    def replacing(self, path: Path) -> Iterator[BinaryIO]:
        """Take the place of the real one: the new file finds as much room as is left.

        A process that is killed meanwhile leaves a part of it.
        """
        self._on_rewrite()
        if self.dead:
            path.with_name(f".{path.name}.rewrite").write_bytes(b"a part")
            raise OSError(errno.EIO, "nobody is there to see this")
        with replacing(path) as file:
            yield cast("BinaryIO", _Cramped(file, self))

    def take(self, size: int) -> None:
        """Use up some room for what is written beside the results. Raises `OSError`."""
        if self.room is None:
            return
        self.room -= size
        if self.room < 0:
            self._on_full()
            raise OSError(errno.ENOSPC, "No space left on device")

    async def in_thread(self, sync: Callable[[], T]) -> T:
        """Run what waits for the disk, as a thread would: nothing else is held up."""
        await anyio.sleep(self._sync_s)
        return sync()

    def tear(self, path: Path, share: float) -> None:
        """Lose a share of what was written last."""
        if self._last_group is not None:
            start, end = self._last_group
            os.truncate(path, end - round((end - start) * share))

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let results files be written here."""
        with (
            mock.patch.object(stream, "write_all", self.write_all),
            mock.patch.object(update, "replacing", self.replacing),
            mock.patch.object(os, "fsync"),
        ):
            yield
