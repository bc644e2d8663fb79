"""A results file rewritten at the end: rows brought up to date, old ones taken out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bulkcancel.errors import ResultsError
from bulkcancel.models import UNSEEN, CancelResult, Finding
from bulkcancel.results.atomic import replacing
from bulkcancel.results.codec import decode, encode, identify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bulkcancel.results.codec import Format


class Change(NamedTuple):
    """One row of an ID that was looked at, before and after; the two may be the same."""

    old: CancelResult
    new: CancelResult
    begins_at: int
    """Where its line began, in bytes of the old file."""


class OldRows(NamedTuple):
    """Rows that go if newer ones of the same IDs have replaced them."""

    places: Sequence[int]
    """Where their lines begin, in bytes of the old file and in order."""
    replaced: Callable[[bytes], bool]
    """Whether such a line goes."""


NONE_OLD = OldRows((), lambda _line: False)


def update(
    path: Path,
    form: Format,
    finding_of: Callable[[bytes], Finding | None],
    on_change: Callable[[Change], None],
    old_rows: OldRows = NONE_OLD,
) -> None:
    """Rewrite a results file with what was found of the packed IDs of `accepted` rows.

    `unconfirmed` ones are brought up to date as well, and `old_rows` left out. Atomic: the file is
    as it was, or all of it is new; every other line stays byte for byte, a torn last one too.
    `on_change` is told of each row before the new file takes the place of the old one. Raises
    `ResultsError`; then no row has changed.
    """

    def edit(line: bytes, at: int) -> bytes:
        change = _changed(line, form, finding_of, at)
        if change is None:
            return line
        on_change(change)
        return encode([change.new], form)

    try:
        _rewrite(path, old_rows, edit)
    except OSError as error:
        raise ResultsError(
            f"cannot bring {path} up to date ({error.strerror or error}): its rows are as they "
            "were; put that right and look again with bulkcancel verify"
        ) from None


def take_out(path: Path, old_rows: OldRows) -> None:
    """Rewrite a results file without its old rows. Raises `ResultsError`; then no row has gone."""
    try:
        _rewrite(path, old_rows, None)
    except OSError as error:
        raise ResultsError(
            f"{path} holds every result, but old rows of the same IDs beside new ones: they cannot "
            f"be taken out ({error.strerror or error}): make room or allow writing, and do the "
            "same again"
        ) from None


def _rewrite(path: Path, old_rows: OldRows, edit: Callable[[bytes, int], bytes] | None) -> None:
    places = iter(old_rows.places)
    next_place = next(places, -1)
    with replacing(path) as new, path.open("rb") as old:
        at = 0
        for line in old:
            goes = at == next_place and old_rows.replaced(line)
            if at == next_place:
                next_place = next(places, -1)
            if not goes:
                new.write(line if edit is None else edit(line, at))
            at += len(line)


def _changed(
    line: bytes, form: Format, finding_of: Callable[[bytes], Finding | None], at: int
) -> Change | None:
    """Return the row of an ID that was looked at, `None` for any other line."""
    if not line.endswith(b"\n"):
        return None
    try:
        row = identify(line[:-1], form)
        if row.outcome not in UNSEEN or row.instance_id is None:
            return None
        finding = finding_of(row.instance_id)
        if finding is None:
            return None
        old = decode(line[:-1], form)
    except ValueError:  # the header, or a line that somebody has edited
        return None
    return Change(old, old.found(finding), at)
