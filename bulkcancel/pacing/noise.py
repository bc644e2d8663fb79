"""429s that have nothing to do with the pace."""

from __future__ import annotations

_WINDOW_ANSWERS = 48
_WINDOW_REFUSALS = 3
_LONGEST_RUN = 100  # accepted in a row: more is no longer the same trouble
_SHARE_ANSWERS = 64  # the share of refusals is taken over about so many answers
_MOST_NOISE = 0.25  # a bigger share of refusals is never called noise
_MARGIN = 0.02  # above twice the usual share and this, it is more than noise
_GONE = 0.125  # of the usual share: below that the noise has ended


class Noise:
    """Notices when slowing down does not help, for example because others use up a shared limit.

    A limit at half of the pace or less refuses half of the requests or more, and none once the
    pace is below it. Where the pace was halved twice and each time about the same small share
    was refused, the pace is not the cause: to go on cutting would end at a standstill.
    """

    __slots__ = (
        "_answers",
        "_before_rate",
        "_before_share",
        "_in_a_row",
        "_level",
        "_refused",
        "_share",
        "_window_from",
        "_window_rate",
    )

    def __init__(self) -> None:
        self._level = 0.0
        self._share = 0.0
        self._begin(0.0, 0.0)
        self._before_rate = 0.0
        self._before_share = 0.0

    def on_accepted(self, sent_at: float) -> None:
        """Count an answer that was no 429."""
        if self._refused and sent_at > self._window_from:
            self._answers += 1
            self._in_a_row += 1
            if self._in_a_row > _LONGEST_RUN:
                self._begin(0.0, self._window_from)
        if self._share:
            self._share -= self._share / _SHARE_ANSWERS
            if self._share < _GONE * self._level:
                self._level = 0.0

    def on_refused(self, sent_at: float) -> bool:
        """Count a 429; return whether it is just noise and should not slow the pace."""
        if sent_at > self._window_from:
            self._answers += 1
            self._refused += 1
            self._in_a_row = 0
        self._share += (1 - self._share) / _SHARE_ANSWERS
        if self._level and self._share > 2 * self._level + _MARGIN:
            self._level = 0.0
        return self._level > 0

    def on_cut(self, now: float, from_per_s: float, to_per_s: float) -> float | None:
        """Record a cut; return the pace to go back to if the cuts were in vain."""
        if from_per_s > self._window_rate:
            self._begin(from_per_s, now)
            self._before_share = 0.0
        if to_per_s > self._window_rate / 2 or self._answers < _WINDOW_ANSWERS:
            return None
        share = self._refused / self._answers
        before, back_to = self._before_share, self._before_rate
        told = self._refused >= _WINDOW_REFUSALS
        if told and 0 < before < _MOST_NOISE and before / 2 < share < _MOST_NOISE:
            self._level = self._share = max(before, share)
            self._begin(0.0, now)
            return back_to
        self._before_rate, self._before_share = self._window_rate, share
        self._begin(to_per_s, now)
        return None

    def _begin(self, rate_per_s: float, now: float) -> None:
        """Begin a window that ends at half of this pace; all answers count from the next 429 on."""
        self._window_rate = rate_per_s
        self._window_from = now
        self._answers = 0
        self._refused = 0
        self._in_a_row = 0
