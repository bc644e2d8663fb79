"""What the inputs say of each ID, in at most seven bytes, and how many say the same."""

from __future__ import annotations

from array import array
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import compress, repeat
from operator import itemgetter, sub
from typing import TYPE_CHECKING

from bulkcancel.inputs.facts.columns import NOWHERE
from bulkcancel.models import Breakdown
from bulkcancel.quantities import parse_time
from bulkcancel.text import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bulkcancel.inputs.facts.columns import Places

_MOST_WORKFLOWS = 1000
_MOST_STATUSES = 100
_LONGEST = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOCAL_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - of times that name no zone
_END_S = 1 << 32
_NOT_TOLD, _OTHER = 0, 1


class _Words(dict[str, int]):
    """The different words of one column, each with a number; beyond the limit all share one."""

    def __init__(self, most: int) -> None:
        super().__init__({"": _NOT_TOLD})
        self._words = ["", ""]
        self._most = most

    def __missing__(self, cell: str) -> int:
        if len(self) > self._most:
            return _OTHER
        word = shorten(cell.strip(), _LONGEST)
        if word not in self:
            self[word] = len(self._words)
            self._words.append(word)
        if len(cell) <= _LONGEST:
            self[cell] = self[word]
        return self[word]

    def numbers_of(self, cells: Iterable[str]) -> Iterable[int]:
        """Return the number of each cell."""
        if len(self) > self._most:  # then every other cell may be one that is not known
            return map(self.get, cells, repeat(_OTHER))
        return map(self.__getitem__, cells)

    def count(self, numbers: Counter[int]) -> dict[str, int]:
        """Return how often each word has come, the most frequent first."""
        return {
            self._words[number]: count
            for number, count in numbers.most_common()
            if number not in {_NOT_TOLD, _OTHER}
        }


class Facts:
    """What is told of each target, by its position among those of all inputs."""

    def __init__(self) -> None:
        self._places = NOWHERE
        self._held: list[Sequence[str] | None] = []
        self.add = self._held.append
        """Take the row of the next target; `None`: which cell is which is not clear."""
        self._count = 0
        """Of targets, without those held."""
        self._workflow_words = _Words(_MOST_WORKFLOWS)
        self._status_words = _Words(_MOST_STATUSES)
        self._workflows = array("H")
        self._statuses = array("B")
        self._starts = array("I")
        """In seconds since 1970; 0 is not told."""
        self._epoch = _EPOCH
        """Of the same kind as the last start: with a time zone, or without one."""
        self._kinds = set[datetime]()
        self._status_name = ""
        self._has_input_without_status = False

    def begin(self, places: Places = NOWHERE) -> None:
        """Let the rows that follow have their facts in these places."""
        self.settle()
        self._places = places
        self._status_name = self._status_name or places.status_name

    def settle(self) -> None:
        """Keep what the rows say that were taken, and let go of the rows."""
        workflow, status, start, _ = self._places
        rows = self._held
        self._has_input_without_status |= status is None and len(rows) > 0
        if self._places != NOWHERE and rows:
            told = [row for row in rows if row is not None]
            if len(told) < len(rows):
                blank = [""] * (max(workflow or 0, status or 0, start or 0) + 1)
                told = [blank if row is None else row for row in rows]
            # Hot: a million rows a file, so all of it runs in C.
            if workflow is not None:
                words = map(itemgetter(workflow), told)
                self._padded(self._workflows).extend(self._workflow_words.numbers_of(words))
            if status is not None:
                words = map(itemgetter(status), told)
                self._padded(self._statuses).extend(self._status_words.numbers_of(words))
            if start is not None:
                self._padded(self._starts).extend(self._seconds([row[start] for row in told]))
        self._count += len(rows)
        rows.clear()

    def breakdown(self, chosen: bytearray) -> Breakdown:
        """Return how many of the targets say what; `chosen` has a 1 for each that counts."""
        self.settle()
        workflows = Counter(compress(self._workflows, chosen))
        statuses = Counter(compress(self._statuses, chosen))
        told = compress(self._starts, chosen) if len(self._kinds) == 1 else ()
        starts = array("I", filter(None, told))  # a list would take ten times as much
        unclear = self._has_input_without_status or "=" in self._status_name
        return Breakdown(
            workflows=self._workflow_words.count(workflows),
            other_workflows=workflows[_OTHER],
            statuses=self._status_words.count(statuses),
            other_statuses=statuses[_OTHER],
            status_column="" if unclear else self._status_name,
            oldest=self._time(min(starts, default=0)),
            newest=self._time(max(starts, default=0)),
            without_start=sum(chosen) - len(starts),
        )

    def _padded(self, kept: array[int]) -> array[int]:
        """Return it with nothing told of the targets of inputs that did not have it."""
        kept.frombytes(bytes((self._count - len(kept)) * kept.itemsize))
        return kept

    def _seconds(self, texts: list[str]) -> list[int]:
        """Return when runs began, in whole seconds since 1970; 0 for what is no such time."""
        try:
            since = map(sub, map(datetime.fromisoformat, texts), repeat(self._epoch))
            seconds = [each.days * 86400 + each.seconds for each in since]
        except (ValueError, TypeError):
            return [*map(self._second, texts)]
        if self._epoch in self._kinds and min(seconds) > 0 and max(seconds) < _END_S:
            return seconds
        return [*map(self._second, texts)]

    def _second(self, text: str) -> int:
        time = parse_time(text.strip())
        if time is None:
            return 0
        epoch = _LOCAL_EPOCH if time.tzinfo is None else _EPOCH
        seconds = int((time - epoch).total_seconds())
        if not 0 < seconds < _END_S:
            return 0
        self._epoch = epoch
        self._kinds.add(epoch)
        return seconds

    def _time(self, seconds: int) -> datetime | None:
        if not seconds:
            return None
        (epoch,) = self._kinds
        return epoch + timedelta(seconds=seconds)
