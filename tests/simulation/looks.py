"""Invariants of when looks are sent: after cancels, never in a hurry, and in nobody's way."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING

from bulkcancel.domo import READ_BACK
from tests.simulation.endings import only_ids_fail
from tests.simulation.exchange import Look
from tests.simulation.play import play
from tests.simulation.requests import AUTO_START_PER_S, ROUNDING_S, looks_cost
from tests.simulation.world import Fate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.exchange import Exchange
    from tests.simulation.story import Run, Story

CANCELS_FOR_A_LOOK = 10
FIRST_LOOK_AFTER_S = 2.05
"""From the answer that accepts a cancel; then a look is due."""
TROUBLES = 3
"""Looks in a row that fail, before they go one at a time."""
LATER_S = 3.0
"""What cancels may be later besides the tenth: looks that are in hand, the wait for a turn."""
_TURNS = 4
"""So many turns may others have first that would have come later."""


def cancels_come_first(story: Story) -> Iterator[str]:
    """While targets are left, one turn in eleven at most is a look's, but for those in hand.

    An ID that has used up its attempts has its turn as well, although nothing is sent.
    """
    world = story.world
    if world.pause is not None or world.shortage_share:
        return
    most = CANCELS_FOR_A_LOOK + 2 * world.concurrency
    for run in story.runs:
        left = len(run.targets)
        seen: set[str] = set()
        excess, told = 0, len(run.new_rows) - sum(row.ok for row in run.new_rows)
        for each in _in_order(story, run):
            if left - len(seen) <= 2 * world.concurrency:
                break
            if not isinstance(each, Look):
                seen.add(each.instance_id)
                excess = max(0, excess - 1)
                continue
            excess += CANCELS_FOR_A_LOOK
            if excess > most + told:
                yield f"run {run.number}: cancels wait for looks at {each.sent_at:.3f} s"
                break


def looks_do_not_starve(story: Story) -> Iterator[str]:
    """Where looks are due all the while, and nothing goes wrong, ten cancels go before each.

    Besides those that consumers have in hand, twice: before it and with it. A slow look keeps
    others waiting: most consumers are for cancels.
    """
    world = story.world
    trouble = world.looks is None or world.looks.troubles or world.troubles or world.limit
    if trouble or world.slow_share or world.shortage_share or world.stalls or world.connect_s:
        return
    most = CANCELS_FOR_A_LOOK + 2 * world.concurrency
    for run in story.runs:
        if run.breaker:
            continue
        due = sorted(
            [e.heard_at + FIRST_LOOK_AFTER_S for e in story.by_run[run.number] if e.accepts]
            + [run.began_at + FIRST_LOOK_AFTER_S for _ in run.unseen_before]
        )
        looked: set[str] = set()
        in_a_row = 0
        until = min((at for at, _ in run.looks_ended), default=math.inf)
        for each in _in_order(story, run):
            if each.sent_at >= until:
                break
            if isinstance(each, Look):
                looked.add(each.instance_id)
                in_a_row = 0
                continue
            waiting = bisect_right(due, each.sent_at) - len(looked)
            in_a_row = in_a_row + 1 if waiting > world.concurrency else 0
            if in_a_row > most:
                yield f"run {run.number}: {waiting} looks are due at {each.sent_at:.3f} s"
                break


def looks_hold_up_no_cancel(story: Story) -> Iterator[str]:
    """Where nothing else goes wrong, cancels end as without verification, and a tenth later.

    A tenth of all turns: an ID that fails has one more than it has attempts, to be told as failed.
    The last one of an ID that is good; the world is played once more. See `looks_cost` for looks
    that hang. Cancels that hang make a difference by their order alone. Latencies and back-offs are
    drawn anew: their sum is another one, and the order of a few. So it may be that ten bad ones
    come in a row only there, and end the run; or that it takes more probes to come past them.
    """
    world = story.world
    if world.looks is None or Fate.SILENT in world.fates or not only_ids_fail(world):
        return
    alone = play(replace(world, looks=None))
    if alone.runs[0].reason is not None:
        return
    with_s, without_s = _last_good_cancel_s(story), _last_good_cancel_s(alone)
    chance_s = world.latency_s * math.sqrt(len(story.exchanges)) / world.concurrency
    chance_s += _TURNS / (world.rate_per_s or AUTO_START_PER_S)
    turns = 1 + 1 / world.attempts
    most_s = (1 + (looks_cost(world) - 1) * turns) * without_s + LATER_S + chance_s
    if with_s > most_s:
        yield f"the last cancel comes after {with_s:.1f} s, not {most_s:.1f}"


def few_looks_in_an_outage(story: Story) -> Iterator[str]:
    """While no look gets through, they go one at a time, and further and further apart.

    Before that go those in hand, once more for words from before the outage, and three that fail;
    all of it for each call if none has ever answered.
    """
    if story.world.looks is None:
        return
    for run in story.runs:
        looks = [e for e in story.looks_by_run[run.number] if not e.free]
        for outage in story.world.looks.outages:
            start = max(outage.from_s, run.began_at)
            end = min(outage.from_s + outage.for_s, run.ended_at, story.healed_at or math.inf)
            sent = sum(start <= e.sent_at < end for e in looks)
            answered = any(e.status is not None and e.heard_at < start for e in looks)
            rounds = 1 if answered else len(READ_BACK)
            most = rounds * (2 * story.world.concurrency + TROUBLES + _most_waits(end - start))
            if sent > most:
                yield f"run {run.number}: {sent} looks from {start:.1f} to {end:.1f} s, not {most}"


def looks_wait_as_long_as_asked(story: Story) -> Iterator[str]:
    """No look goes until the time has passed that an answer to any request has asked for."""
    for run in story.runs:
        looks = story.looks_by_run[run.number]
        heard = [e for e in (*story.by_run[run.number], *looks) if e.asks_for_less]
        events = [(e.heard_at, 1, e) for e in heard]
        events += [(e.sent_at, 0, e) for e in looks]
        until = -math.inf
        for at, is_heard, each in sorted(events, key=lambda event: event[:2]):
            if not is_heard and at < until - ROUNDING_S:
                yield f"run {run.number}: a look at {at:.3f} s, asked to wait until {until:.3f}"
                break
            if is_heard:
                until = max(until, at + each.asked_s)


def _most_waits(for_s: float) -> int:
    """Return how many looks can go within some time, each after the shortest wait."""
    looks, at, wait_s = 0, 0.0, 2.0
    while at <= for_s:
        looks += 1
        at += 0.75 * min(wait_s, 30.0)
        wait_s *= 1.5
    return looks


def _in_order(story: Story, run: Run) -> list[Exchange]:
    sent = [*story.by_run[run.number], *story.looks_by_run[run.number]]
    return sorted(sent, key=lambda e: e.sent_at)


def _last_good_cancel_s(story: Story) -> float:
    """Return when it was sent, without the time that the breaker was open by then."""
    good = [e.sent_at for e in story.by_run[0] if not story.is_bad(e.instance_id)]
    last = max(good, default=0.0)
    return last - sum(min(until, last) - at for at, until in story.runs[0].times_open if at < last)
