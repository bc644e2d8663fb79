"""An earlier run's results file, read back and repaired."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bulkcancel.errors import OutputError, ResultsError
from bulkcancel.instance_id import IdSet
from bulkcancel.models import SENT_AGAIN, SUCCESSES, Outcome
from bulkcancel.rows import Format, StoredRow, decode
from bulkcancel.text import cell, shorten, visible

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

_MOST_NOTES = 20


@dataclass(slots=True)
class Resumed:
    """What an earlier run has left: its IDs need not be sent again."""

    form: Format
    name: str
    """The file's, for messages."""
    done: IdSet = field(default_factory=IdSet)
    invalid: Counter[str] = field(default_factory=Counter)
    """`invalid` rows by the stored text of their ID cell, each to be matched once."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    """Rows kept."""
    retried: int = 0
    """Rows taken out because their IDs are sent again."""
    notes: list[str] = field(default_factory=list)

    @property
    def kept_failures(self) -> int:
        """Rows kept that are failures."""
        return sum(n for outcome, n in self.outcomes.items() if outcome not in SUCCESSES)

    def take_invalid(self, text: str) -> bool:
        """Return whether an invalid input row already has its row; each row counts for one.

        Keyed by what the row held, not by its line: the input may have been reordered.
        """
        stored = cell(text) if self.form is Format.CSV else text
        if self.invalid[stored] <= 0:
            return False
        self.invalid[stored] -= 1
        return True


def read_back(path: Path, form: Format, host: str) -> Resumed:
    """Read a results file, cut a torn last row, take out rows to be sent again.

    The file is rewritten, atomically, only if a row in its middle has to go; every row kept
    stays byte for byte. Raises `OutputError` when the file is not this tool's or of another
    host (it is then untouched), `ResultsError` when it cannot be repaired for lack of room.
    """
    resumed = Resumed(form, str(path))
    dropped: set[int] = set()
    with path.open("rb") as file:
        whole = _check_header(file, path, form)
        at = whole
        for number, line in enumerate(file, 2 if form.header else 1):
            if not line.endswith(b"\n"):
                _note(resumed, f"{path}: cut {len(line)} bytes of a torn last row")
                break
            row = _read(line[:-1], number, resumed)
            if row is not None and row.host != host:
                raise OutputError(
                    f"{path}:{number} holds a result of {visible(row.host)}, not of {host}: "
                    "give another -o"
                )
            if row is None or not _keep(row, number, resumed):
                dropped.add(at)
            at += len(line)
            whole = at
    _repair(path, form, whole, dropped)
    return resumed


def _check_header(file: BinaryIO, path: Path, form: Format) -> int:
    """Return where the rows begin; 0 when there is nothing yet or the header itself is torn."""
    header = form.header
    start = file.read(max(len(header), 1))
    file.seek(0)
    if form is Format.JSONL:
        if start not in {b"", b"{"}:
            raise _not_ours(path)
        return 0
    if start == header:
        file.seek(len(header))
        return len(header)
    if header.startswith(start):
        file.seek(0, os.SEEK_END)
        return 0
    raise _not_ours(path)


def _not_ours(path: Path) -> OutputError:
    return OutputError(
        f"{path} is not a results file of bulkcancel (its columns differ): give another -o"
    )


def _read(line: bytes, number: int, resumed: Resumed) -> StoredRow | None:
    try:
        return decode(line, resumed.form)
    except (ValueError, RecursionError) as error:
        said = shorten(visible(str(error)), 80)
        _note(resumed, f"{resumed.name}:{number} does not parse ({said}): its ID is sent again")
        return None


def _keep(row: StoredRow, number: int, resumed: Resumed) -> bool:
    """Take note of a row; return whether it stays."""
    if row.outcome in SENT_AGAIN:
        resumed.retried += 1
        return False
    if row.instance_id is None:
        resumed.invalid[row.text] += 1
    elif not resumed.done.add(row.instance_id):
        _note(resumed, f"{resumed.name}:{number} is a second row for {row.text}: taken out")
        return False
    resumed.outcomes[row.outcome] += 1
    return True


def _note(resumed: Resumed, text: str) -> None:
    if len(resumed.notes) < _MOST_NOTES:
        resumed.notes.append(text)


def _repair(path: Path, form: Format, whole: int, dropped: set[int]) -> None:
    try:
        if dropped:
            _rewrite(path, whole, dropped)
        else:
            with path.open("r+b") as file:
                file.truncate(whole)
                if whole == 0 and form.header:
                    file.write(form.header)
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise ResultsError(
            f"cannot repair {path} ({error.strerror or error}): make room or allow writing, and "
            "run the same command again"
        ) from None


def _rewrite(path: Path, whole: int, dropped: set[int]) -> None:
    """Replace the file by one without the rows that begin at `dropped`, all or nothing."""
    temporary = path.with_name(f".{path.name}.rewrite")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as new, path.open("rb") as old:
            at = 0
            for line in old:
                if at >= whole:
                    break
                if at not in dropped:
                    new.write(line)
                at += len(line)
            new.flush()
            os.fsync(new.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def sync_directory(directory: Path) -> None:
    """Make a new or replaced name survive a power cut, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
