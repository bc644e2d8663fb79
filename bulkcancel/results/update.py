"""Rows brought up to date with what looking at their IDs has found."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bulkcancel.errors import ResultsError
from bulkcancel.models import UNSEEN, CancelResult, Finding
from bulkcancel.results.atomic import replacing
from bulkcancel.results.codec import decode, encode, identify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bulkcancel.results.codec import Format


class Change(NamedTuple):
    """One row of an ID that was looked at, before and after; the two may be the same."""

    old: CancelResult
    new: CancelResult
    begins_at: int
    """Where its line began, in bytes of the old file."""


def update(
    path: Path,
    form: Format,
    finding_of: Callable[[bytes], Finding | None],
    on_change: Callable[[Change], None],
) -> None:
    """Rewrite a results file with what was found of the packed IDs of `accepted` rows.

    `unconfirmed` ones are brought up to date as well. Atomic: the file is as it was, or all of it
    is new; every other line stays byte for byte, a torn last one too. `on_change` is told of each
    row before the new file takes the place of the old one. Raises `ResultsError`; then no row has
    changed.
    """
    try:
        with replacing(path) as new, path.open("rb") as old:
            at = 0
            for line in old:
                change = _changed(line, form, finding_of, at)
                if change is None:
                    new.write(line)
                else:
                    new.write(encode([change.new], form))
                    on_change(change)
                at += len(line)
    except OSError as error:
        raise ResultsError(
            f"cannot bring {path} up to date ({error.strerror or error}): its rows are as they "
            "were; put that right and look again with bulkcancel verify"
        ) from None


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
