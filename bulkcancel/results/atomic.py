"""Files written safely: replaced whole or not at all; devices, pipes and links left in place."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

_CANNOT_SYNC = frozenset(
    {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EACCES}
)
"""Errors of systems that cannot sync a directory; those that can answer EIO or ENOSPC."""
_STDOUT = "-"
_OWN = 0o600  # readable by its owner alone
_MOST_LINKS = 40
_ESCAPED = {ord(c): f"\\{ord(c):03o}" for c in " \t\n\\"}
"""How `/proc/self/mountinfo` writes these characters of a path."""


def write_whole(path: str, data: bytes, *, mode: int = _OWN) -> None:
    """Write a file: a plain one is replaced whole, all else is written in place.

    `-` is standard output. A plain file has that `mode` afterwards, whatever it had before and
    whatever the umask. Raises `OSError`.
    """
    target = Path(path)
    if path == _STDOUT:
        write_all(1, data)
    elif is_replaceable(target):
        with replacing(target, mode=mode) as file:
            file.write(data)
    else:
        descriptor = open_in_place(target, os.O_TRUNC, mode=mode)
        try:
            write_all(descriptor, data)
        finally:
            os.close(descriptor)


@contextmanager
def replacing(path: Path, *, mode: int = _OWN) -> Iterator[BinaryIO]:
    """Yield a new file, of that mode, that takes the place of `path` once the block ends well.

    The file is synced before it is renamed and the directory after, so that a power cut leaves
    the old file or the new one. Raises `OSError`; then `path` is as it was, unless only the
    directory could not be synced. Only for a `path` that `is_replaceable`, and for one at a time.
    """
    temporary = path.with_name(f".{path.name}.rewrite")
    temporary.unlink(missing_ok=True)  # left by a killed process, or a link somebody put there
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(temporary, flags, mode), "wb") as file:
            if mode != _OWN:
                _let_read(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        _take_the_place(temporary, path)
        sync_directory(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _let_read(descriptor: int, mode: int) -> None:
    """Give a file the mode that the umask took from it, where the file system has modes."""
    if hasattr(os, "fchmod"):
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, mode)


def _take_the_place(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        reason = f"{path} is a mount of its own: mount its directory instead"
        raise OSError(errno.EBUSY, reason) from None


def sync_directory(directory: Path) -> None:
    """Make a new or replaced name survive a power cut, where the system can. Raises `OSError`."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def is_mount(path: Path) -> bool:
    """Return whether a file is a mount of its own, as one that is bound into a container is.

    It can be written to, but not replaced. Only Linux has such files.
    """
    name = os.path.realpath(path).translate(_ESCAPED)
    try:
        with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="surrogateescape") as lines:
            return any(line.split(" ")[4] == name for line in lines)
    except (OSError, IndexError):
        return False


def is_replaceable(path: Path) -> bool:
    """Return whether `path` is a plain file, or nothing yet: neither link, device, FIFO nor mount.

    Anything else is opened with `open_in_place`. Raises `OSError`.
    """
    try:
        return stat.S_ISREG(path.lstat().st_mode) and not is_mount(path)
    except FileNotFoundError:
        return True


def open_in_place(path: Path, flags: int, *, mode: int = _OWN) -> int:
    """Open for writing what `path` leads to, and return the descriptor. Raises `OSError`.

    `/dev/stdout` and `/dev/fd/3` are that open descriptor itself: opened anew, a file would be
    written from its start. A FIFO that nobody reads is an error instead of a wait. A file that a
    link leads to, and that is not there yet, is made with `mode`, less the umask.
    """
    descriptor = descriptor_of(path)
    if descriptor is not None:
        return os.dup(descriptor)
    flags |= os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    if not path.exists():  # Linux refuses O_CREAT for another user's FIFO in /tmp
        flags |= os.O_CREAT
    try:
        descriptor = os.open(path, flags, mode)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "nobody reads it: start its reader first") from None
        raise
    if hasattr(os, "O_NONBLOCK"):
        os.set_blocking(descriptor, True)
    return descriptor


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, waiting where another program has made a pipe non-blocking."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def descriptor_of(path: Path) -> int | None:
    """Return which open descriptor `path` is a name of, as `/dev/stdout` is; `None` for others."""
    folders = {"/dev/fd", f"/proc/{os.getpid()}/fd"}
    for _ in range(_MOST_LINKS):
        if path.name.isdecimal() and os.path.realpath(path.parent) in folders:
            return int(path.name)
        if not os.path.islink(path):  # noqa: PTH114 - pathlib's raises where nobody may look
            break
        path = path.parent / path.readlink()
    return None
