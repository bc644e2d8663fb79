"""An earlier run's results file, read back: what is done, and what is sent again."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bulkcancel.errors import OutputError
from bulkcancel.ids import IdSet, pack
from bulkcancel.models import SUCCESSES, UNSEEN, Outcome
from bulkcancel.results.codec import Format, StoredRow, identify
from bulkcancel.results.earlier.repair import Repair
from bulkcancel.results.place import check_header
from bulkcancel.text import cell, shorten, visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from bulkcancel.models import CancelResult

_MOST_NOTES = 20
_BLOCK = 1 << 16


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
    """Rows of earlier runs, less those that were replaced."""
    again: dict[Outcome, IdSet] = field(default_factory=dict)
    """IDs that are sent again if they are in the input, by the outcomes of their rows."""
    replaced: IdSet = field(default_factory=IdSet)
    """Those of them that this run has written a row for: the old one no longer counts."""
    asks: bool = False
    """Whether IDs that have not been seen to stop are to be looked at."""
    unseen: bytearray = field(default_factory=bytearray)
    """The packed IDs, one after another, that are not sent again and not seen to stop."""
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

    def is_sent_again(self, packed: bytes) -> bool:
        """Return whether an ID is sent again if it is in the input."""
        return self._outcome_again(packed) is not None

    def has_failed(self, packed: bytes) -> bool:
        """Return whether an ID is sent again because it has failed.

        That it fails once more tells nothing of the server.
        """
        return packed in self.again.get(Outcome.FAILED, ())

    def replace(self, results: Sequence[CancelResult]) -> None:
        """Record rows that were written: those of the same IDs of earlier runs no longer count."""
        if not self.again:
            return
        for each in results:
            if each.outcome is not Outcome.INVALID:
                packed = pack(each.instance_id)
                old = self._outcome_again(packed)
                if old is not None and self.replaced.add(packed):
                    self.outcomes[old] -= 1

    def has_replaced(self, line: bytes) -> bool:
        """Return whether the row of an ID that is sent again has a newer one by now."""
        packed = identify(line[:-1], self.form).instance_id
        return packed is not None and packed in self.replaced

    def _outcome_again(self, packed: bytes) -> Outcome | None:
        for outcome, ids in self.again.items():
            if packed in ids:
                return outcome
        return None

    def recount(self, old: Outcome, new: Outcome, count: int) -> None:
        """Count rows of earlier runs by another outcome than they had."""
        self.outcomes[old] -= count
        self.outcomes[new] += count

    def kept_failures(self, ok: frozenset[Outcome]) -> int:
        """Return how many rows of earlier runs are failures; outcomes in `ok` are not."""
        fine = SUCCESSES | ok
        return sum(n for outcome, n in self.outcomes.items() if outcome not in fine)

    def take_invalid(self, text: str) -> bool:
        """Return whether an invalid input row has a row already; each row counts for one.

        Found by what the row held, not by its line: the input may have been reordered.
        """
        stored = cell(text) if self.form is Format.CSV else text
        if self.invalid[stored] <= 0:
            return False
        self.invalid[stored] -= 1
        return True


def read_back(
    path: Path, form: Format, host: str, again: frozenset[Outcome], *, asks: bool = False
) -> tuple[Resumed, Repair]:
    """Read a results file; return what is done, and what `repair` is to do. Changes nothing.

    Of several rows of one ID the last counts: a run that was killed may leave old ones beside the
    new. IDs whose outcome is one of `again` are sent again. `unseen` IDs are kept if the run `asks`
    after them. Raises `OutputError` when the file is not this tool's or of another host.
    """
    resumed = Resumed(form, str(path), asks=asks)
    with path.open("rb") as file:
        start = check_header(file, path, form)
        needed = Repair(whole=start)
        if not _read_rows(file, resumed, needed, host, again):
            older = _older_rows(file, start, needed.whole, form)
            resumed = Resumed(form, str(path), asks=asks)
            needed = Repair(whole=start, older=older)
            file.seek(start)
            _read_rows(file, resumed, needed, host, again)
            told = f"{path}: the last row of an ID counts, {len(older):,} older ones are taken out"
            resumed.notes.append(told)
    return resumed, needed


def _read_rows(
    file: BinaryIO, resumed: Resumed, needed: Repair, host: str, again: frozenset[Outcome]
) -> bool:
    """Record every row; return whether each ID has one, rows known as `needed.older` left out.

    They begin at `needed.whole`, where the file stands.
    """
    path, at, one_each = resumed.name, needed.whole, True
    older = iter(needed.older)
    next_older = next(older, -1)
    for number, line in enumerate(file, 2 if resumed.form.header else 1):
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
        if row is None:
            needed.broken.append(at)
        elif at == next_older:
            next_older = next(older, -1)
        elif not _record(row, resumed, again):
            one_each = False
        elif row.outcome in again:
            needed.again.append(at)
        at += len(line)
        needed.whole = at
    return one_each


def _read(line: bytes, number: int, resumed: Resumed) -> StoredRow | None:
    try:
        return identify(line, resumed.form)
    except ValueError as error:
        resumed.unreadable += 1
        said = shorten(visible(str(error)), 80)
        _note(resumed, f"{resumed.name}:{number} does not parse ({said}): its ID is sent again")
        return None


def _record(row: StoredRow, resumed: Resumed, again: frozenset[Outcome]) -> bool:
    """Record what a row says of its ID; return whether it is the first to do so."""
    packed = row.instance_id
    if packed is None:
        resumed.invalid[row.text] += 1
    elif resumed.is_sent_again(packed):
        return False
    elif row.outcome in again:
        if packed in resumed.done:
            return False
        resumed.again.setdefault(row.outcome, IdSet()).add(packed)
    elif not resumed.done.add(packed):
        return False
    elif resumed.asks and row.outcome in UNSEEN:
        resumed.unseen += packed
    resumed.outcomes[row.outcome] += 1
    return True


def _note(resumed: Resumed, text: str) -> None:
    if len(resumed.notes) < _MOST_NOTES:
        resumed.notes.append(text)


def _older_rows(file: BinaryIO, start: int, end: int, form: Format) -> array[int]:
    """Return where the rows begin that have a later one of the same ID, in order."""
    later, older = IdSet(), array("Q")
    for at, line in _backwards(file, start, end):
        try:
            packed = identify(line, form).instance_id
        except ValueError:
            continue
        if packed is not None and not later.add(packed):
            older.append(at)
    older.reverse()
    return older


def _backwards(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield the whole lines between two places, the last one first: its place, and its text."""
    at, begun = end, b""
    while at > start:
        at = max(start, at - _BLOCK)
        file.seek(at)
        block = file.read(min(_BLOCK, end - at)) + begun
        first, *lines = block[:-1].split(b"\n")
        line_at = at + len(block)
        for line in reversed(lines):
            line_at -= len(line) + 1
            yield line_at, line
        begun, end = first + b"\n", at
    if begun:
        yield start, begun[:-1]
