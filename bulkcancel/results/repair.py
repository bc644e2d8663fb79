"""What has to be done to a results file before rows can be added to it."""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bulkcancel.errors import ResultsError
from bulkcancel.ids import IdSet
from bulkcancel.results.atomic import replacing
from bulkcancel.results.codec import identify

if TYPE_CHECKING:
    from pathlib import Path

    from bulkcancel.results.resume import Resumed


@dataclass(slots=True)
class Repair:
    """What has to be done to a results file before rows can be added to it."""

    whole: int = 0
    """Bytes up to the end of its last whole row."""
    removable: array[int] = field(default_factory=lambda: array("Q"))
    """Where the rows begin that go, or stay if their IDs are not sent after all, in order."""


def repair(path: Path, resumed: Resumed, needed: Repair, sent: IdSet | None) -> None:
    """Prepare a results file for more rows; rewritten, atomically, only if a row is to be removed.

    Rows of IDs that may be sent again but are not in `sent` stay, and are counted in
    `resumed.outcomes`; if `sent` is `None` it is not known which these are, and none stays.
    Raises `ResultsError` when it cannot be done, for example on a full disk; then no row has been
    removed.
    """
    form = resumed.form
    try:
        if needed.removable:
            _rewrite(path, resumed, needed, sent)
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


def _rewrite(path: Path, resumed: Resumed, needed: Repair, sent: IdSet | None) -> None:
    removable = iter(needed.removable)
    next_removable = next(removable)
    kept = IdSet()
    with replacing(path) as new, path.open("rb") as old:
        at = 0
        for line in old:
            if at >= needed.whole:
                break
            if at == next_removable:
                next_removable = next(removable, -1)
                if sent is not None and _stays(line, resumed, sent, kept):
                    new.write(line)
            else:
                new.write(line)
            at += len(line)


def _stays(line: bytes, resumed: Resumed, sent: IdSet, kept: IdSet) -> bool:
    """Return whether a row is of an ID that may be sent again, but is not by this run."""
    try:
        row = identify(line[:-1], resumed.form)
    except ValueError:
        return False
    packed = row.instance_id
    if (
        packed is None
        or packed not in resumed.again_ids
        or packed in sent
        or packed in resumed.done
    ):
        return False
    if not kept.add(packed):
        return False
    resumed.outcomes[row.outcome] += 1
    return True
