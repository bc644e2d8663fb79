"""A seed draws a world."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from tests.simulation.world import Ending, Fate, How, Kind, Limit, Looks, Span, Trouble, World

_OUTAGES = tuple(kind for kind in Kind if kind not in {Kind.SLOW, Kind.LOST, Kind.UNAUTHORIZED})
_NOISE = tuple(kind for kind in Kind if kind is not Kind.UNAUTHORIZED)


def draw(seed: int) -> World:
    """Return the world of a seed: always the same one.

    Half of the worlds have one thing that goes wrong, so that it is seen alone; the others have
    several.
    """
    rng = random.Random(seed)
    many = rng.random() < 0.5
    chosen = {rng.choice(_THINGS) for _ in range(rng.randint(2, 6) if many else 1)}
    count = _count(rng)
    rate = _rate(rng, count)
    pace = rate or 100.0
    length_s = count / pace
    max_outage_s = rng.choice((8.0, 15.0, 30.0, 30.0, 60.0))
    fates, failed_before = _fates(rng, count, bad="bad" in chosen)
    world = World(
        fates=fates,
        pause=(rng.randint(0, count), rng.uniform(1, 90)) if "pause" in chosen else None,
        failed_before=failed_before,
        rate_per_s=rate,
        burst=rng.choice((1, 1, 1, 2, 5)),
        concurrency=rng.choice((1, 2, 3, 4, 8, 16, 16, 32)),
        attempts=5 if rng.random() < 0.6 else rng.choice((1, 1, 2, 2, 3, 4, 6, 7, 8)),
        timeout_s=rng.choice((1.0, 2.0, 5.0, 10.0)),
        grace_s=rng.choice((0.0, 1.0, 5.0, 10.0)),
        max_outage_s=max_outage_s,
        deadline_s=rng.uniform(1, 60) if "limits" in chosen and rng.random() < 0.5 else None,
        max_failures=rng.randint(1, 10) if "limits" in chosen and rng.random() < 0.5 else None,
        max_failure_share=rng.uniform(0.01, 0.3) if "limits" in chosen else None,
        latency_s=rng.choice((0.005, 0.02, 0.05, 0.2, 0.5)),
        connect_s=rng.uniform(0.05, 2) if rng.random() < 0.2 else 0.0,
        slow_share=rng.uniform(0.01, 0.2) if "slow" in chosen else 0.0,
        slow_s=rng.uniform(0.5, 12.0),
        idle_share=rng.uniform(0.02, 0.5) if "idle" in chosen else 0.0,
        shortage_share=rng.uniform(0.02, 0.3) if "shortage" in chosen else 0.0,
        again_status=rng.choice((200, 200, 404, 409)),
        limit=_limit(rng, pace, length_s) if "limit" in chosen else None,
        troubles=tuple(_troubles(rng, chosen, length_s, max_outage_s)),
        stalls=((rng.uniform(0, length_s + 5), rng.uniform(2, 90)),) if "stall" in chosen else (),
        write_s=rng.uniform(0.0, 0.3) if "disk" in chosen else 0.0,
        sync_s=rng.uniform(0.0, 20.0) if "disk" in chosen else 0.0,
        csv=rng.random() < 0.7,
        endings=_endings(rng, length_s) if "endings" in chosen else (),
        gap_s=rng.uniform(0.3, 5),
        tomorrow=rng.random() < 0.5,
        results_buffer=rng.choice((1, 3, 2048)) if "disk" in chosen else 2048,
        seed=seed,
        # Drawn late: what was drawn before is what a seed has always drawn.
        looks=_looks(rng, length_s) if rng.random() < _VERIFIED else None,
        unconfirmed_again=rng.random() < 0.5,
    )
    if world.looks is not None and rng.random() < _CALM:
        return _calm(world)
    return replace(
        world,
        absent_share=rng.choice((0.1, 0.5, 1.0)) if rng.random() < _ABSENT else 0.0,
        endings=_with_a_rewrite(rng, world.endings) if rng.random() < _REWRITTEN else world.endings,
    )


_VERIFIED = 0.3
"""The share of worlds in which what was accepted is looked at."""
_CALM = 0.25
"""The share of those in which nothing else goes wrong."""
_ABSENT = 0.1
"""The share of worlds in which resumed runs are not given all IDs."""
_REWRITTEN = 0.1
"""The share of worlds in which a run is killed while it takes out old rows, if there are any."""


def _calm(world: World) -> World:
    return replace(
        world, fates=Fate.GOOD * len(world.fates), pause=None, failed_before=0, deadline_s=None,
        max_failures=None, max_failure_share=None, slow_share=0.0, idle_share=0.0,
        shortage_share=0.0, limit=None, troubles=(), stalls=(), write_s=0.0, sync_s=0.0,
        endings=(), results_buffer=2048,
    )  # fmt: skip


_THINGS = (
    "bad", "bad", "bad", "outage", "outage", "outage", "brownout", "noise", "limit", "endings",
    "endings", "slow", "idle", "stall", "disk", "token", "limits", "shortage", "pause",
)  # fmt: skip


def _count(rng: random.Random) -> int:
    kind = rng.random()
    if kind < 0.2:
        return rng.randint(1, 9)
    return rng.randint(300, 600) if kind > 0.99 else rng.randint(5, 150)


def _rate(rng: random.Random, count: int) -> float | None:
    if rng.random() < 0.05:
        return None
    rates = (0.5, 2.0, 7.5) if count < 20 else (10.0, 20.0, 33.3, 50.0, 100.0)
    return rng.choice(rates)


def _fates(rng: random.Random, count: int, *, bad: bool) -> tuple[str, int]:
    """Return the IDs, a few of which Domo refuses, and how many of the last have failed before."""
    odd: tuple[Fate, ...] = (Fate.COMPLETED, Fate.NOT_FOUND, Fate.REJECTED, Fate.FORBIDDEN)
    share = rng.choice((0.0, 0.02, 0.1))
    if rng.random() < 0.1:
        odd, share = (Fate.NOT_FOUND, Fate.REJECTED), 0.95
    fates: list[Fate] = [
        rng.choice(odd) if rng.random() < share else Fate.GOOD for _ in range(count)
    ]
    if not bad:
        return "".join(fates), 0
    kinds = [Fate(letter) for letter in rng.choice(("x", "x", "o", "xoh"))]
    how = rng.choice(("few", "half", "alternating", "end", "before", "all", "block"))
    if how == "few":
        places = [rng.randrange(count) for _ in range(rng.randint(1, 6))]
    elif how == "half":
        places = [at for at in range(count) if rng.random() < 0.5]
    elif how == "alternating":
        places = list(range(rng.randint(0, 1), count, 2))
    elif how == "all":
        count = min(count, rng.randint(1, 12))
        fates, places = fates[:count], list(range(count))
    elif how == "block":
        start = rng.randrange(count)
        places = list(range(start, min(count, start + rng.randint(2, 15))))
    else:
        places = list(range(max(0, count - rng.randint(1, 20)), count))
    for at in places:
        fates[at] = rng.choice(kinds)
    failed_before = len(places) if how == "before" else 0
    if how == "all" and rng.random() < 0.5:
        failed_before = count
    return "".join(fates), failed_before


def _limit(rng: random.Random, pace: float, length_s: float) -> Limit:
    rate = max(1.0, pace * rng.choice((0.2, 0.5, 0.9)))
    changes = tuple(
        (rng.uniform(0, 2 * length_s), max(1.0, rate * rng.choice((0.1, 0.5, 2.0))))
        for _ in range(rng.randint(0, 2))
    )
    window_s = rng.choice((None, 1.0, 5.0))
    return Limit(rate, window_s, rng.random() < 0.5, tuple(sorted(changes)))


def _troubles(
    rng: random.Random, chosen: set[str], length_s: float, max_outage_s: float
) -> list[Trouble]:
    found: list[Trouble] = []
    if "outage" in chosen:
        at = rng.choice((0.0, rng.uniform(0, length_s), rng.uniform(0, length_s)))
        for _ in range(rng.choice((1, 1, 2))):
            for_s = rng.choice(
                (rng.uniform(1, 5), rng.uniform(4, 12), rng.uniform(0.3, 1.5) * max_outage_s)
            )
            kind = Kind.THROTTLED if found and rng.random() < 0.3 else rng.choice(_OUTAGES)
            found.append(_trouble(rng, kind, at, for_s, 1.0))
            at += for_s + rng.choice((0.0, rng.uniform(0, 10)))
    if "brownout" in chosen:
        at, for_s = rng.uniform(0, length_s), rng.uniform(2, 30)
        found.append(_trouble(rng, rng.choice(_NOISE), at, for_s, rng.uniform(0.2, 0.9)))
    if "noise" in chosen:
        share = rng.choice((0.01, 0.05, 0.1))
        kinds = rng.sample(_NOISE, rng.randint(1, 4))
        found += [_trouble(rng, kind, 0.0, 1e9, share / len(kinds)) for kind in kinds]
    if "token" in chosen:
        for_s = rng.choice((0.1, 0.5, 1e9, rng.uniform(0.1, 20)))
        at = rng.choice((rng.uniform(0, length_s), rng.uniform(0.9, 1) * length_s))
        found.append(Trouble(Kind.UNAUTHORIZED, at, for_s))
    return found


def _trouble(rng: random.Random, kind: Kind, from_s: float, for_s: float, share: float) -> Trouble:
    retry_after_s = None
    if kind in {Kind.THROTTLED, Kind.UNAVAILABLE} and rng.random() < 0.5:
        retry_after_s = rng.choice((0.0, 1.0, 5.0, 1e6 if rng.random() < 0.1 else 2.0))
    return Trouble(kind, from_s, for_s, share, retry_after_s)


def _endings(rng: random.Random, length_s: float) -> tuple[Ending, ...]:
    endings = []
    for _ in range(rng.randint(1, 3)):
        how = rng.choice((How.TERM, How.TERM, How.KILL, How.KILL, How.FULL))
        at_s = rng.choice(
            (
                rng.uniform(0, 2),
                rng.uniform(0, length_s),
                rng.uniform(0, length_s),
                rng.uniform(0, 30),
            )
        )
        second = rng.choice((0.0, rng.uniform(0, 2))) if rng.random() < 0.4 else None
        torn = rng.random() if rng.random() < 0.7 else 0.0
        room = rng.randrange(20_000) if how is How.FULL else 0
        endings.append(Ending(how, at_s, second if how is How.TERM else None, torn, room))
    return tuple(endings)


def _with_a_rewrite(rng: random.Random, endings: tuple[Ending, ...]) -> tuple[Ending, ...]:
    at = rng.randint(0, len(endings))
    return *endings[:at], Ending(How.REWRITE), *endings[at:]


def _looks(rng: random.Random, length_s: float) -> Looks:
    """Return what looks meet; in two of five worlds nothing goes wrong with them."""
    timeout_s = rng.choice((0.5, 5.0, 20.0, 40.0, 120.0))
    chosen = set() if rng.random() < 0.4 else {rng.choice(_LOOK_THINGS) for _ in range(2)}
    late_s = rng.choice((length_s, length_s + timeout_s))
    v2, v1 = _call(rng, late_s, chosen, "v2"), _call(rng, late_s, chosen, "v1")
    troubles: list[Trouble] = []
    if "outage" in chosen:
        for_s = rng.choice((rng.uniform(1, 10), rng.uniform(10, 90), 1e9))
        troubles.append(_trouble(rng, rng.choice(_LOOK_KINDS), rng.uniform(0, late_s), for_s, 1.0))
    if "noise" in chosen:
        share = rng.choice((0.02, 0.1, 0.5))
        kinds = rng.sample(_LOOK_KINDS, rng.randint(1, 3))
        troubles += [_trouble(rng, kind, 0.0, 1e9, share / len(kinds)) for kind in kinds]
    return Looks(
        timeout_s=timeout_s,
        v2=v2,
        v1=v1,
        missing_status=rng.choice((404, 404, 403)),
        settle_s=rng.choice((0.0, 3.0, 20.0, 100.0)),
        never_share=rng.choice((0.0, 0.0, 0.1, 1.0)),
        by_itself_share=rng.choice((0.0, 0.1, 0.5)),
        unknown_share=rng.choice((0.05, 0.3, 1.0)) if "unknown" in chosen else 0.0,
        troubles=tuple(troubles),
    )


_LOOK_THINGS = ("outage", "outage", "noise", "no v2", "no v2", "no v1", "unknown", "changes")
_LOOK_KINDS = (
    Kind.ERROR, Kind.UNAVAILABLE, Kind.SILENCE, Kind.SILENCE, Kind.SLOW, Kind.STRANGER_404,
    Kind.STRANGER_200, Kind.OTHER, Kind.THROTTLED, Kind.THROTTLED, Kind.UNAUTHORIZED, Kind.REFUSED,
)  # fmt: skip


def _call(rng: random.Random, late_s: float, chosen: set[str], name: str) -> Span | None:
    """Return when a call is there."""
    if f"no {name}" in chosen:
        return None
    if "changes" in chosen and rng.random() < 0.6:
        at_s = rng.uniform(0, late_s)
        return rng.choice(((at_s, math.inf), (0.0, at_s)))
    return 0.0, math.inf
