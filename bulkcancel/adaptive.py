"""The pace a server turns out to allow, found from its answers alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from bulkcancel.pacer import Pacer

FLOOR_PER_S = 0.5


class AdaptiveRate:
    def __init__(
        self,
        pacer: Pacer,
        *,
        ceiling_per_s: float,
        on_change: Callable[[float, str], None],
        rng: random.Random,
    ) -> None:
        self._pacer = pacer
        self._ceiling = ceiling_per_s
        self._on_change = on_change
        self._rng = rng
        self._rate = pacer.rate_per_s
        self._good = 0.0
        self._bad = math.inf
        self._cut_at = -math.inf
        self._accepted = 0
        self._look_at = -math.inf
        self._stage_at = -math.inf
        self._stage_accepted = 0
        self._stage = 0
        self._hold_until = -math.inf
        self._hold_s = 0.5
        self._throttled_at = -math.inf
        self._ep_at = 0.0
        self._ep_accepted = 0
        self._pause_s = 0.0

    def on_success(self, sent_at: float, now: float) -> None:
        self._accepted += 1
        if now >= self._look_at:
            self._look(now)

    def on_throttled(self, sent_at: float, now: float, retry_after_s: float | None) -> None:
        if retry_after_s is not None:
            self._pacer.pause_until(now + retry_after_s + self._rng.random() * min(1.0, 0.1 * retry_after_s))
            self._pause_s = retry_after_s
        gap_s = max(0.3, 40 / self._rate)
        if now - self._throttled_at > gap_s:
            self._ep_at = now
            self._ep_accepted = self._accepted
        self._throttled_at = now
        self._begin_stage(now)
        if sent_at > self._cut_at:
            self._cut(now)

    def _cut(self, now: float) -> None:
        self._cut_at = now
        rate = self._rate
        dt = now - self._ep_at
        n = self._accepted - self._ep_accepted
        self._bad = rate
        if dt == 0:
            if self._good and rate > self._good:
                new = self._good
                self._hold_s = min(self._hold_s * 2, self._max_hold())
            elif self._good:
                new = 0.85 * rate
                self._hold_s = 0.5
            else:
                new = rate / 2
        else:
            new = min(max(0.97 * n / dt, 0.5 * rate), 0.95 * rate)
            if new < 0.7 * self._good:
                self._hold_s = 0.5
        self._good = min(new, self._good) if self._good else 0
        if self._good == 0 and dt > 0 and n > 5: self._good = new
        self._stage = 0
        self._set(new, "throttled", now)
        self._hold_until = now + self._hold_s

    def _max_hold(self) -> float:
        return max(3.0, 60 / self._rate, 30 * self._pause_s)

    def _begin_stage(self, now: float) -> None:
        self._stage_at = now
        self._stage_accepted = self._accepted
        self._look_at = now + max(0.4, 3 / self._rate)

    def _look(self, now: float) -> None:
        if self._rate >= self._ceiling:
            self._look_at = math.inf
            return
        used = (self._accepted - self._stage_accepted) / (now - self._stage_at) if now > self._stage_at else 0
        in_use = self._pacer.waiting > 0 or used > 0.8 * self._rate
        self._begin_stage(now)
        if not in_use or now < self._hold_until:
            return
        rate = self._rate
        if self._bad == math.inf:
            new = 2 * rate
        elif rate < 0.85 * self._bad:
            new = min(2 * rate, (rate + self._bad) / 2)
        else:
            new = rate * (1 + min(0.05 * 2**self._stage, 1))
            self._stage += 1
        self._good = rate
        self._set(new, "probe", now)

    def _set(self, rate: float, reason: str, now: float) -> None:
        rate = min(max(rate, FLOOR_PER_S), self._ceiling)
        if rate != self._rate:
            self._rate = rate
            self._pacer.set_rate(rate)
            self._on_change(rate, reason)
        self._begin_stage(now)
