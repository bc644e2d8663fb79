"""Why IDs failed: grouped by error, each with the first ID and the line that it stands in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from bulkcancel.quantities import count_of
from bulkcancel.reporting.terminal import print_table
from bulkcancel.text import shorten, visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

_MOST_ERRORS = 8


def print_failures(console: Console, errors: Sequence[Mapping[str, object]]) -> None:
    """Print the groups of `Stats.grouped_errors`, the first eight of them."""
    shown = errors[:_MOST_ERRORS]
    width = max(len(f"{group['count']:,}") for group in shown)
    console.print(Text("Why they failed, and the first of each:", "bold"))
    for group in shown:
        line = Table.grid()
        line.add_column(width=width + 3, no_wrap=True)
        line.add_column(overflow="fold")
        times = f"{group['count']:>{width},} × "  # noqa: RUF001 - the sign for "times"
        line.add_row(Text(times, "red"), Text(visible(str(group["error"]))))
        print_table(console, line)
        _print_example(console, str(group["example"]), str(group["source"]), width + 3)
    if (more := len(errors) - _MOST_ERRORS) > 0:
        console.print(f"… and {count_of(more, 'more kind')} of error")


def _print_example(console: Console, example: str, source: str, indent: int) -> None:
    """Print an ID and its line, each in one piece where there is room for it."""
    parts = [each for each in (shorten(visible(example), 60), visible(source)) if each]
    joined = "  ".join(parts)
    for part in [joined] if indent + cell_len(joined) <= console.width else parts:
        room = max(0, console.width - cell_len(part))
        console.print(Text(" " * min(indent, room) + part, "dim", overflow="fold"))
