"""An earlier run's results file, read back and repaired."""

from __future__ import annotations

import json
import os
from array import array
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from bulkcancel.errors import OutputError, ResultsError
from bulkcancel.ids import IdSet
from bulkcancel.models import SUCCESSES, UNSEEN, Outcome
from bulkcancel.results.atomic import replacing
from bulkcancel.results.codec import Format, StoredRow, identify
from bulkcancel.text import cell, shorten, visible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_MOST_NOTES = 20
_MOST_BROKEN_AT_THE_START = 1000
_FIRST_KEY = b'{"instanceId": "'


@dataclass(slots=True)
class Resumed:
    """What the results file of an earlier run holds."""

    form: Format
    name: str
    """The file's, for messages."""
    done: IdSet = field(default_factory=IdSet)
    """IDs that need not be sent again."""
    invalid: Counter[str] = field(default_factory=Counter)
    """`invalid` rows by the stored text of their ID cell, each to be matched once."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    """Rows kept."""
    again_ids: IdSet = field(default_factory=IdSet)
    """IDs that are sent again if they are in the input; their rows are then removed."""
    again_for_others: IdSet = field(default_factory=IdSet)
    """Those of them whose outcome was not `failed`: few, as a rule."""
    asks: bool = False
    """Whether IDs that have not been seen to stop are to be looked at."""
    unseen: bytearray = field(default_factory=bytearray)
    """The packed IDs, one after another, of rows kept that have not been seen to stop."""
    unreadable: int = 0
    """Rows that do not parse, a torn last one among them."""
    notes: list[str] = field(default_factory=list)

    @property
    def unseen_count(self) -> int:
        """How many IDs are to be looked at."""
        return len(self.unseen) // 16

    def ids_unseen(self) -> Iterator[bytes]:
        """Yield the packed IDs that are to be looked at."""
        return (bytes(self.unseen[at : at + 16]) for at in range(0, len(self.unseen), 16))

    def recount(self, old: Outcome, new: Outcome, count: int) -> None:
        """Count kept rows by another outcome than they had."""
        self.outcomes[old] -= count
        self.outcomes[new] += count

    def kept_failures(self, ok: frozenset[Outcome]) -> int:
        """Return how many of the rows kept are failures; outcomes in `ok` are not."""
        fine = SUCCESSES | ok
        return sum(n for outcome, n in self.outcomes.items() if outcome not in fine)

    def has_failed(self, packed: bytes) -> bool:
        """Return whether an ID is sent again because it has failed.

        That it fails once more tells nothing of the server.
        """
        return packed in self.again_ids and packed not in self.again_for_others

    def take_invalid(self, text: str) -> bool:
        """Return whether an invalid input row has a row already; each row counts for one.

        Found by what the row held, not by its line: the input may have been reordered.
        """
        stored = cell(text) if self.form is Format.CSV else text
        if self.invalid[stored] <= 0:
            return False
        self.invalid[stored] -= 1
        return True


@dataclass(slots=True)
class Repair:
    """What has to be done to a results file before rows can be added to it."""

    whole: int = 0
    """Bytes up to the end of its last whole row."""
    removable: array[int] = field(default_factory=lambda: array("Q"))
    """Where the rows begin that go, or stay if their IDs are not sent after all, in order."""


def read_back(
    path: Path, form: Format, host: str, again: frozenset[Outcome], *, asks: bool = False
) -> tuple[Resumed, Repair]:
    """Read a results file; return what is done, and what `repair` is to do. Changes nothing.

    A torn last row is to be removed, and so are the rows whose outcome is one of `again` if their
    IDs are sent again. Every row kept stays byte for byte.
    `unseen` IDs are kept if the run `asks` after them.
    Raises `OutputError` when the file is not this tool's or of another host.
    """
    resumed, needed = Resumed(form, str(path), asks=asks), Repair()
    with path.open("rb") as file:
        needed.whole = at = _check_header(file, path, form)
        for number, line in enumerate(file, 2 if form.header else 1):
            if not line.endswith(b"\n"):
                resumed.unreadable += 1
                _note(resumed, f"{path}: cut {len(line)} bytes of a torn last row")
                break
            row = _read(line[:-1], number, resumed)
            if row is not None and row.host != host:
                raise OutputError(
                    f"{path}:{number} holds a result of {visible(row.host)}, not of {host}: "
                    "choose another file"
                )
            if row is None or not _keep(row, number, resumed, again):
                needed.removable.append(at)
            at += len(line)
            needed.whole = at
    return resumed, needed


def check_ours(path: Path, form: Format) -> None:
    """Raise `OutputError` unless a file begins as this tool's results do."""
    with path.open("rb") as file:
        _check_header(file, path, form)


def _check_header(file: BinaryIO, path: Path, form: Format) -> int:
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


def _read(line: bytes, number: int, resumed: Resumed) -> StoredRow | None:
    try:
        return identify(line, resumed.form)
    except ValueError as error:
        resumed.unreadable += 1
        said = shorten(visible(str(error)), 80)
        _note(resumed, f"{resumed.name}:{number} does not parse ({said}): its ID is sent again")
        return None


def _keep(row: StoredRow, number: int, resumed: Resumed, again: frozenset[Outcome]) -> bool:
    """Record what a row says of its ID; return whether it stays."""
    if row.outcome in again:
        if row.instance_id is not None:
            resumed.again_ids.add(row.instance_id)
            if row.outcome is not Outcome.FAILED:
                resumed.again_for_others.add(row.instance_id)
        return False
    if row.instance_id is None:
        resumed.invalid[row.text] += 1
    elif not resumed.done.add(row.instance_id):
        _note(resumed, f"{resumed.name}:{number} is a second row for {row.text}: taken out")
        return False
    elif resumed.asks and row.outcome in UNSEEN:
        resumed.unseen += row.instance_id
    resumed.outcomes[row.outcome] += 1
    return True


def _note(resumed: Resumed, text: str) -> None:
    if len(resumed.notes) < _MOST_NOTES:
        resumed.notes.append(text)


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
