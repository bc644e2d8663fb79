"""Where the bars, lines and words of the page's charts stand; shares of the chart in per cent.

Per cent, so that a chart is as wide as its page and its words keep their size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bulkcancel.analysis.figures import OUTCOMES, QUANTILES, iso, moment, named
from bulkcancel.analysis.text import show_ms, show_rate
from bulkcancel.quantities import show_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bulkcancel.analysis.latency import Latencies
    from bulkcancel.analysis.timeline import Times

_GAP = 0.12
"""Between bars, as a share of one."""
_WIDEST = 12.0
_NEAR = 0.09
"""What stands nearer than this share of the axis would be written over the other."""


class Rect(NamedTuple):
    """A bar, or a piece of one."""

    kind: str
    x: str
    y: str
    width: str
    height: str


class Tick(NamedTuple):
    """A line with its words, at a share of the axis."""

    at: str
    words: str
    minor: bool = False
    """Whether it is left out where there is little room."""


class Column(NamedTuple):
    """What stands at one place of the axis, and is told when it is pointed at."""

    x: str
    width: str
    said: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart, ready to be drawn."""

    title: str
    """What is shown, with its unit."""
    note: str
    rects: Sequence[Rect]
    columns: Sequence[Column]
    heights: Sequence[Tick]
    places: Sequence[Tick]
    markers: Sequence[Tick] = ()


def outcomes_chart(times: Times) -> Chart:
    """Return IDs finished in each interval, stacked by outcome."""
    top, heights = _scale(max(sum(each.counts) for each in times.intervals), least_step=1)
    rects, columns = [], []
    for at, interval in enumerate(times.intervals):
        x, width = _bar(at, len(times.intervals))
        below = 0
        for outcome, count in zip(OUTCOMES, interval.counts, strict=True):
            if count:
                below += count
                y, height = _percent(1 - below / top), _percent(count / top)
                rects.append(Rect(outcome, x, y, width, height))
        words = [f"{n:,} {word}" for word, n in named(interval.counts).items()]
        columns.append(_column(times, at, ", ".join(words) or "nothing"))
    every = show_duration(times.width_ms / 1000)
    return Chart(
        f"IDs finished in each {every}, by outcome", "", rects, columns, heights, _clock(times)
    )


def requests_chart(times: Times) -> Chart:
    """Return the requests a second that the IDs which finished in each interval took."""
    width_s = times.width_ms / 1000
    rates = [each.attempts / width_s for each in times.intervals]
    top, heights = _scale(max(rates))
    rects, columns = [], []
    for at, rate in enumerate(rates):
        x, width = _bar(at, len(rates))
        if rate:
            rects.append(Rect("plain", x, _percent(1 - rate / top), width, _percent(rate / top)))
        columns.append(_column(times, at, f"{show_rate(rate)} requests a second"))
    note = (
        "A results file tells how many requests an ID took and when it was finished: retries are "
        "counted there, not when they were sent. What --verify asks is not in the file."
    )
    return Chart("Requests a second", note, rects, columns, heights, _clock(times))


