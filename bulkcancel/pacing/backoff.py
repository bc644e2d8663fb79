"""How long to wait before a retry, and how many retries a run may afford."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

_MAX_DOUBLINGS = 64


def full_jitter(attempt: int, *, base_s: float, rng: random.Random, cap_s: float = 20.0) -> float:
    """Return the seconds to wait after failure number `attempt` (0, 1, 2 …).

    Uniform between 0 and `min(cap_s, base_s * 2**attempt)`: full jitter (M. Brooker,
    "Exponential Backoff And Jitter", 2015), so that clients that failed together do not come
    back together.
    """
    return rng.random() * min(cap_s, base_s * 2.0 ** min(attempt, _MAX_DOUBLINGS))


class RetryBudget:
    """Lets retries be at most `ratio` of the successes, however many requests fail.

    A token bucket as in Finagle's `RetryBudget` and gRPC's retry throttling (gRFC A6): each
    success puts in `ratio`, each retry takes out 1. `reserve` retries are there at the start,
    so that a short run can retry at all; more than `cap` are never saved up.
    """

    __slots__ = ("_cap", "_ratio", "_tokens")

    def __init__(self, *, ratio: float = 0.1, reserve: float = 10.0, cap: float = 100.0) -> None:
        if not (ratio >= 0 and 0 <= reserve <= cap):
            raise ValueError("ratio and reserve must not be negative, and reserve at most cap")
        self._ratio = ratio
        self._tokens = reserve
        self._cap = cap

    def deposit(self) -> None:
        """Count one success."""
        if self._tokens < self._cap:
            self._tokens = min(self._tokens + self._ratio, self._cap)

    def try_spend(self) -> bool:
        """Take one retry out; `False` when none is left, and the caller should wait."""
        # Tenths add up to a little less than a whole number in binary.
        if self._tokens < 1 - 1e-9:
            return False
        self._tokens -= 1
        return True
