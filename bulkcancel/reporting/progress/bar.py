"""The bar of a terminal: one line of bar, then figures, each in one piece."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bulkcancel.reporting.progress.live import Live

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from rich.console import Console, ConsoleRenderable

    from bulkcancel.reporting.progress.gauge import Gauge

_SEPARATOR = " · "
_SHORTEST_BAR = 4


class Bar:
    """The progress of a run as long as the context lasts; nothing of it stays."""

    def __init__(self, console: Console, gauge: Gauge) -> None:
        self._gauge = gauge
        self._live = Live(console, self.render)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__()

    def render(self, width: int) -> ConsoleRenderable:
        """Return the lines for a terminal of `width` columns."""
        gauge = self._gauge
        if gauge.total is None:
            head: ConsoleRenderable = _with_end(f"{gauge.done:,} done", gauge.left(), width)
        else:
            head = _bar(
                f"{gauge.done:,}/{gauge.total:,}",
                gauge.done,
                gauge.total,
                f"{gauge.share()}  {gauge.left()}",
                width,
            )
        state = [Text(gauge.state, "yellow")] if gauge.state else []
        return Group(head, _flow(gauge.figures(), width), *state)


class ReadingBar:
    """A bar for inputs that take seconds to check; nothing is drawn for those that do not."""

    _PATIENCE_S = 0.5

    def __init__(self, console: Console) -> None:
        self._live = Live(console, self.render)
        self._began = time.monotonic()
        self._shown = False
        self._read, self._total = 0, 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._live.__exit__()

    def update(self, bytes_read: int, bytes_total: int) -> None:
        """Show how much of the inputs is read."""
        self._read, self._total = bytes_read, max(bytes_total, 1)
        if not self._shown and time.monotonic() - self._began >= self._PATIENCE_S:
            self._shown = True
            self._live.__enter__()

    def render(self, width: int) -> ConsoleRenderable:
        """Return the line for a terminal of `width` columns."""
        share = f"{100 * self._read // self._total}%"
        return _bar("checking the input", self._read, self._total, share, width)


def _bar(before: str, done: int, total: int, after: str, width: int) -> ConsoleRenderable:
    """Return a bar between two texts, or these alone where there is no room for one."""
    if width < len(before) + len(after) + 2 + _SHORTEST_BAR:
        return _with_end(before, after, width)
    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(no_wrap=True)
    line.add_column(ratio=1)
    line.add_column(no_wrap=True)
    bar = ProgressBar(
        total=max(total, 1),
        completed=done,
        style="bright_black",
        complete_style="cyan",
        finished_style="cyan",
    )
    line.add_row(Text(before), bar, Text(after))
    return line


def _with_end(before: str, after: str, width: int) -> Text:
    gap = width - len(before) - len(after)
    return Text(f"{before}{' ' * gap}{after}" if gap > 0 else f"{before} {after}")


def _flow(figures: Iterable[tuple[str, str]], width: int) -> Text:
    """Return the figures as lines that are broken between them alone."""
    text, used = Text(), 0
    for figure, style in figures:
        if used and used + len(_SEPARATOR) + len(figure) > width:
            text.append("\n")
            used = 0
        elif used:
            text.append(_SEPARATOR, "dim")
            used += len(_SEPARATOR)
        text.append(figure, style)
        used += len(figure)
    return text
