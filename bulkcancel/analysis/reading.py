"""Results files to their figures: one pass, a second one only where IDs come more than once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkcancel.analysis.figures import Counter, Figures, FileFigures
from bulkcancel.analysis.merging import Latest
from bulkcancel.results import RowReader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO


def analyse(files: Mapping[str, BinaryIO]) -> Figures:
    """Return what open results files say, by their names for messages; several count as one.

    One file is read as a stream, in bounded memory. Several must be seekable, and cost about 55
    bytes an ID: the IDs that come more than once count once. Raises `InputError`.
    """
    latest = Latest() if len(files) > 1 else None
    counter = Counter(len(files))
    found, notes, ends = list[FileFigures](), list[str](), list[int]()
    for number, (name, file) in enumerate(files.items()):
        reader = RowReader(file, name)
        for row in reader:
            finished_s = row.finished_at.timestamp()
            if latest is not None:
                latest.add(row, finished_s)
                if latest.count:  # all are counted anew below
                    continue
            counter.add(row, finished_s, number)
        found.append(FileFigures(name, reader.form, reader.rows, reader.unreadable, reader.torn))
        notes += reader.notes
        ends.append(reader.whole)
    if latest is not None and latest.count:
        counter = _count_the_latest(files, ends, latest)
    return counter.figures(found, notes, superseded=latest.count if latest else None)


def _count_the_latest(files: Mapping[str, BinaryIO], ends: list[int], latest: Latest) -> Counter:
    """Read the same rows again, without those that are superseded."""
    counter, superseded = Counter(len(files)), iter(latest.superseded)
    for number, (name, file) in enumerate(files.items()):
        file.seek(0)
        for row in RowReader(file, name, until=ends[number]):
            if not next(superseded, 1):
                counter.add(row, row.finished_at.timestamp(), number)
    return counter
