"""The summary of a run as a person sees it: what happened, why, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from bulkcancel.models import MEANINGS
from bulkcancel.quantities import count_of, show_duration
from bulkcancel.reporting.failures import print_failures
from bulkcancel.reporting.terminal import print_table
from bulkcancel.text import visible

if TYPE_CHECKING:
    from rich.console import Console

    from bulkcancel.reporting.summary.figures import Summary


def print_summary(console: Console, summary: Summary) -> None:
    """Print what happened, the failures grouped by error, and what to do next."""
    console.print()
    if not summary.did_nothing:
        _print_figures(console, summary)
    if summary.reason:
        stopped = "Stopped: " if summary.exit_code > 1 else ""
        console.print(Text(f"{stopped}{visible(summary.reason)}", "bold red"))
    for line in _what_next(summary):
        copied = summary.resume_command or not console.is_terminal
        console.print(line, highlight=False, markup=False, soft_wrap=bool(copied))


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
        print_table(console, table)
        console.print()
    for line in _notes(summary):
        console.print(line, highlight=False, markup=False)
    if stats.errors:
        console.print()
        print_failures(console, stats.grouped_errors())
        console.print()


def _notes(summary: Summary) -> list[str]:
    stats = summary.stats
    first = (
        f"{stats.succeeded:,} succeeded, {stats.failed:,} failed in "
        f"{show_duration(summary.seconds)} with {count_of(stats.requests, 'request')} "
        f"({count_of(stats.retries, 'retry')}, {stats.throttled:,} throttled)."
    )
    counts = (
        (summary.already_done, f"{summary.already_done:,} done by an earlier run"),
        (summary.duplicates, f"{count_of(summary.duplicates, 'duplicate')} sent once"),
        (left_out := summary.filtered - summary.other_shards, f"{left_out:,} left out by --where"),
        (summary.other_shards, f"{summary.other_shards:,} of other shards"),
        (summary.unanswered, f"{summary.unanswered:,} sent, no final answer"),
        (summary.not_reached, f"{summary.not_reached:,} not reached"),
    )
    parts = ", ".join(words for count, words in counts if count)
    rows = count_of(summary.rows_in, "input row")
    notes = [first, f"Of {rows}: {parts}."] if parts else [first]
    if summary.kept_failures:
        stay = "stays" if summary.kept_failures == 1 else "stay"
        kept = count_of(summary.kept_failures, "failure")
        notes.append(f"{kept} of an earlier run {stay} in the results.")
    if stats.looks:
        notes.append(f"Asked {count_of(stats.looks, 'time')} what has become of accepted ones.")
    if summary.looks_ended:
        notes.append(f"Not verified to the end: {visible(summary.looks_ended)}.")
    return notes


def _what_next(summary: Summary) -> list[str]:
    if summary.resume_command:
        needs = f"{summary.resume_needs}: " if summary.resume_needs else ""
        return [f"To finish: {needs}{visible(summary.resume_command)}"]
    if summary.output == "-" or summary.did_nothing:
        return []
    if summary.stats.failed or summary.kept_failures:
        return [f"The rows that failed say why: {visible(summary.output)}"]
    return [f"Results: {visible(summary.output)}"]
