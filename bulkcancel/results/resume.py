"""An earlier run's results file, read back: what is done, and what is sent again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bulkcancel.errors import OutputError
from bulkcancel.ids import IdSet
from bulkcancel.models import SUCCESSES, UNSEEN, Outcome
from bulkcancel.results.codec import Format, StoredRow, identify
from bulkcancel.results.place import check_header
from bulkcancel.results.repair import Repair
from bulkcancel.text import cell, shorten, visible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MOST_NOTES = 20


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
        needed.whole = at = check_header(file, path, form)
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
