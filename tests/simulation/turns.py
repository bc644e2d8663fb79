"""Invariants of whose turn it is: neither new targets nor retries wait for all the others."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from tests.simulation.requests import BACK_OFF_S, LONGEST_BACK_OFF_S, ROUNDING_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.exchange import Exchange
    from tests.simulation.story import Story

MOST_DUE_IN_A_ROW = 4
"""Retries before it is a new target's turn."""
MOST_NEW_IN_A_ROW = 10
"""New targets before it is the turn of a retry that is due, while first attempts fail."""
IN_HAND = 3
"""So often all consumers may have a new target in hand before one retry."""


def retries_do_not_starve(story: Story) -> Iterator[str]:
    """A retry that is due is sent soon, however many new targets there are.

    Not more than ten new ones for each retry go first, besides those that consumers have in hand:
    once, and twice more if the retry gave way to a new one when first attempts were failing.
    """
    for run in story.runs:
        sent = story.by_run[run.number]
        times = [e.sent_at for e in sent]
        new_before = [0, *accumulate(_is_new(sent))]
        put_back: defaultdict[str, list[float]] = defaultdict(list)
        for each, at in run.due:
            put_back[each].append(at)
        for each in run.targets:
            exchanges = story.by_id[run.number, each]
            for one, two in pairwise(exchanges):
                # It may have had its turn meanwhile, and found no descriptor.
                at = max((at for at in put_back[each] if at <= two.begun_at), default=-math.inf)
                due = run.due.get((each, at))
                if at < one.heard_at or due is None or due > two.sent_at:  # another at that time
                    continue
                if any(at <= when <= two.sent_at for when, _ in run.breaker):
                    continue
                start, end = bisect_left(times, due), bisect_left(times, two.sent_at)
                new = new_before[end] - new_before[start]
                retries = end - start - new
                if new > MOST_NEW_IN_A_ROW * (retries + 2) + IN_HAND * story.world.concurrency:
                    yield f"run {run.number}: {new} new ones came before {each}, due at {due:.3f} s"


def new_ones_do_not_starve(story: Story) -> Iterator[str]:
    """As long as there are new targets, every fifth request is one, but for those in hand.

    Where the input pauses there may be none, and one that finds no descriptor comes again.
    """
    if story.world.pause is not None or story.world.shortage_share:
        return
    most = MOST_DUE_IN_A_ROW + story.world.concurrency
    for run in story.runs:
        in_hand = 2 * story.world.concurrency
        left, in_a_row = len(run.targets), 0
        sent = story.by_run[run.number]
        for each, is_new in zip(sent, _is_new(sent), strict=True):
            left -= is_new
            in_a_row = 0 if is_new else in_a_row + 1
            if in_a_row > most and left > in_hand:
                yield f"run {run.number}: {in_a_row} retries in a row by {each.sent_at:.3f} s"
                break


def retries_wait_their_time(story: Story) -> Iterator[str]:
    """Between two attempts that failed lies the back-off: half its time at least, all at most.

    It begins at 1.5 seconds and doubles up to thirty. After an outage they come back sooner.
    """
    for run in story.runs:
        for each in run.targets:
            failures, plain = 0, not run.breaker
            for one, two in pairwise(story.by_id[run.number, each]):
                failures += not one.free
                plain = plain and (one.free or one.failed)
                if one.free or any(one.sent_at <= at <= two.sent_at for at, _ in run.breaker):
                    continue
                waits_s = two.sent_at - one.heard_at
                due_s = run.due.get((each, one.heard_at), one.heard_at) - one.heard_at
                most_s = min(BACK_OFF_S * 2.0 ** (failures - 1), LONGEST_BACK_OFF_S)
                least_s = (most_s if plain else BACK_OFF_S) / 2
                if waits_s < least_s - ROUNDING_S or due_s > most_s + ROUNDING_S:
                    yield f"run {run.number}: {each} comes {waits_s:.2f} s after {one.heard_at:.3f}"


def _is_new(sent: list[Exchange]) -> list[bool]:
    """Return of each request whether it is the first one of its ID."""
    first = {e.instance_id: n for n, e in reversed(list(enumerate(sent)))}
    return [first[e.instance_id] == n for n, e in enumerate(sent)]
