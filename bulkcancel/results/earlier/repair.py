"""What has to be done to a results file before rows can be added to it, and at the end."""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass, field
from heapq import merge
from typing import TYPE_CHECKING

from bulkcancel.errors import ResultsError
from bulkcancel.results.atomic import replacing

if TYPE_CHECKING:
    from pathlib import Path

    from bulkcancel.results.codec import Format


def _places() -> array[int]:
    return array("Q")


@dataclass(slots=True)
class Repair:
    """Which rows go, and when; each by where it begins, in bytes and in order."""

    whole: int = 0
    """Bytes up to the end of the last whole row."""
    broken: array[int] = field(default_factory=_places)
    """Rows that do not parse: they go before rows are added."""
    older: array[int] = field(default_factory=_places)
    """Rows that a later one of the same ID has replaced: they go with those, or with an update."""
    again: array[int] = field(default_factory=_places)
    """Rows of IDs that may be sent again: each goes once its ID has a new row, at the end."""


def repair(path: Path, form: Format, needed: Repair) -> None:
    """Prepare a results file for more rows; rewritten, atomically, only if a row is to go.

    `needed.again` is then told by where those rows are now. Raises `ResultsError` when it cannot
    be done, for example on a full disk; then no row has been removed.
    """
    try:
        if needed.broken or needed.older:
            _rewrite(path, needed)
            return
        with path.open("r+b") as file:
            file.truncate(needed.whole)
            if needed.whole == 0 and form.header:
                file.write(form.header)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ResultsError(
            f"cannot repair {path} ({error.strerror or error}): make room or allow writing, and "
            "do the same again"
        ) from None


def _rewrite(path: Path, needed: Repair) -> None:
    going, staying = merge(needed.broken, needed.older), iter(needed.again)
    next_going, next_staying = next(going, -1), next(staying, -1)
    moved = _places()
    with replacing(path) as new, path.open("rb") as old:
        at = size = 0
        for line in old:
            if at >= needed.whole:
                break
            if at == next_going:
                next_going = next(going, -1)
            else:
                if at == next_staying:
                    next_staying = next(staying, -1)
                    moved.append(size)
                new.write(line)
                size += len(line)
            at += len(line)
    needed.again = moved
