"""How far a run is where no bar can be drawn: events in a log, plain lines on a dumb terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from bulkcancel.reporting.progress.gauge import Gauge

_EVENT_EVERY_S = 10
_LINE_EVERY_S = 5
_LOOK_EVERY_S = 0.5


async def log_progress(gauge: Gauge, log: FilteringBoundLogger) -> None:
    """Log how far the run is, every ten seconds until cancelled."""
    stats = gauge.stats
    gauge.rates()
    while True:
        for _ in range(_EVENT_EVERY_S):
            await anyio.sleep(1)
            gauge.rates()  # so that it knows when the first result came
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


async def print_progress(gauge: Gauge, say: Callable[[str], None]) -> None:
    """Say how far the run is, every five seconds until cancelled, and each new state at once."""
    state = gauge.state
    while True:
        for _ in range(int(_LINE_EVERY_S / _LOOK_EVERY_S)):
            await anyio.sleep(_LOOK_EVERY_S)
            gauge.rates()
            if gauge.state != state:
                state = gauge.state
                if state:
                    say(state)
        say(progress_line(gauge))


def progress_line(gauge: Gauge) -> str:
    """Return the figures of the bar in one line."""
    if gauge.total is None:
        head = f"{gauge.done:,} done"
    else:
        head = f"{gauge.done:,}/{gauge.total:,} ({gauge.share()})"
    return " · ".join([head, *(text for text, _ in gauge.figures()), gauge.left()])