def latency_chart(latencies: Latencies) -> Chart:
    """Return how many IDs had their last answer after how long."""
    bars = latencies.bars()
    top, heights = _scale(max(each.rows for each in bars), least_step=1)
    rects, columns = [], []
    for number, each in enumerate(bars):
        x, width = _bar(number, len(bars))
        share = each.rows / top
        if each.rows:
            rects.append(Rect("plain", x, _percent(1 - share), width, _percent(share)))
        between = f"{show_ms(each.from_ms)} to {show_ms(each.to_ms)}"
        columns.append(Column(*_place(number, len(bars)), f"{between}: {each.rows:,} IDs"))
    low, high = math.log(bars[0].from_ms), math.log(bars[-1].to_ms)

    def at_ms(latency_ms: float) -> float:
        return (math.log(max(latency_ms, bars[0].from_ms)) - low) / (high - low)

    decades = [10.0**n * digit for n in range(-1, 12) for digit in (1, 2, 5)]
    inside = [ms for ms in decades if bars[0].from_ms <= ms <= bars[-1].to_ms]
    each_nth = -(-len(inside) // 9) or 1
    places = [
        Tick(_percent(at_ms(ms)), _short_ms(ms), minor=bool(number % 2))
        for number, ms in enumerate(inside[::each_nth])
    ]
    if len(places) < 2:  # nearly all took the same time
        ends = (bars[0].from_ms, bars[-1].to_ms)
        places = [Tick(_percent(at_ms(ms)), show_ms(ms)) for ms in ends]
    markers: list[Tick] = []
    told = -_NEAR
    for name, q in QUANTILES.items():
        if (found := latencies.quantile_ms(q)) is not None:
            at = at_ms(found)
            markers.append(Tick(_percent(at), name if at - told >= _NEAR else ""))
            told = at if markers[-1].words else told
    note = "Of each ID's last request, on a logarithmic axis."
    title = "IDs by latency"
    return Chart(title, note, rects, columns, heights, places, markers)


def _short_ms(latency_ms: float) -> str:
    if latency_ms < 1000:
        return f"{latency_ms:g} ms"
    return f"{latency_ms / 1000:g} s" if latency_ms < 3_600_000 else f"{latency_ms / 3.6e6:,.0f} h"


def _scale(most: float, *, least_step: float = 0.0) -> tuple[float, list[Tick]]:
    """Return the height of a chart, and four lines or so at round figures."""
    step = max(next(_round_steps(max(most, 1e-9) / 4)), least_step)
    count = math.ceil(most / step - 1e-9) or 1
    digits = max(0, -math.floor(math.log10(step)))
    lines = [Tick(_percent(1 - at / count), f"{at * step:,.{digits}f}") for at in range(count + 1)]
    return count * step, lines


def _round_steps(least: float) -> Iterator[float]:
    power = 10.0 ** math.floor(math.log10(least))
    for digit in (1, 2, 5, 10):
        if digit * power >= least * 0.999:
            yield digit * power


_CLOCK_S = (
    0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600,
    43200, 86400,
)  # fmt: skip


def _clock(times: Times) -> list[Tick]:
    """Return times at round places of the axis."""
    span_ms = times.width_ms * len(times.intervals)
    step_ms = next((s * 1000 for s in _CLOCK_S if span_ms / s / 1000 <= 8), span_ms / 6)
    first = math.ceil(times.begins_ms / step_ms)
    last = math.floor((times.begins_ms + span_ms) / step_ms)
    form = "%H:%M" if step_ms >= 60_000 else "%H:%M:%S"
    form = "%Y-%m-%d" if step_ms >= 86_400_000 else form
    ticks = []
    for number, at in enumerate(range(first, last + 1)):
        when = round(at * step_ms)
        words = format(moment(when), form)
        if step_ms < 1000:
            words = words[3:] + f".{when % 1000 // 100}"
        share = (when - times.begins_ms) / span_ms
        ticks.append(Tick(_percent(share), words, minor=bool(number % 2)))
    return ticks


def _column(times: Times, at: int, said: str) -> Column:
    begins = iso(times.begins_ms + at * times.width_ms)
    return Column(*_place(at, len(times.intervals)), f"{begins[11:19]}: {said}")


def _place(at: int, count: int) -> tuple[str, str]:
    return _percent(at / count), _percent(1 / count)


def _bar(at: int, count: int) -> tuple[str, str]:
    """Return where a bar stands and how wide it is: few bars are not as wide as they could be."""
    width = min(100 / count, _WIDEST) * (1 - _GAP)
    return f"{(at + 0.5) * 100 / count - width / 2:.3f}%", f"{width:.3f}%"


def _percent(share: float) -> str:
    return f"{share * 100:.3f}%"
