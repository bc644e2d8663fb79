"""Latencies in bounded memory: quantiles within 0.4 %.

A log-linear histogram as HdrHistogram's: 128 steps for each doubling, so a step is at most 1/128
wide and its middle at most 1/256 off: 0.4 %. Below 25.6 ms a step is 0.1 ms, what the results tell.
"""

from __future__ import annotations

import math
from typing import NamedTuple

_BITS = 7
_STEPS = 1 << _BITS
_MOST_BARS = 48
_MOST_MS = 1e12
"""More than thirty years: what a file says beyond it counts as that."""


class Bar(NamedTuple):
    """How many latencies are at least `from_ms` and less than `to_ms`."""

    from_ms: float
    to_ms: float
    rows: int


class Latencies:
    """Counts latencies; the order they come in does not matter."""

    def __init__(self) -> None:
        self.count = 0
        self.max_ms = 0.0
        self._sum_ms = 0.0
        self._counts: dict[int, int] = {}

    def add(self, latency_ms: float) -> None:
        """Count one, in milliseconds, not negative."""
        latency_ms = min(latency_ms, _MOST_MS)
        self.count += 1
        self._sum_ms += latency_ms
        self.max_ms = max(latency_ms, self.max_ms)
        tenths = int(latency_ms * 10 + 0.5)
        shift = tenths.bit_length() - _BITS - 1
        step = tenths if shift <= 0 else (shift << _BITS) + (tenths >> shift)
        self._counts[step] = self._counts.get(step, 0) + 1

    @property
    def mean_ms(self) -> float | None:
        """The mean; `None` of nothing."""
        return self._sum_ms / self.count if self.count else None

    def quantile_ms(self, share: float) -> float | None:
        """Return the smallest latency that at least `share` of all do not exceed (nearest rank).

        Within 0.4 %; `None` of nothing.
        """
        rank = max(1, math.ceil(share * self.count))
        for step in sorted(self._counts):
            rank -= self._counts[step]
            if rank <= 0:
                low, high = _bounds(step)
                return min((low + high - 1) / 20, self.max_ms)
        return None

    def bars(self) -> list[Bar]:
        """Return the distribution in bars that grow by one factor: few enough to be drawn."""
        if not self._counts:
            return []
        lows = {step: _bounds(step)[0] / 10 for step in self._counts}
        first, last = max(min(lows.values()), 0.1), max(*lows.values(), 0.1)
        per_doubling = next(
            (n for n in (8, 4, 2, 1) if math.log2(last / first) * n < _MOST_BARS - 1), 1
        )
        counts: dict[int, int] = {}
        for step, low in lows.items():
            bar = math.floor(math.log2(max(low, 0.1)) * per_doubling + 1e-9)
            counts[bar] = counts.get(bar, 0) + self._counts[step]
        return [
            Bar(2 ** (at / per_doubling), 2 ** ((at + 1) / per_doubling), counts.get(at, 0))
            for at in range(min(counts), max(counts) + 1)
        ]


def _bounds(step: int) -> tuple[int, int]:
    """Return the tenths of a millisecond that a step begins with, and the next one."""
    shift, rest = (step >> _BITS) - 1, step & (_STEPS - 1)
    if shift <= 0:
        return step, step + 1
    return (rest + _STEPS) << shift, (rest + _STEPS + 1) << shift
