"""The open results file: whole rows to the operating system, synced, never torn."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypeAlias

from bulkcancel.errors import ExistsError, OutputError, ResultsError
from bulkcancel.results.atomic import sync_directory
from bulkcancel.results.codec import Format, format_of
from bulkcancel.results.earlier.repair import Repair, repair
from bulkcancel.results.earlier.resume import Resumed, read_back
from bulkcancel.results.earlier.update import OldRows, take_out, update
from bulkcancel.results.lock import FileLock
from bulkcancel.results.place import check_ours, check_place
from bulkcancel.results.stream import ResultsStream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bulkcancel.models import CancelResult, Finding, Outcome

Mode: TypeAlias = Literal["new", "resume", "overwrite"]
"""What becomes of an earlier run's results file: it is refused, gone on with or replaced."""

_FLAGS = os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_FLAGS |= getattr(os, "O_BINARY", 0)


class ResultsFile(ResultsStream):
    """A results file, locked from before the first request to the end.

    `reserve` locks and checks it and changes nothing, so that the user can still be asked; `begin`
    prepares it for writing. `write` and `sync` may run in different threads at the same time.
    """

    _advice = "Put that right and run the same command with --resume"

    def __init__(
        self,
        path: Path,
        form: Format,
        lock: FileLock | None,
        resumed: Resumed | None,
        needed: Repair,
    ) -> None:
        super().__init__(-1, form)
        self.resumed = resumed
        self._name = str(path)
        self._path = path
        self._lock = lock
        self._needed = needed
        self._size = 0
        self._begun_at = sys.maxsize
        """Where this run's rows begin."""
        self._syncing = threading.Lock()
        self._rewritten = False
        self._closed = False

    @classmethod
    def reserve(
        cls,
        name: str,
        *,
        host: str,
        mode: Mode,
        form: str,
        again: frozenset[Outcome],
        dry_run: bool,
        asks: bool = False,
    ) -> Self:
        """Lock a results file for a run against `host` and read back what it holds.

        Without a file, and with one that has no rows yet, every `mode` makes it. `again` are the
        outcomes whose IDs a resumed run sends again. A `dry_run` locks nothing and makes no file;
        a run that `asks` after accepted IDs needs those of earlier ones.
        Raises `BusyError`, `OutputError` and `UsageError`.
        """
        path, written = Path(name), format_of(name, form)
        check_place(path)
        if dry_run:
            FileLock.check_free(path)
        lock = None if dry_run else FileLock(path)
        try:
            resumed, needed = _look_into(path, written, host, mode, again, asks=asks)
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        return cls(path, written, lock, resumed, needed)

    def begin(self) -> None:
        """Repair, replace or make the file (mode 0600), and make its name survive a power cut.

        Raises `OutputError` when the file cannot be opened, `ResultsError` when it cannot be
        written.
        """
        if self.resumed is not None:
            repair(self._path, self._form, self._needed)
        self._descriptor = _open(self._path, empty=self.resumed is None)
        self._size = self._begun_at = os.fstat(self._descriptor).st_size
        if self._size == 0:
            self._put(self._form.header)
        try:
            os.fsync(self._descriptor)
            sync_directory(self._path.resolve().parent)
        except OSError as error:
            raise self._fail(error.strerror or str(error)) from None

    def write(self, results: Sequence[CancelResult]) -> None:
        """Hand whole rows to the operating system. Raises `ResultsError`, then always the same.

        An earlier row of the same ID is replaced by that: from now on it does not count, and it is
        taken out at the end. So no row goes before there is a new one.
        """
        super().write(results)
        if self.resumed is not None:
            self.resumed.replace(results)

    def sync(self) -> None:
        """Make what was written survive a power cut, and check that the file is still there.

        Waits for the disk: call it in a thread. Raises `ResultsError`.
        """
        with self._syncing:
            self._sync()

    def _sync(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self._closed or self._descriptor < 0:
            return
        written = self._size  # before the file is measured: rows may be added meanwhile
        try:
            os.fsync(self._descriptor)
            here = os.fstat(self._descriptor)
            there = self._path.lstat()
        except FileNotFoundError:
            raise self._fail("the file was deleted") from None
        except OSError as error:
            raise self._fail(error.strerror or str(error)) from None
        if not os.path.samestat(here, there):
            raise self._fail("the file was replaced by another")
        if here.st_size < written:
            raise self._fail("the file was cut short by somebody else")

    def bring_up_to_date(
        self,
        finding_of: Callable[[bytes], Finding | None],
        on_change: Callable[[CancelResult, CancelResult, bool], None],
    ) -> None:
        """Rewrite the rows of IDs that were looked at, all or none; nothing is added after that.

        `on_change` gets the old row, the new one and whether an earlier run has left it. Rows that
        were replaced are taken out. Raises `ResultsError`; then no row has changed.
        """
        self.sync()
        self._rewrite(
            lambda: update(
                self._path,
                self._form,
                finding_of,
                lambda each: on_change(each.old, each.new, each.begins_at < self._begun_at),
                self._old_rows,
            )
        )

    @property
    def _old_rows(self) -> OldRows:
        if self._begun_at == sys.maxsize or self.resumed is None:  # no run of its own, or a new one
            return OldRows(self._needed.older, lambda _line: True)
        return OldRows(self._needed.again, self.resumed.has_replaced)

    def _rewrite(self, rewrite: Callable[[], None]) -> None:
        """Let the file be rewritten, once; after that nothing can be added."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
        self._rewritten = True
        try:
            rewrite()
        except ResultsError as error:
            self.failure = error
            raise

    def close(self) -> None:
        """Sync, take out the rows that were replaced, close and unlock; harmless when repeated.

        Raises `ResultsError` when that fails; an earlier failure is in `failure`.
        """
        if self._closed:
            return
        try:
            with self._syncing:  # one may still run in a thread, and its failure counts
                if self.failure is None:
                    self._sync()
                    self._take_out_replaced()
        finally:
            self._closed = True
            if self._descriptor >= 0:
                os.close(self._descriptor)
            if self._lock is not None:
                self._lock.release()

    def _take_out_replaced(self) -> None:
        if self.resumed is not None and len(self.resumed.replaced) and not self._rewritten:
            self._rewrite(lambda: take_out(self._path, self._old_rows))

    def _put(self, data: bytes) -> None:
        super()._put(data)
        self._size += len(data)

    def _undo(self) -> None:
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            return  # `--resume` cuts it


def _look_into(
    path: Path, form: Format, host: str, mode: Mode, again: frozenset[Outcome], *, asks: bool
) -> tuple[Resumed | None, Repair]:
    """Return what an existing file holds if the run goes on with it; refuse one it may not use."""
    if not path.exists():
        return None, Repair()
    if mode == "resume":
        return read_back(path, form, host, again, asks=asks)
    check_ours(path, form)
    # A header alone, whole or torn, may be replaced: no row is lost.
    if path.stat().st_size > len(form.header) and mode != "overwrite":
        raise ExistsError(path)
    return None, Repair()


def _open(path: Path, *, empty: bool) -> int:
    flags = _FLAGS | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if empty else 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise OutputError(f"cannot write {path} ({error.strerror}): choose another file") from None
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, 0o600)
    return descriptor
