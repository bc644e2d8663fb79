"""The summary of a run as a person sees it: what happened, why, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from bulkcancel.models import MEANINGS
from bulkcancel.quantities import show_duration
from bulkcancel.text import shorten, visible

if TYPE_CHECKING:
    from rich.console import Console

    from bulkcancel.reporting.summary.figures import Summary

_MOST_ERRORS = 8


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
    for outcome, meaning in MEANINGS.items():
        if count := stats.outcomes[outcome]:
            style = "green" if outcome in stats.successes else "red"
            table.add_row(Text(outcome, style), f"{count:,}", Text(meaning, "dim"))
    if stats.done:
        console.print(table)
        console.print()
    for line in _notes(summary):
        console.print(line, highlight=False, markup=False)
    _print_errors(console, summary)


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
