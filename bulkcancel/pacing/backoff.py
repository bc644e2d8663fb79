"""How long to wait before a retry; attempts at one thing, paced and repeated."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from bulkcancel.pacing.pacer import Pacer

T = TypeVar("T")

_BASE_S = 1.5
_CAP_S = 30.0
_MAX_DOUBLINGS = 10
_MOST_AT_ONCE = 3


def equal_jitter(failures: int, rng: random.Random) -> float:
    """Return the seconds to wait after that many `failures` of one ID, 1 or more.

    Uniform between a half and the whole of `min(30, 1.5 * 2 ** (failures - 1))`: equal jitter
    (M. Brooker, "Exponential Backoff And Jitter", 2015). Five attempts span 11 to 22 seconds, so
    that a server that restarts for ten fails nobody, and they never come back together.
    """
    most_s = min(_CAP_S, _BASE_S * 2.0 ** min(failures - 1, _MAX_DOUBLINGS))
    return most_s / 2 * (1 + rng.random())


@dataclass(frozen=True, slots=True)
class Again:
    """An attempt that came to nothing and may be made again."""

    error: Exception
    """What to raise if it is not."""
    wait_s: float | None = None
    """For how long the other side asks to be left alone; costs no attempt."""
    at_once: bool = False
    """Whether it never got there: costs no attempt and no wait."""


async def paced_attempts(
    attempt: Callable[[], Awaitable[T | Again]],
    *,
    pacer: Pacer,
    rng: random.Random,
    attempts: int,
    most_asked_s: float,
) -> T:
    """Return what `attempt` returns once that is not `Again`; each one waits for its turn.

    Between them lies equal jitter, or the wait that was asked for if that is longer: `most_asked_s`
    of such waits in all. Raises the error of the last one, at once where the wait would be longer
    than that.
    """
    failures = asked = at_once = 0
    asked_s = 0.0
    while True:
        await pacer.acquire()
        came = await attempt()
        if not isinstance(came, Again):
            return came
        if came.at_once and at_once < _MOST_AT_ONCE:
            at_once += 1
            continue
        if came.wait_s is None:
            failures += 1
        else:
            asked += 1
        wait_s = max(equal_jitter(failures + asked, rng), came.wait_s or 0.0)
        if came.wait_s is not None:
            asked_s += wait_s
        if failures >= attempts or asked_s > most_asked_s:
            raise came.error
        await asyncio.sleep(wait_s)
