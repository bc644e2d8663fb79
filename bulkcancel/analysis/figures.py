"""The figures of results files: counted row by row, frozen at the end, ready for JSON."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from bulkcancel.analysis.groups import Group, Groups
from bulkcancel.analysis.latency import Latencies
from bulkcancel.analysis.timeline import Timeline
from bulkcancel.ids import ANY_ID
from bulkcancel.models import SUCCESSES, CancelResult, Outcome
from bulkcancel.results import timestamp
from bulkcancel.text import shorten
from bulkcancel.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bulkcancel.analysis.timeline import Times

SCHEMA = 1
"""Of the JSON; a key that is taken away or means something else makes it another."""
OUTCOMES = tuple(Outcome)
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
MOST_FAILURES = 2_000
"""Failures that are kept, each with its row."""
_MOST_ATTEMPTS = 10**9
"""Of one row: what a damaged file says beyond it counts as that, and sums can still be drawn."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
_INDEX = {outcome: at for at, outcome in enumerate(OUTCOMES)}
_FAILURES = frozenset(OUTCOMES) - SUCCESSES
_MOST_MODELS, _MOST_ERRORS, _MOST_HOSTS, _LONGEST = 100, 50, 20, 300


class Model(NamedTuple):
    """A workflow model in one version, as the server named them; `None` where it did not."""

    name: str | None
    version: str | None
    id: str | None


@dataclass(slots=True)
class FileFigures:
    """What one of the files holds."""

    name: str
    form: str = ""
    rows: int = 0
    """Whole rows, those of which another one counts among them."""
    unreadable: int = 0
    torn_bytes: int = 0
    """Of a last row that is not whole; 0 where it is."""
    outcomes: Sequence[int] = ()
    """Of the rows that count, in the order of `Outcome`."""

    def count_of(self, *outcomes: Outcome) -> int:
        """Return how many rows that count have one of these outcomes."""
        return sum(self.outcomes[_INDEX[each]] for each in outcomes)


@dataclass(frozen=True, slots=True)
class Figures:
    """What results files say; several count as one."""

    files: Sequence[FileFigures]
    rows: int
    """Rows that count."""
    superseded: int
    """Rows of an ID of which a later row counts; looked for where there are several files."""
    merged: bool
    """Whether that was looked for."""
    notes: Sequence[str]
    """Which lines cannot be read."""
    outcomes: Mapping[Outcome, int]
    """Those that there are."""
    hosts: Sequence[Group[str]]
    models: Sequence[Group[Model]]
    other_models: Sequence[int]
    errors: Sequence[Group[str]]
    """Failures by error, IDs in it left out."""
    other_errors: Sequence[int]
    exact: bool
    """Whether each model and error is counted exactly; else there were thousands of them."""
    attempts: int
    latencies: Latencies
    times: Times | None
    failures: Sequence[CancelResult]
    """Some of each failed outcome, the first ones; all of the rare ones."""

    @property
    def failed(self) -> int:
        """Rows whose outcome counts as failure."""
        return sum(self.outcomes.get(each, 0) for each in _FAILURES)

    @property
    def unreadable(self) -> int:
        """Lines that do not parse, without those that are not whole."""
        return sum(each.unreadable for each in self.files)

    @property
    def torn(self) -> int:
        """Files whose last row is not whole."""
        return sum(each.torn_bytes > 0 for each in self.files)

    @property
    def rate_per_s(self) -> float | None:
        """Rows finished a second, from first to last; `None` where no time passed."""
        return self.rows / self.times.seconds if self.times and self.times.seconds else None

    def as_dict(self) -> dict[str, object]:
        """Return the keys of `--json` in their order. Texts are as the file has them."""
        times = self.times
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "files": [
                {
                    "name": each.name,
                    "format": each.form,
                    "rows": each.rows,
                    "unreadable": each.unreadable,
                    "torn_bytes": each.torn_bytes,
                }
                for each in self.files
            ],
            "rows": self.rows,
            "superseded": self.superseded if self.merged else None,
            "unreadable": self.unreadable,
            "torn": self.torn,
            "notes": [*self.notes],
            "succeeded": self.rows - self.failed,
            "failed": self.failed,
            "outcomes": {str(word): count for word, count in self.outcomes.items()},
            "hosts": {group.key: group.total for group in self.hosts},
            "models": [
                {**group.key._asdict(), "rows": group.total, "outcomes": named(group.counts)}
                for group in self.models
            ],
            "other_models": sum(self.other_models),
            "errors": [
                {
                    "error": group.key,
                    "count": group.total,
                    "outcomes": named(group.counts),
                    "example": group.example,
                    "source": group.source,
                }
                for group in self.errors
            ],
            "other_errors": sum(self.other_errors),
            "exact": self.exact,
            "attempts": self.attempts,
            "latency_ms": {
                "count": self.latencies.count,
                **{name: self.latencies.quantile_ms(q) for name, q in QUANTILES.items()},
                "max": self.latencies.max_ms if self.latencies.count else None,
                "mean": self.latencies.mean_ms,
                "bars": [each._asdict() for each in self.latencies.bars()],
            },
            "first": iso(times.first_ms) if times else None,
            "last": iso(times.last_ms) if times else None,
            "seconds": times.seconds if times else None,
            "rate_per_s": self.rate_per_s,
            "interval_s": times.width_ms / 1000 if times else None,
            "intervals": [
                {
                    "begins": iso(times.begins_ms + at * times.width_ms),
                    "outcomes": named(each.counts),
                    "attempts": each.attempts,
                }
                for at, each in enumerate(times.intervals)
            ]
            if times
            else [],
        }


