"""The figures on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group as Stack
from rich.table import Table
from rich.text import Text

from bulkcancel.analysis.advice import steps
from bulkcancel.analysis.figures import QUANTILES, failed_of, iso, moment
from bulkcancel.analysis.groups import rest_of
from bulkcancel.models import MEANINGS, SUCCESSES
from bulkcancel.quantities import show_duration
from bulkcancel.text import shorten, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import RenderableType

    from bulkcancel.analysis.figures import Figures
    from bulkcancel.analysis.timeline import Times

_MOST_MODELS, _MOST_ERRORS, _MOST_NOTES, _MOST_NAMES = 12, 8, 5, 4
_LEVELS = " ▁▂▃▄▅▆▇█"
_CHART_WIDTH = 60


def as_text(figures: Figures) -> RenderableType:
    """Return what is printed; nothing of a file's text can move a cursor or make markup."""
    parts: list[RenderableType] = [_head(figures)]
    if figures.rows:
        parts += [Text(), _outcomes(figures), Text(), _models(figures)]
        if figures.errors:
            parts += [Text(), *_errors(figures)]
        parts += [Text(), *_pace(figures)]
    else:
        parts += [Text(), Text("There is no row yet: nothing was sent, or nothing answered.")]
    if advice := steps(figures):
        parts.append(Text())
        for step in advice:
            parts.append(Text(visible(step.said)))
            parts += [  # to be copied: never broken into lines
                Text(f"  {visible(command)}", "bold", no_wrap=True, overflow="ignore")
                for command in step.commands
            ]
    return Stack(*parts)


def show_ms(latency_ms: float | None) -> str:
    """Return a latency as a person reads it: `8.5 ms`, `120 ms`, `2.31 s`."""
    if latency_ms is None:
        return "–"  # noqa: RUF001 - nothing was sent
    if latency_ms < 9.95:
        return f"{latency_ms:.1f} ms"
    return f"{latency_ms:.0f} ms" if latency_ms < 999.5 else f"{latency_ms / 1000:,.2f} s"


def show_rate(rate: float) -> str:
    """Return a number a second: `0.25`, `9.5`, `120`."""
    if rate < 10:
        return f"{rate:.2g}" if rate < 1 else f"{rate:.1f}"
    return f"{rate:,.0f}"


def show_name(text: str | None, empty: str = "(not told)") -> str:
    """Return a name that a server has given, safe and of bounded length."""
    return shorten(visible(text), 60) if text else empty


