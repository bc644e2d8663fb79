"""How long to wait before a retry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

_BASE_S = 1.5
_CAP_S = 30.0
_MAX_DOUBLINGS = 10


def equal_jitter(failures: int, rng: random.Random) -> float:
    """Return the seconds to wait after that many `failures` of one ID, 1 or more.

    Uniform between a half and the whole of `min(30, 1.5 * 2 ** (failures - 1))`: equal jitter
    (M. Brooker, "Exponential Backoff And Jitter", 2015). Five attempts span 11 to 22 seconds, so
    that a server that restarts for ten fails nobody, and they never come back together.
    """
    most_s = min(_CAP_S, _BASE_S * 2.0 ** min(failures - 1, _MAX_DOUBLINGS))
    return most_s / 2 * (1 + rng.random())
