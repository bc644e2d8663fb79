"""Whether a path may hold results: where it is, and what it holds already."""

from __future__ import annotations

import codecs
import json
import os
import stat
from itertools import islice
from typing import TYPE_CHECKING

from bulkcancel.errors import OutputError
from bulkcancel.results.atomic import is_mount
from bulkcancel.results.codec import Format, identify

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

_MOST_BROKEN_AT_THE_START = 1000
_FIRST_KEY = b'{"instanceId": "'


def check_place(path: Path) -> None:
    """Raise `OutputError` unless it is, or can be, a plain file in a writable directory."""
    parent = path.parent
    if not os.path.isdir(parent):  # noqa: PTH112 - pathlib's raises where nobody may look
        raise OutputError(
            f"{path}: there is no directory {parent}: make it, or choose another file"
        )
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        raise OutputError(f"cannot use {path} ({error.strerror}): choose another file") from None
    if mode is not None and not stat.S_ISREG(mode):
        kind = (
            "a directory" if stat.S_ISDIR(mode) else "a link" if stat.S_ISLNK(mode) else "no file"
        )
        raise OutputError(f"{path} is {kind}: results go to a plain file of their own")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"the directory {parent} is read-only: choose another file")
    if mode is not None and is_mount(path):
        raise OutputError(
            f"{path} is a mount of its own, which a resumed run cannot replace: mount its "
            "directory instead, or choose another file"
        )
    if mode is not None and not os.access(path, os.R_OK | os.W_OK):
        raise OutputError(f"{path} cannot be read and written: choose another file")


def check_ours(path: Path, form: Format) -> None:
    """Raise `OutputError` unless a file begins as this tool's results do."""
    with path.open("rb") as file:
        check_header(file, path, form)


def check_header(file: BinaryIO, path: Path, form: Format) -> int:
    """Return where the rows begin; 0 when there is nothing yet or the header itself is torn."""
    header = form.header
    if form is Format.JSONL:
        if not _begins_with_a_row(file):
            raise _not_ours(path)
        file.seek(0)
        return 0
    start = file.read(len(header))
    if start == header:
        return len(header)
    if header.startswith(start):
        file.seek(0, os.SEEK_END)
        return 0
    file.seek(0)
    first = file.readline(2 * len(header)).removeprefix(codecs.BOM_UTF8)
    if first.rstrip(b"\r\n") == header[:-1]:
        raise OutputError(
            f"{path} was saved by another program, which changed its line ends: go on with the "
            "file as it was, or choose another"
        )
    raise _not_ours(path)


def _begins_with_a_row(file: BinaryIO) -> bool:
    """Return whether a JSON Lines file has a row of ours among its first, or nothing yet.

    JSON Lines have no header, so a file of which no row is ours is another program's.
    """
    for line in islice(file, _MOST_BROKEN_AT_THE_START):
        try:
            identify(line.removesuffix(b"\n"), Format.JSONL)
        except ValueError:
            if not line.endswith(b"\n"):
                return _is_torn(line)
        else:
            return True
    return file.tell() == 0


def _is_torn(line: bytes) -> bool:
    """Return whether a line may be a row of ours that was cut short."""
    start = _FIRST_KEY
    if not (line.startswith(start) or start.startswith(line)):
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return True
    return False  # whole, and still no row of ours


def _not_ours(path: Path) -> OutputError:
    return OutputError(
        f"{path} is not a results file of bulkcancel (its columns differ): choose another file"
    )