def _head(figures: Figures) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")

    def add(name: str, said: str) -> None:
        table.add_row(Text(name, "dim"), Text(said))

    add("results", _names([each.name for each in figures.files]))
    if figures.hosts:
        add("host", _names([group.key for group in figures.hosts]))
    succeeded = figures.rows - figures.failed
    add("rows", f"{figures.rows:,}: {succeeded:,} succeeded, {figures.failed:,} failed")
    if figures.superseded:
        add("", f"{figures.superseded:,} more rows are of IDs of which a later row counts")
    if figures.times:
        add("first", f"{iso(figures.times.first_ms)}")
        took = show_duration(figures.times.seconds)
        add("last", f"{iso(figures.times.last_ms)}, {took} later")
    if figures.unreadable:
        add("unreadable", f"{figures.unreadable:,} lines that do not parse are left out")
    for note in figures.notes[:_MOST_NOTES]:
        add("note", visible(note))
    return table


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(shorten(visible(each), 200) for each in names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return f"{shown} and {more:,} more" if more > 0 else shown


def _table(*columns: str, figures: Iterable[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    right = {*figures}
    for column in columns:
        table.add_column(
            column, justify="right" if column in right else "left", no_wrap=column in right,
            overflow="fold",
        )  # fmt: skip
    return table


def _outcomes(figures: Figures) -> Table:
    table = _table("outcome", "IDs", "share", "", figures=("IDs", "share"))
    for word, count in figures.outcomes.items():
        style = "green" if word in SUCCESSES else "red"
        share = f"{count / figures.rows:.1%}"
        table.add_row(Text(word, style), f"{count:,}", share, Text(MEANINGS[word], "dim"))
    return table


def _models(figures: Figures) -> Table:
    table = _table("model", "version", "IDs", "failed", figures=("IDs", "failed"))

    def add(name: str, version: str, counts: Sequence[int]) -> None:
        table.add_row(Text(name), Text(version), f"{sum(counts):,}", _failed(counts))

    for group in figures.models[:_MOST_MODELS]:
        add(show_name(group.key.name), show_name(group.key.version, ""), group.counts)
    others = rest_of(figures.models[_MOST_MODELS:], figures.other_models)
    if any(others):
        add("(others)", "", others)
    return table


def _failed(counts: Sequence[int]) -> Text:
    failed = failed_of(counts)
    return Text(f"{failed:,}", "red" if failed else "dim")


def _errors(figures: Figures) -> Iterator[RenderableType]:
    shown = figures.errors[:_MOST_ERRORS]
    rest = sum(group.total for group in figures.errors[_MOST_ERRORS:]) + sum(figures.other_errors)
    width = max(len(f"{count:,}") for count in [rest, *(group.total for group in shown)])
    yield Text("Why they failed, and an example of each:", "bold")
    for group in shown:
        source = f"  {shorten(visible(group.source), 80)}" if group.source else ""
        table = Table.grid()  # what is long hangs beneath its beginning
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        times = Text(f"{group.total:>{width},} × ", "red")  # noqa: RUF001 - the sign for "times"
        table.add_row(times, Text(visible(group.key) or "(no error told)"))
        table.add_row("", Text(f"{show_name(group.example, '(empty)')}{source}", "dim"))
        yield table
    if rest:
        yield Text(f"{rest:>{width},} × of other kinds", "red")  # noqa: RUF001
    if not figures.exact:
        yield Text("There are thousands of models or kinds of error: figures are at least.")


def _pace(figures: Figures) -> list[Text]:
    latencies, lines = figures.latencies, []
    if latencies.count:
        parts = [f"{name} {show_ms(latencies.quantile_ms(q))}" for name, q in QUANTILES.items()]
        parts.append(f"max {show_ms(latencies.max_ms)}")
        lines.append(_line("latency", f"{' · '.join(parts)}  (of each ID's last request)"))
    if (times := figures.times) is None:
        return lines
    sent = f"{figures.attempts:,} requests for {figures.rows:,} IDs"
    if not figures.rate_per_s or len(times.intervals) < 2:
        return [*lines, _line("throughput", sent)]
    counts, width_s = _columns(times)
    mean, most = figures.rate_per_s, max(counts) / width_s
    # The first and the last bar are cut: of a short run all may stand below the mean.
    peak = f", {show_rate(most)} at most" if most > mean else ""
    said = f"{show_rate(mean)} IDs a second{peak}; {sent}"
    return [*lines, _line("throughput", said), *_chart(times, counts, width_s)]


def _line(name: str, said: str) -> Text:
    return Text.assemble((f"{name:<12}", "dim"), said)


def _columns(times: Times) -> tuple[list[int], float]:
    """Return how many IDs finished in each column of the chart, and its seconds."""
    each = -(-len(times.intervals) // _CHART_WIDTH)
    counts = [
        sum(sum(interval.counts) for interval in times.intervals[at : at + each])
        for at in range(0, len(times.intervals), each)
    ]
    return counts, times.width_ms / 1000 * each


def _chart(times: Times, counts: Sequence[int], width_s: float) -> list[Text]:
    """Return IDs finished over time: a row of bars, and what its axis says."""
    top = max(counts)
    bars = "".join(_LEVELS[-(-count * 8 // top)] for count in counts)
    begins, ends = (f"{moment(ms):%H:%M:%S}" for ms in (times.first_ms, times.last_ms))
    gap = " " * max(1, len(bars) - len(begins) - len(ends))
    each = f"  a bar is {show_duration(width_s)}"
    return [_line("", bars), Text.assemble(" " * 12, (f"{begins}{gap}{ends}{each}", "dim"))]
