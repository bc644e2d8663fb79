"""The run as it goes on: a bar on a terminal, an event every ten seconds in a log."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bulkcancel.models import Outcome
from bulkcancel.quantities import show_duration

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from rich.console import ConsoleOptions, RenderResult
    from structlog.typing import FilteringBoundLogger

    from bulkcancel.engine import Stats

_EVENT_EVERY_S = 10.0
_WINDOW_S = 10.0


@dataclass(slots=True)
class Gauge:
    """What there is to show: the figures of the run, and how far and how fast it is."""

    stats: Stats
    total: int | None
    """Results this run will write; `None` for a pipe."""
    ceiling_per_s: float | None
    pace_per_s: Callable[[], float]
    asks_only: bool = False
    """Whether nothing is cancelled: what is done are looks."""
    state: str = ""
    """Why the run is not at full pace, or that it is stopping."""
    began: float = field(default_factory=time.monotonic)
    _marks: deque[tuple[float, int, int]] = field(default_factory=lambda: deque(maxlen=64))

    @property
    def done(self) -> int:
        """How much of the total is done."""
        if self.asks_only and self.total is not None:
            return self.total - self.stats.unchecked
        return self.stats.done

    def rates(self) -> tuple[float, float]:
        """Return results and requests a second over about the last ten seconds."""
        now = time.monotonic()
        sent = self.stats.requests + self.stats.looks
        marks = self._marks
        if not marks or now - marks[-1][0] >= 0.2:
            marks.append((now, self.done, sent))
        while len(marks) > 2 and now - marks[1][0] > _WINDOW_S:
            marks.popleft()
        since, done, requests = marks[0]
        seconds = now - since
        if seconds < 0.2:
            return 0.0, 0.0
        # Of n evenly spaced requests since there were none, n - 1 intervals have passed.
        sent -= requests or min(sent, 1)
        return (self.done - done) / seconds, sent / seconds

    def eta_s(self) -> float | None:
        """Return the seconds left at the present speed, if that can be said."""
        speed = self.rates()[0]
        if self.total is None or speed <= 0:
            return None
        return max(self.total - self.done, 0) / speed


class ReadingBar:
    """A bar for inputs that take seconds to check; nothing is drawn for those that do not."""

    _PATIENCE_S = 0.5

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("checking the input"),
            BarColumn(),
            TaskProgressColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None)
        self._began = time.monotonic()
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._progress.stop()

    def update(self, bytes_read: int, bytes_total: int) -> None:
        """Show how much of the inputs is read."""
        if not self._shown:
            if time.monotonic() - self._began < self._PATIENCE_S:
                return
            self._progress.start()
            self._shown = True
        self._progress.update(self._task, completed=bytes_read, total=bytes_total)


class Bar:
    """The progress bar of a terminal: one line of bar, one or two of figures."""

    def __init__(self, console: Console, gauge: Gauge) -> None:
        self._gauge = gauge
        self._live = Live(
            self,
            console=console,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        gauge = self._gauge
        done, total = gauge.done, gauge.total
        head = Table.grid(padding=(0, 1), expand=True)
        head.add_column(no_wrap=True)
        head.add_column(ratio=1)
        head.add_column(no_wrap=True, justify="right")
        eta_s = gauge.eta_s()
        left = f"{show_duration(eta_s)} left" if eta_s is not None else ""
        if total is None:
            head.add_row(Text(f"{done:,} done"), Text(""), Text(_since(gauge)))
        else:
            share = f"{done / total:.0%}" if total else "100%"
            head.add_row(
                Text(f"{done:,}/{total:,}"),
                ProgressBar(total=max(total, 1), completed=done),
                Text(f"{share}  {left or _since(gauge)}"),
            )
        yield Group(head, self._figures())

    def _figures(self) -> Text:
        gauge, stats = self._gauge, self._gauge.stats
        line = Text(overflow="fold")
        for outcome in Outcome:
            if stats.outcomes[outcome]:
                style = "green" if outcome in stats.successes else "red"
                line.append(f"{stats.outcomes[outcome]:,} {outcome}", style)
                line.append(" · ", "dim")
        requests_per_s = gauge.rates()[1]
        ceiling = "auto" if gauge.ceiling_per_s is None else f"{gauge.ceiling_per_s:g}"
        line.append(f"{requests_per_s:.1f}/s of {ceiling} · {stats.in_flight} in flight")
        if stats.unchecked and not gauge.asks_only:
            line.append(f" · {stats.unchecked:,} to confirm")
        if stats.retries:
            line.append(f" · {stats.retries:,} retries", "yellow")
        pace = gauge.pace_per_s()
        if gauge.ceiling_per_s is not None and pace < 0.99 * gauge.ceiling_per_s:
            line.append(f" · pace {pace:.1f}/s", "yellow")
        if gauge.state:
            line.append(f" · {gauge.state}", "bold yellow")
        return line


def _since(gauge: Gauge) -> str:
    return f"{show_duration(time.monotonic() - gauge.began)} so far"


async def log_progress(gauge: Gauge, log: FilteringBoundLogger) -> None:
    """Log how far the run is, every ten seconds until cancelled."""
    stats = gauge.stats
    gauge.rates()
    while True:
        await anyio.sleep(_EVENT_EVERY_S)
        eta_s = gauge.eta_s()
        done_per_s, requests_per_s = gauge.rates()
        log.info(
            "run.progress",
            done=gauge.done,
            total=gauge.total,
            outcomes={str(k): n for k, n in stats.outcomes.items()},
            done_per_s=round(done_per_s, 2),
            requests_per_s=round(requests_per_s, 2),
            pace_per_s=round(gauge.pace_per_s(), 2),
            in_flight=stats.in_flight,
            retries=stats.retries,
            unchecked=stats.unchecked,
            eta_s=None if eta_s is None else round(eta_s),
        )
