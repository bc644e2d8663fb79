"""How long to wait before a retry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

_CAP_S = 20.0
_MAX_DOUBLINGS = 64


def full_jitter(attempt: int, *, base_s: float, rng: random.Random) -> float:
    """Return the seconds to wait after failure number `attempt` (0, 1, 2 …).

    Uniform between 0 and `min(20, base_s * 2**attempt)`: full jitter (M. Brooker,
    "Exponential Backoff And Jitter", 2015), so that clients that failed together do not come
    back together.
    """
    return rng.random() * min(_CAP_S, base_s * 2.0 ** min(attempt, _MAX_DOUBLINGS))
