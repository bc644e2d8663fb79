"""One run at a time on one results file."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from bulkcancel.errors import BusyError, OutputError, ResultsError
from bulkcancel.text import shorten, visible

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> None:
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # beyond the text: it stays readable
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _try_lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_HELD = frozenset({errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK})
"""What systems answer when another process holds a lock."""
_MOMENT_S = 0.1
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


def _beside(path: Path) -> Path:
    """Return the file whose lock guards `path`."""
    resolved = Path(os.path.realpath(path))
    return resolved.with_name(f".{resolved.name}.lock")


def _try_lock_twice(descriptor: int) -> None:
    """Lock, or raise `OSError`; tried twice, as a dry run holds the lock for a moment."""
    try:
        _try_lock(descriptor)
    except OSError as error:
        if error.errno not in _HELD:
            raise
        time.sleep(_MOMENT_S)
        _try_lock(descriptor)


def _busy(descriptor: int, path: Path) -> BusyError:
    """Return the error that says which run holds the lock."""
    text = b""
    for _ in range(20):  # the holder may have locked just now, and not yet written its name
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)
            text = os.read(descriptor, 200)
        except OSError:
            break
        if text:
            break
        time.sleep(0.01)
    holder = shorten(visible(text.decode("utf-8", "replace")), 100) or "another run"
    return BusyError(f"{holder} holds {path}: wait for it, or choose another file")


class FileLock:
    """An exclusive lock beside `path`, held until `release` or the end of the process.

    The lock is on a file of its own, `.NAME.lock`: a resumed results file is replaced whole,
    and a lock on the old one would then guard nothing. The operating system releases it when the
    process dies, however that happens; the file that remains is used by the next run. The file
    says which process holds the lock. Raises `BusyError` when another process holds it,
    `OutputError` where nothing can be locked, `ResultsError` when the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self._path = _beside(path)
        self._guarded = path
        self._descriptor = self._acquire()

    def _acquire(self) -> int:
        while True:
            descriptor = self._open()
            try:
                _try_lock_twice(descriptor)
            except OSError as error:
                if error.errno not in _HELD:
                    os.close(descriptor)
                    raise OutputError(
                        f"cannot lock {self._guarded} ({error.strerror}), so nothing would keep a "
                        "second run off it: choose a file on a disk that has locks"
                    ) from None
                busy = _busy(descriptor, self._guarded)
                os.close(descriptor)
                raise busy from None
            # The last holder may have removed the file after we opened and before we locked it.
            if self._is_current(descriptor):
                break
            os.close(descriptor)
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.ftruncate(descriptor, 0)
            now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            os.write(
                descriptor, f"process {os.getpid()} on {socket.gethostname()} since {now}".encode()
            )
        except OSError as error:
            os.close(descriptor)
            raise ResultsError(f"cannot write {self._path}: {error.strerror}") from None
        return descriptor

    def _open(self) -> int:
        try:
            return os.open(self._path, _FLAGS, 0o600)
        except OSError as error:
            raise OutputError(
                f"cannot write beside {self._guarded} ({error.strerror}): choose another file"
            ) from None

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.lstat())
        except FileNotFoundError:
            return False

    @staticmethod
    def check_free(path: Path) -> None:
        """Raise `BusyError` if another process holds the lock beside `path`; make no file."""
        try:
            descriptor = os.open(_beside(path), _FLAGS & ~os.O_CREAT)
        except OSError:  # nobody holds it, or nobody may look
            return
        try:
            _try_lock(descriptor)
        except OSError as error:
            if error.errno in _HELD:
                raise _busy(descriptor, path) from None
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Release the lock and, where that can be done, remove its file; harmless when repeated."""
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        if sys.platform != "win32":
            # First: a run that waits for the lock must see that this file is stale.
            self._path.unlink(missing_ok=True)
        os.close(descriptor)
