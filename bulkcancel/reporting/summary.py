"""The summary of a run: a table for people, JSON for scripts."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from bulkcancel.errors import UsageError
from bulkcancel.models import Outcome
from bulkcancel.quantities import show_duration
from bulkcancel.results import write_whole
from bulkcancel.text import shorten, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from bulkcancel.engine import Stats

_MOST_ERRORS = 8
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
        keys: dict[str, object] = {}
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


def print_summary(console: Console, summary: Summary) -> None:
    """Print what happened, the failures grouped by error, and what to do next."""
    console.print()
    if not summary.did_nothing:
        _print_figures(console, summary)
    if summary.reason:
        stopped = "Stopped: " if summary.exit_code > 1 else ""
        console.print(Text(f"{stopped}{visible(summary.reason)}", "bold red"))
    for line in _what_next(summary):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _print_figures(console: Console, summary: Summary) -> None:
    stats = summary.stats
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("outcome")
    table.add_column("IDs", justify="right")
    table.add_column("")
    for outcome, meaning in _MEANINGS.items():
        if count := stats.outcomes[outcome]:
            style = "green" if outcome in stats.successes else "red"
            table.add_row(Text(outcome, style), f"{count:,}", Text(meaning, "dim"))
    if stats.done:
        console.print(table)
        console.print()
    for line in _notes(summary):
        console.print(line, highlight=False, markup=False)
    _print_errors(console, summary)


_MEANINGS = {
    Outcome.ACCEPTED: "cancelling was requested; the run had not stopped yet",
    Outcome.CANCELED: "stopped",
    Outcome.COMPLETED: "had ended by itself",
    Outcome.NOT_FOUND: "no such run",
    Outcome.REJECTED: "the server refused this cancel",
    Outcome.INVALID: "no instance ID; nothing was sent",
    Outcome.FORBIDDEN: "the token has no right to this workflow",
    Outcome.FAILED: "no final answer: see the error of each",
    Outcome.UNCONFIRMED: "never seen to stop",
}


def _notes(summary: Summary) -> list[str]:
    stats = summary.stats
    first = (
        f"{stats.succeeded:,} succeeded, {stats.failed:,} failed in "
        f"{show_duration(summary.seconds)} with {stats.requests:,} requests "
        f"({stats.retries:,} retries, {stats.throttled:,} throttled)."
    )
    counts = (
        (summary.already_done, "done by an earlier run"),
        (summary.duplicates, "duplicates sent once"),
        (summary.filtered - summary.other_shards, "left out by --where"),
        (summary.other_shards, "of other shards"),
        (summary.unanswered, "sent, no final answer"),
        (summary.not_reached, "not reached"),
        (summary.kept_failures, "failures of an earlier run stay in the results"),
    )
    parts = ", ".join(f"{count:,} {words}" for count, words in counts if count)
    notes = [first, f"Of {summary.rows_in:,} input rows: {parts}."] if parts else [first]
    if stats.looks:
        notes.append(f"Asked {stats.looks:,} times what has become of accepted ones.")
    if summary.looks_ended:
        notes.append(f"Not verified to the end: {visible(summary.looks_ended)}.")
    return notes


def _print_errors(console: Console, summary: Summary) -> None:
    errors = summary.stats.grouped_errors()
    if not errors:
        return
    console.print()
    for group in errors[:_MOST_ERRORS]:
        line = Text(f"{group['count']:>7,} × ", "red")  # noqa: RUF001 - the sign for "times"
        line.append(visible(str(group["error"])), "default")
        if group["example"]:
            line.append(f"  e.g. {shorten(visible(str(group['example'])), 60)}", "dim")
        console.print(line)
    if len(errors) > _MOST_ERRORS:
        console.print(f"        … and {len(errors) - _MOST_ERRORS} more kinds of error")
    console.print()


def _what_next(summary: Summary) -> list[str]:
    if summary.resume_command:
        needs = f"{summary.resume_needs}: " if summary.resume_needs else ""
        return [f"To finish: {needs}{visible(summary.resume_command)}"]
    if summary.output == "-" or summary.did_nothing:
        return []
    if summary.stats.failed or summary.kept_failures:
        return [f"The rows that failed say why: {visible(summary.output)}"]
    return [f"Results: {visible(summary.output)}"]
