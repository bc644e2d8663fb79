"""How far and how fast a run is, and how long it will still take: the figures of bar and log."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bulkcancel.models import Outcome
from bulkcancel.quantities import count_of, show_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bulkcancel.engine import Stats

_WINDOW_S = 10.0
_SPEED_WINDOW_S = 20.0
_BURST_S = 1.0
_FEWEST_DONE = 5
_BETWEEN_MARKS_S = 0.2


@dataclass(slots=True)
class Gauge:
    """What there is to show: the figures of the run, and how far and how fast it is."""

    stats: Stats
    total: int | None
    """IDs that this run will send; `None` for a pipe."""
    ceiling_per_s: float | None
    pace_per_s: Callable[[], float]
    asks_only: bool = False
    """Whether nothing is cancelled: what is done are looks."""
    state: str = ""
    """Why the run is not at full pace, or that it is stopping."""
    clock: Callable[[], float] = time.monotonic
    began: float = field(init=False)
    _marks: deque[tuple[float, int, int]] = field(default_factory=lambda: deque(maxlen=64))
    _speed: Speed = field(default_factory=lambda: Speed())  # noqa: PLW0108 - it stands below

    def __post_init__(self) -> None:
        self.began = self.clock()

    @property
    def done(self) -> int:
        """How much of the total is done: invalid rows are no part of it."""
        if self.asks_only and self.total is not None:
            return self.total - self.stats.unchecked
        return self.stats.done - self.stats.outcomes[Outcome.INVALID]

    def rates(self) -> tuple[float, float]:
        """Return results and requests a second over about the last ten seconds."""
        now = self.clock()
        sent = self.stats.requests + self.stats.looks
        marks = self._marks
        self._speed.mark(now, self.done)
        if not marks or now - marks[-1][0] >= _BETWEEN_MARKS_S:
            marks.append((now, self.done, sent))
        while len(marks) > 2 and now - marks[1][0] > _WINDOW_S:
            marks.popleft()
        since, done, requests = marks[0]
        seconds = now - since
        if seconds < _BETWEEN_MARKS_S:
            return 0.0, 0.0
        # Of n evenly spaced requests since there were none, n - 1 intervals have passed.
        sent -= requests or min(sent, 1)
        return (self.done - done) / seconds, sent / seconds

    def eta_s(self) -> float | None:
        """Return the seconds left at the speed that is achieved, if that can be said."""
        now, done = self.clock(), self.done
        self._speed.mark(now, done)
        speed = self._speed.per_s(now)
        if self.total is None or not speed:
            return None
        return max(self.total - done, 0) / speed

    def left(self) -> str:
        """Return how long it will still take, or as long as nobody knows, how long it has taken."""
        eta_s = self.eta_s()
        if eta_s is not None:
            return f"{show_duration(eta_s)} left"
        return f"{show_duration(self.clock() - self.began)} so far"

    def share(self) -> str:
        """Return how much of the total is done as a percentage, rounded down."""
        return f"{100 * self.done // self.total}%" if self.total else "100%"

    def figures(self) -> Iterator[tuple[str, str]]:
        """Yield the figures and their styles; red are failures alone."""
        stats = self.stats
        for outcome in Outcome:
            if count := stats.outcomes[outcome]:
                yield f"{count:,} {outcome}", "green" if outcome in stats.successes else "red"
        ceiling = "auto" if self.ceiling_per_s is None else f"{self.ceiling_per_s:g}"
        yield f"{self.rates()[1]:.1f}/s of {ceiling}", ""
        yield f"{stats.in_flight} in flight", ""
        if stats.unchecked and not self.asks_only:
            yield f"{stats.unchecked:,} to confirm", ""
        if stats.retries:
            yield count_of(stats.retries, "retry"), "yellow"
        pace = self.pace_per_s()
        if self.ceiling_per_s is not None and pace < 0.99 * self.ceiling_per_s:
            yield f"pace {pace:.1f}/s", "yellow"


class Speed:
    """How fast results come, from about the last 20 seconds, and from five of them at least.

    Counted from the first ones on: how long those took is latency, not speed. Where all that is
    in flight is answered at once, results come in bursts: one is counted as a whole.
    """

    def __init__(self) -> None:
        self._bursts: deque[tuple[float, float, int]] = deque()
        """When each began, when it ended, and how many were done by then."""
        self._done = 0

    def mark(self, now: float, done: int) -> None:
        """Note how many are done by now."""
        if done <= self._done:
            return
        bursts = self._bursts
        began = now
        if bursts and now - bursts[-1][0] < _BURST_S:
            began = bursts.pop()[0]
        bursts.append((began, now, done))
        self._done = done
        while (
            len(bursts) > 2
            and now - bursts[1][1] > _SPEED_WINDOW_S
            and done - bursts[1][2] >= _FEWEST_DONE
        ):
            bursts.popleft()

    def per_s(self, now: float) -> float | None:
        """Return it; less the longer none has come; `None` before the second burst is whole."""
        bursts = self._bursts
        whole = len(bursts) - (len(bursts) > 0 and now - bursts[-1][0] < _BURST_S)
        if whole < 2:
            return None
        (_, since, before), (_, last, done) = bursts[0], bursts[whole - 1]
        # The next one is due one interval after the last: what is beyond that has slowed it.
        return (done - before) / max(last - since, (now - since) * (whole - 1) / whole)
