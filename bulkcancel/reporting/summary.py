"""What a run came to: as a table for people, as JSON for scripts."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from bulkcancel.errors import UsageError
from bulkcancel.models import SUCCESSES, Outcome
from bulkcancel.quantities import show_duration
from bulkcancel.results import is_replaceable, open_in_place, replacing, write_all
from bulkcancel.text import shorten, visible

if TYPE_CHECKING:
    from rich.console import Console

_MOST_ERRORS = 8
_MOST_LOGGED = 20


@dataclass(slots=True)
class Summary:
    """The figures of a finished run; the keys of `--summary`.

    They add up: `rows_in` = `results` + `duplicates` + `filtered` + `unanswered` +
    `not_reached`, where `results` are this run's rows and those an earlier run had left in a
    resumed file. Times are UTC, ISO 8601.
    """

    version: str
    """Of bulkcancel."""
    host: str
    inputs: list[str]
    output: str
    exit_code: int
    reason: str
    """Why the run ended early; empty where it did not."""
    rows_in: int
    duplicates: int
    filtered: int
    unanswered: int
    """IDs sent, and without a final answer when the run stopped."""
    not_reached: int
    results: int
    already_done: int
    """Of `results`, those that an earlier run had left."""
    kept_failures: int
    """Failures that an earlier run had left in the results file; they make the exit code 1."""
    outcomes: dict[str, int]
    """This run's rows by outcome."""
    errors: list[dict[str, object]] = field(default_factory=list)
    """This run's failures grouped by error, most frequent first, each with an example."""
    requests: int = 0
    retries: int = 0
    throttled: int = 0
    started_at: str = ""
    ended_at: str = ""
    seconds: float = 0.0
    resume_command: str = ""
    resume_needs: str = ""
    """What that command cannot hold, in words to stand before it; empty where it works alone."""
    ok: list[str] = field(default_factory=list)
    """Outcomes that `--ok` counts as success."""

    def is_success(self, word: str) -> bool:
        """Return whether an outcome counts as success in this run."""
        return Outcome(word) in SUCCESSES or word in self.ok

    @property
    def succeeded(self) -> int:
        """Rows of this run that count as success."""
        return sum(n for word, n in self.outcomes.items() if self.is_success(word))

    @property
    def failed(self) -> int:
        """Rows of this run that do not."""
        return sum(self.outcomes.values()) - self.succeeded

    @property
    def did_nothing(self) -> bool:
        """Whether it ended before anything was sent or written."""
        return bool(self.reason) and not self.requests and not self.outcomes

    def as_event(self) -> dict[str, object]:
        """Return the same as keys of a log event, its errors cut to the most frequent."""
        return asdict(self) | {
            "errors": self.errors[:_MOST_LOGGED],
            "seconds": round(self.seconds, 3),
        }

    def as_json(self) -> str:
        """Return one JSON object, indented, with a final line end."""
        return json.dumps(asdict(self), indent=2) + "\n"


def write_summary(path: str, summary: Summary) -> None:
    """Write the summary as JSON: a plain file is replaced whole, all else is written in place.

    `-` is standard output. Raises `UsageError`.
    """
    target, data = Path(path), summary.as_json().encode()
    try:
        if path == "-":
            write_all(1, data)
        elif is_replaceable(target):
            with replacing(target) as file:
                file.write(data)
        else:
            descriptor = open_in_place(target, os.O_TRUNC)
            try:
                write_all(descriptor, data)
            finally:
                os.close(descriptor)
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
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("outcome")
    table.add_column("IDs", justify="right")
    table.add_column("")
    for word, meaning in _MEANINGS.items():
        count = summary.outcomes.get(word, 0)
        if count:
            style = "green" if summary.is_success(word) else "red"
            table.add_row(Text(word, style), f"{count:,}", Text(meaning, "dim"))
    if summary.outcomes:
        console.print(table)
        console.print()
    for line in _notes(summary):
        console.print(line, highlight=False, markup=False)
    _print_errors(console, summary)


_MEANINGS = {
    "accepted": "cancelling was requested; the run had not stopped yet",
    "canceled": "stopped",
    "completed": "had ended by itself",
    "not_found": "no such run",
    "rejected": "the server refused this cancel",
    "invalid": "no instance ID; nothing was sent",
    "forbidden": "the token has no right to this workflow",
    "failed": "no final answer: see the error of each",
    "unconfirmed": "never seen to stop",
}


def _notes(summary: Summary) -> list[str]:
    first = (
        f"{summary.succeeded:,} succeeded, {summary.failed:,} failed in "
        f"{show_duration(summary.seconds)} with {summary.requests:,} requests "
        f"({summary.retries:,} retries, {summary.throttled:,} throttled)."
    )
    parts = []
    if summary.already_done:
        parts.append(f"{summary.already_done:,} done by an earlier run")
    if summary.duplicates:
        parts.append(f"{summary.duplicates:,} duplicates sent once")
    if summary.filtered:
        parts.append(f"{summary.filtered:,} left out by --where")
    if summary.unanswered:
        parts.append(f"{summary.unanswered:,} sent, no final answer")
    if summary.not_reached:
        parts.append(f"{summary.not_reached:,} not reached")
    if summary.kept_failures:
        parts.append(f"{summary.kept_failures:,} failures of an earlier run stay in the results")
    if parts:
        return [first, f"Of {summary.rows_in:,} input rows: {', '.join(parts)}."]
    return [first]


def _print_errors(console: Console, summary: Summary) -> None:
    if not summary.errors:
        return
    console.print()
    for group in summary.errors[:_MOST_ERRORS]:
        line = Text(f"{group['count']:>7,} × ", "red")  # noqa: RUF001 - the sign for "times"
        line.append(visible(str(group["error"])), "default")
        if group["example"]:
            line.append(f"  e.g. {shorten(visible(str(group['example'])), 60)}", "dim")
        console.print(line)
    if len(summary.errors) > _MOST_ERRORS:
        console.print(f"        … and {len(summary.errors) - _MOST_ERRORS} more kinds of error")
    console.print()


def _what_next(summary: Summary) -> list[str]:
    if summary.resume_command:
        needs = f"{summary.resume_needs}: " if summary.resume_needs else ""
        return [f"To finish: {needs}{visible(summary.resume_command)}"]
    if summary.output == "-" or summary.did_nothing:
        return []
    if summary.failed or summary.kept_failures:
        return [f"The rows that failed say why: {visible(summary.output)}"]
    return [f"Results: {visible(summary.output)}"]
