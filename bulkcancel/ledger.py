"""The open results file: whole rows to the operating system, synced, never torn."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bulkcancel.errors import OutputError, ResultsError, UsageError
from bulkcancel.lock import FileLock
from bulkcancel.resume import Resumed, read_back, sync_directory
from bulkcancel.rows import Format, encode, format_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bulkcancel.models import CancelResult

_FLAGS = os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_FLAGS |= getattr(os, "O_BINARY", 0)


class StreamLedger:
    """Results on an open descriptor, such as standard output: CSV, nothing to resume or lock."""

    def __init__(self, descriptor: int, *, name: str = "standard output") -> None:
        self.resumed: Resumed | None = None
        self._descriptor = descriptor
        self._form = Format.CSV
        self._name = name
        self._failure: ResultsError | None = None
        self._put(self._form.header)

    def write(self, results: Sequence[CancelResult]) -> None:
        """Hand whole rows to the operating system. Raises `ResultsError`, then always the same."""
        self._put(encode(results, self._form))

    def sync(self) -> None:
        """Check that writing still makes sense."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Leave the stream as it is; it is not ours."""

    def discard(self) -> None:
        """Forget an output nothing was written to."""

    def _put(self, data: bytes) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            self._undo()
            raise self._fail(error.strerror or str(error)) from None

    def _undo(self) -> None:
        """Take back a row that was written in part; a stream cannot."""

    def _fail(self, reason: str) -> ResultsError:
        self._failure = ResultsError(
            f"cannot write the results to {self._name} ({reason}): nothing more was sent. Put "
            "that right and run the same command with --resume"
        )
        return self._failure


class Ledger(StreamLedger):
    """A results file of its own, locked from before the first request to the end.

    `write` and `sync` may run in different threads at the same time. Use `Ledger.open`.
    """

    def __init__(self, path: Path, form: Format, lock: FileLock, descriptor: int) -> None:
        self.resumed = None
        self._path = path
        self._name = str(path)
        self._form = form
        self._lock = lock
        self._descriptor = descriptor
        self._failure = None
        self._size = os.fstat(descriptor).st_size
        self._fresh = self._size == 0
        self._closed = False

    @classmethod
    def open(cls, name: str, *, host: str, resume: bool = False, overwrite: bool = False) -> Self:
        """Lock and open a results file for a run against `host`.

        A new file gets mode 0600. One that exists is refused unless it is empty, `resume` reads
        it back (with no file yet, it is made) or `overwrite` replaces it. Raises `BusyError`,
        `OutputError`, `UsageError`, all before anything is sent, and `ResultsError` when the
        disk has no room.
        """
        if resume and overwrite:
            raise UsageError("--resume keeps the results file, --overwrite replaces it: give one")
        form = format_of(name)
        path = Path(name)
        _check_place(path)
        lock = FileLock(path)
        try:
            resumed = _prepare(path, form, host, resume=resume, overwrite=overwrite)
            descriptor = _open(path)
            try:
                ledger = cls(path, form, lock, descriptor)
                ledger.resumed = resumed
                ledger.begin()
            except BaseException:
                os.close(descriptor)
                raise
        except BaseException:
            lock.release()
            raise
        return ledger

    def begin(self) -> None:
        """Write the header of a new file and make its name survive a power cut."""
        if self._fresh:
            self._put(self._form.header)
        try:
            os.fsync(self._descriptor)
            sync_directory(self._path.resolve().parent)
        except OSError as error:
            raise self._fail(error.strerror or str(error)) from None

    def sync(self) -> None:
        """Make what was written survive a power cut, and check that the file is still there.

        Waits for the disk: call it in a thread. Raises `ResultsError`.
        """
        if self._failure is not None:
            raise self._failure
        if self._closed:
            return
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

    def close(self) -> None:
        """Sync, close and unlock; harmless when called again. Raises `ResultsError`."""
        if self._closed:
            return
        try:
            if self._failure is None:
                self.sync()
        finally:
            self._closed = True
            os.close(self._descriptor)
            self._lock.release()

    def discard(self) -> None:
        """Remove a file that this run has made and not used."""
        if self._fresh:
            self._path.unlink(missing_ok=True)
            self._failure = ResultsError("the results file was given up")

    def _put(self, data: bytes) -> None:
        super()._put(data)
        self._size += len(data)

    def _undo(self) -> None:
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            return  # `--resume` cuts it


def _check_place(path: Path) -> None:
    """Refuse what is no plain file in a directory that can be written to."""
    parent = path.parent
    if not parent.is_dir():
        raise OutputError(f"{path}: there is no directory {parent}: make it, or choose another -o")
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        raise OutputError(f"cannot use {path} ({error.strerror}): choose another -o") from None
    if mode is not None and not stat.S_ISREG(mode):
        kind = (
            "a directory" if stat.S_ISDIR(mode) else "a link" if stat.S_ISLNK(mode) else "no file"
        )
        raise OutputError(f"{path} is {kind}: results go to a plain file of their own")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"the directory {parent} is read-only: choose another -o")
    if mode is not None and not os.access(path, os.R_OK | os.W_OK):
        raise OutputError(f"{path} cannot be read and written: choose another -o")


def _prepare(
    path: Path, form: Format, host: str, *, resume: bool, overwrite: bool
) -> Resumed | None:
    """Deal with a file that exists; what is left is to be appended to."""
    if not path.exists():
        return None
    if resume:
        return read_back(path, form, host)
    with path.open("rb") as file:
        start = file.read(len(form.header) or len(b'{"instanceId": '))
    if start == b"":
        return None
    ours = start == form.header if form is Format.CSV else start == b'{"instanceId": '
    if not ours:
        raise OutputError(f"{path} is another program's file: choose another -o")
    if not overwrite:
        raise OutputError(
            f"{path} exists: --resume goes on with it, --overwrite replaces it, or choose "
            "another -o"
        )
    path.unlink()
    return None


def _open(path: Path) -> int:
    try:
        descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise OutputError(f"cannot write {path} ({error.strerror}): choose another -o") from None
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, 0o600)
    return descriptor