def named(counts: Sequence[int]) -> dict[str, int]:
    """Return counts in the order of `Outcome` by its words, without those that are 0."""
    return {str(word): n for word, n in zip(OUTCOMES, counts, strict=True) if n}


def failed_of(counts: Sequence[int]) -> int:
    """Return how many of counts in the order of `Outcome` are failures."""
    return sum(n for word, n in zip(OUTCOMES, counts, strict=True) if word in _FAILURES)


def iso(time_ms: int) -> str:
    """Return ISO 8601 in UTC to the millisecond."""
    return timestamp(moment(time_ms))


def moment(time_ms: int) -> datetime:
    """Return a time in UTC; one beyond the calendar, as an interval may begin, is its end."""
    return _EPOCH + timedelta(milliseconds=min(max(time_ms, _FIRST_MS), _LAST_MS))


class Counter:
    """Counts rows; memory is bounded."""

    def __init__(self, files: int) -> None:
        size = len(OUTCOMES)
        self._files = [[0] * size for _ in range(files)]
        self._hosts = Groups[str](size, _cut_text)
        self._models = Groups[Model](size, _cut_model)
        self._errors = Groups[str](size)
        self._latencies, self._timeline = Latencies(), Timeline(size)
        self._attempts = 0
        self._failures = {each: deque[CancelResult]() for each in _FAILURES}

    def add(self, row: CancelResult, finished_s: float, file: int) -> None:
        """Count one row of the file with that number."""
        outcome = _INDEX[row.outcome]
        self._files[file][outcome] += 1
        self._hosts.add(row.host, outcome, row)
        self._models.add(_new_model(row[3:6]), outcome, row)
        attempts = min(row.attempts, _MOST_ATTEMPTS)
        self._attempts += attempts
        if row.latency_ms is not None:
            self._latencies.add(row.latency_ms)
        self._timeline.add(round(finished_s * 1000), outcome, attempts)
        if row.outcome in _FAILURES:
            self._errors.add(ANY_ID.sub("…", shorten(row.error, _LONGEST)), outcome, row)
            kept = self._failures[row.outcome]
            if len(kept) < MOST_FAILURES:
                kept.append(_cut(row))

    def figures(
        self, files: Sequence[FileFigures], notes: Sequence[str], *, superseded: int | None
    ) -> Figures:
        """Return what was counted; `superseded` is `None` where that was not looked for."""
        for file, counts in zip(files, self._files, strict=True):
            file.outcomes = tuple(counts)
        outcomes = [sum(counts) for counts in zip(*self._files, strict=True)]
        models, other_models = self._models.most_frequent(_MOST_MODELS)
        errors, other_errors = self._errors.most_frequent(_MOST_ERRORS)
        return Figures(
            files=files,
            rows=sum(outcomes),
            superseded=superseded or 0,
            merged=superseded is not None,
            notes=notes,
            outcomes={word: n for word, n in zip(OUTCOMES, outcomes, strict=True) if n},
            hosts=self._hosts.most_frequent(_MOST_HOSTS)[0],
            models=models,
            other_models=other_models,
            errors=errors,
            other_errors=other_errors,
            exact=self._models.exact and self._errors.exact,
            attempts=self._attempts,
            latencies=self._latencies,
            times=self._timeline.times(),
            failures=self._some_of_each(),
        )

    def _some_of_each(self) -> list[CancelResult]:
        """Return as many failures as are kept; the rare outcomes first, as they all fit."""
        some: list[CancelResult] = []
        kept = sorted(self._failures.values(), key=len)
        for at, rows in enumerate(kept):
            share = (MOST_FAILURES - len(some)) // (len(kept) - at)
            some += [row for row, _ in zip(rows, range(share), strict=False)]
        return some


_new_model = Model._make


def _cut_text(text: str) -> str:
    return text[:_LONGEST]


def _cut_model(model: Model) -> Model:
    return Model._make(part and part[:_LONGEST] for part in model)


def _cut(row: CancelResult) -> CancelResult:
    """Return a row whose texts take no more room than is kept for them."""
    if sum(map(len, (row.error, row.model_name or "", row.source, row.instance_id))) < _LONGEST:
        return row
    return row._replace(
        instance_id=shorten(row.instance_id, 80),
        error=shorten(row.error, _LONGEST),
        model_name=row.model_name and shorten(row.model_name, 80),
        source=shorten(row.source, 120),
    )
