"""The figures of a finished run: JSON for scripts, keys of a log event."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from bulkcancel.errors import UsageError
from bulkcancel.results import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bulkcancel.engine import Stats

SCHEMA_VERSION = 1
"""Raised by every new key. None is renamed, left out or given another meaning: scripts read them.

A new key is described in `schema` as well.
"""
_MOST_LOGGED = 20


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a finished run; its fields are the keys of `--summary` and of the log event.

    `Stats.figures` stand in the place of `stats`. The rows add up: `rows_in` = `results` +
    `duplicates` + `filtered` + `unanswered` + `not_reached`, where `results` are this run's rows
    and those that an earlier run left in a resumed file. Times are UTC, ISO 8601.
    """

    version: str
    """Of bulkcancel."""
    host: str
    inputs: Sequence[str]
    shard: str
    """As `3/8`; empty where there are no shards."""
    output: str
    exit_code: int
    reason: str
    """Why the run ended early; empty where it did not."""
    rows_in: int
    duplicates: int
    filtered: int
    other_shards: int
    """Of `filtered`, rows that other shards tell of; `--where` has left out the rest."""
    unanswered: int
    """IDs sent, and without a final answer when the run stopped."""
    not_reached: int
    results: int
    already_done: int
    """Of `results`, those that an earlier run left."""
    kept_failures: int
    """Failures that an earlier run left in the results file; they make the exit code 1."""
    looks_ended: str
    """Why accepted IDs were no longer looked at; empty where that was not given up."""
    stats: Stats
    started_at: str
    ended_at: str
    seconds: float
    resume_command: str
    resume_needs: str
    """What to do besides, in words to print before the command; empty where it works alone."""
    ok: Sequence[str]
    """Outcomes that `--ok` counts as success."""

    @property
    def did_nothing(self) -> bool:
        """Whether it ended before anything was sent or written."""
        return bool(self.reason) and not self.stats.requests and not self.stats.done

    def as_dict(self) -> dict[str, object]:
        """Return the keys of `--summary` in their order, ready for JSON."""
        keys: dict[str, object] = {"schema_version": SCHEMA_VERSION}
        for each in fields(self):
            value = getattr(self, each.name)
            keys |= self.stats.figures() if value is self.stats else {each.name: value}
        return keys

    def as_event(self) -> dict[str, object]:
        """Return the same as keys of a log event, its errors cut to the most frequent."""
        return self.as_dict() | {
            "errors": self.stats.grouped_errors()[:_MOST_LOGGED],
            "seconds": round(self.seconds, 3),
        }


def write_summary(path: str, summary: Summary) -> None:
    """Write the summary as JSON: a plain file is replaced whole, all else is written in place.

    `-` is standard output. Raises `UsageError`.
    """
    text = f"{json.dumps(summary.as_dict(), indent=2)}\n"
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise UsageError(f"cannot write the summary {path}: {error.strerror}") from None
