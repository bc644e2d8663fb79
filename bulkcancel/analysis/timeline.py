"""What happened when, in bounded memory, for a run of any length; rows may come in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_DAY = 86_400_000
# Widths that people read, each a multiple of the one before: so intervals can be put together.
_WIDTHS_MS = (
    100, 500, 1_000, 5_000, 15_000, 30_000, 60_000, 300_000, 900_000, 1_800_000, 3_600_000,
    10_800_000, 21_600_000, 43_200_000, _DAY, 10 * _DAY, 100 * _DAY, 1_000 * _DAY, 10_000 * _DAY,
    100_000 * _DAY, 1_000_000 * _DAY, 10_000_000 * _DAY,
)  # fmt: skip
_MOST_KEPT = 2_000
_FEWEST_SHOWN, _MOST_SHOWN = 12, 120
_ROWS_EACH = 4


class Interval(NamedTuple):
    """What finished within one interval."""

    counts: Sequence[int]
    """Rows by outcome, in the order of `Outcome`."""
    attempts: int
    """Requests that were sent for them."""


@dataclass(frozen=True, slots=True)
class Times:
    """When rows were finished; times are milliseconds since 1970, UTC."""

    first_ms: int
    last_ms: int
    begins_ms: int
    """Where the first interval begins."""
    width_ms: int
    intervals: Sequence[Interval]
    """One after another, without gaps."""

    @property
    def seconds(self) -> float:
        """From the first row to the last."""
        return (self.last_ms - self.first_ms) / 1000


class Timeline:
    """Counts rows by the time they were finished at, in intervals that widen when they are many."""

    def __init__(self, outcomes: int) -> None:
        self._level = 0
        self._width_ms = _WIDTHS_MS[0]
        self._nothing = [0] * (outcomes + 1)
        self._kept: dict[int, list[int]] = {}
        self._first_ms, self._last_ms = 1 << 62, -(1 << 62)

    def add(self, finished_ms: int, outcome: int, attempts: int) -> None:
        """Count one row by the number of its outcome."""
        index = finished_ms // self._width_ms
        counts = self._kept.get(index)
        if counts is None:
            counts = self._kept[index] = self._nothing.copy()
        counts[outcome] += 1
        counts[-1] += attempts
        self._first_ms = min(self._first_ms, finished_ms)
        self._last_ms = max(self._last_ms, finished_ms)
        while len(self._kept) > _MOST_KEPT:
            self._widen()

    def times(self) -> Times | None:
        """Return all of it, in few intervals where rows are few; `None` where there was none."""
        if not self._kept:
            return None
        # Of few rows narrow intervals show gaps and spikes, and nothing of the pace.
        rows = sum(sum(counts[:-1]) for counts in self._kept.values())
        most = min(_MOST_SHOWN, max(_FEWEST_SHOWN, rows // _ROWS_EACH))
        while max(self._kept) - min(self._kept) >= most:
            self._widen()
        begins = min(self._kept)
        found = [self._kept.get(at, self._nothing) for at in range(begins, max(self._kept) + 1)]
        return Times(
            first_ms=self._first_ms,
            last_ms=self._last_ms,
            begins_ms=begins * self._width_ms,
            width_ms=self._width_ms,
            intervals=[Interval(tuple(each[:-1]), each[-1]) for each in found],
        )

    def _widen(self) -> None:
        old_width = self._width_ms
        self._level += 1
        self._width_ms = _WIDTHS_MS[self._level]
        factor, old, self._kept = self._width_ms // old_width, self._kept, {}
        for index, counts in old.items():
            into = self._kept.setdefault(index // factor, self._nothing.copy())
            for at, count in enumerate(counts):
                into[at] += count
