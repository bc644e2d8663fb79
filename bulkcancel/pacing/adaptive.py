"""The pace a server turns out to allow, found from its answers alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bulkcancel.pacing.noise import Noise

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from bulkcancel.pacing.pacer import Pacer

FLOOR_PER_S = 0.5

_WARM_UP_PER_S = 400.0
_WARM_UP_ANSWERS = 8  # answers to each doubling

_HOLD_BELOW = 0.97  # the hold, as a share of the rate that was measured
_NEAR = 0.85  # of the goal: beyond it the climb waits for the hold to end
_STEPS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)  # of one probe after another, as shares of the pace
_BEYOND_ANY_BURST = 20  # requests over the hold's rate that no bucket's burst explains

_FIRST_HOLD_S = 0.5
_HOLD_S = 3.0
_HOLD_REQUESTS = 60
_PATIENT_AFTER = 6  # failed probes; beyond them holds last longer ...
_MOST_PATIENT = 4.0  # ... up to so many times as long
_PAUSES_PER_HOLD = 30  # a hold lasts at least so many of the pauses that the server asks for
_LONGEST_HOLD_S = 600.0

_STAGE_S = 0.4
_STAGE_REQUESTS = 3
_LONGEST_STAGE_S = 5.0

_STORM_GAP_S = 0.3
_STORM_GAP_REQUESTS = 40
_TELLING = 8  # requests accepted in a storm that make its rate a measurement

_REPORTED_CHANGE = 0.1


class AdaptiveRate:
    """Lowers the pace when the server throttles, and raises it when it no longer does.

    A storm is 429s that follow each other closely; the hold is a rate known to be allowed, and
    also the time spent there.

    - Down: the first 429 of a storm cuts the pace to a half, or to less if many requests are in
      flight. Further ones cut it to just under the rate at which requests were accepted since
      the storm began: between two refusals a leaky or token bucket accepts just its limit.
    - Up again: the pace climbs to the rate before the cut, halving the distance each time (binary
      increase, as in BIC: L. Xu, K. Harfoush, I. Rhee, 2004).
    - Beyond that: after a hold it probes in steps that double; a throttled probe returns to the
      hold.

    Requests sent before the last cut cannot cut again. The pace is raised only while it is what
    limits the requests (as in Netflix' concurrency-limits). Latency is no signal: a slow cancel
    is not an overload.

    Starts at the pacer's rate, and above 400 a second with a warm-up, so that a distant server is
    not flooded before its first answer; stays between `FLOOR_PER_S` and `ceiling_per_s`. Times
    are seconds of the pacer's clock. `on_change` gets the new rate in requests a second and the
    reason, as a clause, whenever the pace has changed by a tenth.
    """

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
        self._noise = Noise()
        self._answers = 0
        self._accepted = 0
        self._reported = pacer.rate_per_s
        self._warm_up_to: float | None = None
        self._rate = pacer.rate_per_s
        if self._rate > _WARM_UP_PER_S:
            self._warm_up_to = self._rate
            self._rate = _WARM_UP_PER_S
            pacer.set_rate(self._rate)
        # The climb: from the hold, which is known to be all right, to the goal and beyond.
        self._hold = 0.0
        self._goal = math.inf
        self._step = 0
        self._before_step = 0.0
        self._raised = False
        self._failed_probes = 0
        self._limit_found = False
        self._hold_until = -math.inf
        self._climb_at = 0.0
        self._climb_accepted = 0
        # A stage: some time at one rate.
        self._stage_at = math.inf
        self._stage_answers = 0
        self._look_at = -math.inf
        # A storm: 429s that follow each other closely.
        self._cut_at = -math.inf
        self._storm_at = 0.0
        self._storm_accepted = 0
        self._throttled_at = -math.inf
        self._throttled_accepted = 0
        self._pause_s = 0.0

    def on_success(self, sent_at: float, now: float) -> None:
        """Count a request sent at `sent_at` that was not throttled; the pace may rise."""
        self._accepted += 1
        self._answers += 1
        self._noise.on_accepted(sent_at)
        if now >= self._look_at:
            self._look(now)

    def on_throttled(
        self, sent_at: float, now: float, retry_after_s: float | None, *, outage: bool
    ) -> None:
        """Count a 429, or a 403 or 503 that says when to come back, and lower the pace.

        `retry_after_s` pauses all requests for as long, and up to a tenth longer. In an `outage`
        single probes are sent: what they are answered says nothing about the pace.
        """
        self._answers += 1
        self._warm_up_to = None
        pause_s = retry_after_s or 0.0
        if pause_s:
            jitter_s = self._rng.random() * min(1.0, 0.1 * pause_s)
            self._pacer.pause_until(now + pause_s + jitter_s)
        if outage or self._noise.on_refused(sent_at):
            return
        if sent_at > self._cut_at:
            self._pause_s = pause_s
            before = self._rate
            gap_s = max(_STORM_GAP_S, _STORM_GAP_REQUESTS / self._rate)
            if not pause_s and not self._raised and now - self._throttled_at <= gap_s:
                self._cut_again(now)
            else:
                self._cut_first(sent_at, now)
            self._cut_at = now
            back_to = self._noise.on_cut(now, before, self._rate)
            if back_to is not None:
                self._hold = self._goal = back_to
                self._set(back_to, "slowing down did not help against the 429s")
        self._throttled_at = now
        self._throttled_accepted = self._accepted
        self._begin_stage(now + pause_s)

    def _cut_first(self, sent_at: float, now: float) -> None:
        """Cut at the first 429 of a storm."""
        rate, hold = self._rate, self._hold
        self._storm_at = now
        self._storm_accepted = self._accepted
        stage_s = now - self._stage_at
        if stage_s > _STAGE_S / 4 and not self._pause_s:
            # So few consumers, so far from the server, may never reach the pace.
            rate = min(rate, 1.25 * (self._answers - self._stage_answers) / stage_s)
        self._goal = rate
        if not hold:
            under_way = rate * (now - sent_at)
            new = rate / min(max(2.0, under_way / 4), 8.0)
        elif rate > hold:
            new = self._after_failed_probe(rate, now)
        else:
            new = self._hold = _NEAR * rate
            self._limit_found = False
        self._slow_down(new, now)

    def _after_failed_probe(self, rate: float, now: float) -> float:
        climb_s = now - self._climb_at
        extra = self._accepted - self._climb_accepted - self._hold * climb_s
        if extra > _BEYOND_ANY_BURST:  # the limit is higher than it was
            self._hold = max(self._before_step, self._hold)
            return self._hold
        # Between two refusals the server has never accepted more than its limit.
        accepted = self._accepted - self._throttled_accepted
        accepted_per_s = accepted / max(now - self._throttled_at, 1e-6)
        self._hold = self._goal = max(self._hold, _HOLD_BELOW * min(accepted_per_s, rate))
        self._failed_probes += 1
        self._limit_found = True
        return self._hold

    def _cut_again(self, now: float) -> None:
        """Cut at a further 429 of the same storm."""
        rate = self._rate
        accepted = self._accepted - self._storm_accepted
        fair = _HOLD_BELOW * accepted / max(now - self._storm_at, 1e-6)
        if fair > 0.95 * rate:  # the limit has fallen since: look at what comes from now on only
            self._storm_at = now
            self._storm_accepted = self._accepted
        new = min(max(fair, 0.5 * rate), 0.9 * rate)
        if accepted >= _TELLING:
            self._goal = new
        if new < 0.7 * self._hold:
            self._limit_found = False
        if self._hold or accepted >= _TELLING:
            self._hold = new
        self._slow_down(new, now)

    def _slow_down(self, rate: float, now: float) -> None:
        self._step = 0
        self._raised = False
        if not self._limit_found:
            self._failed_probes = 0
        self._set(rate, self._why())
        self._hold_until = now + self._hold_s()

    def _why(self) -> str:
        if self._pause_s:
            return f"the server asks for {self._pause_s:.0f} s of quiet"
        return "the server throttles"

    def _hold_s(self) -> float:
        """Return for how long not to probe: short at first, long when probes fail again and again.

        A probe costs a 429 or two, and the pause where the server asks for one.
        """
        at_most_s = max(_HOLD_S, _HOLD_REQUESTS / self._rate)
        patience = min(max(self._failed_probes / _PATIENT_AFTER, 1.0), _MOST_PATIENT)
        hold_s = min(_FIRST_HOLD_S * 2.0 ** min(self._failed_probes, 20), at_most_s) * patience
        return max(hold_s, min(_PAUSES_PER_HOLD * self._pause_s, _LONGEST_HOLD_S))

    def _begin_stage(self, now: float) -> None:
        self._stage_at = now
        self._stage_answers = self._answers
        pauses_s = min(self._pause_s, _LONGEST_STAGE_S)
        self._look_at = now + max(_STAGE_S, _STAGE_REQUESTS / self._rate, pauses_s)

    def _look(self, now: float) -> None:
        """At the end of a stage without a 429: go on to a higher rate, or not yet."""
        if self._warm_up_to is not None:
            self._warm_up(self._warm_up_to)
            return
        answers = self._answers - self._stage_answers
        stage_s = now - self._stage_at
        in_use = self._pacer.waiting > 0 or answers > 0.8 * self._rate * stage_s > 0
        if in_use and self._rate < self._ceiling:
            self._speed_up(now)
        self._begin_stage(now)

    def _warm_up(self, to_per_s: float) -> None:
        if self._answers % _WARM_UP_ANSWERS == 0:
            self._rate = min(2 * self._rate, to_per_s)
            self._pacer.set_rate(self._rate)
            if self._rate == to_per_s:
                self._warm_up_to = None

    def _speed_up(self, now: float) -> None:
        rate = self._rate
        if rate < _NEAR * self._goal:
            self._raised = True
            self._hold = self._before_step = rate
            self._climb_at = now
            self._climb_accepted = self._accepted
            self._set(min(2 * rate, (rate + self._goal) / 2), "no 429 for a while")
        elif now >= self._hold_until:
            self._raised = True
            if self._step == 0:
                self._hold = rate
                self._climb_at = now
                self._climb_accepted = self._accepted
            self._before_step = rate
            self._set(rate * (1 + _STEPS[self._step]), "no 429 for a while")
            self._step = min(self._step + 1, len(_STEPS) - 1)

    def _set(self, rate: float, reason: str) -> None:
        rate = min(max(rate, FLOOR_PER_S), self._ceiling)
        self._rate = rate
        self._pacer.set_rate(rate)
        if abs(rate - self._reported) >= _REPORTED_CHANGE * self._reported:
            self._reported = rate
            self._on_change(rate, reason)
