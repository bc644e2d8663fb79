"""Invariants of the circuit breaker: when it opens, and that it goes on asking."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from tests.simulation.requests import (
    LONGEST_BACK_OFF_S,
    LONGEST_PROBE_S,
    OPENS,
    ROUNDING_S,
    SOONEST,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.story import Run, Story

JITTER = 1.25
QUEUED = 2
"""Times as many targets as consumers are in the queue."""
_SLOWEST_PER_S = 0.5
"""What many 429s can bring the pace down to."""
_SLACK_S = 1.0


def breaker_opens_only_for_ten_ids(story: Story) -> Iterator[str]:
    """Ten first attempts of different IDs in a row, or a 401, and nothing else.

    Neither retries nor IDs that an earlier run has had as `failed` tell of an outage.
    """
    for run in story.runs:
        for at in story.outages_seen(run):
            first = [e for e in story.first_attempts(run) if e.heard_at <= at]
            in_a_row = 0
            # Of those that were answered at the same time, the successes may have come first, or
            # where it opened, last.
            for each in sorted(first, key=lambda e: (e.heard_at, e.failed)):
                if each.failed:
                    in_a_row += 1
                elif each.heard_at < at:
                    in_a_row = 0
            if in_a_row < OPENS:
                yield f"run {run.number}: it opened at {at:.3f} s for {in_a_row} failures"


def probes_go_on(story: Story) -> Iterator[str]:
    """While the breaker is open a probe is sent when it is time, until it closes or the run ends.

    Where only IDs are left that have failed, it may have to wait until one of them is due.
    """
    for run in story.runs:
        for opened_at, until in _open_at_work(run):
            sent = [e for e in story.by_run[run.number] if opened_at < e.sent_at < until]
            times = [opened_at, *(e.sent_at for e in sent), until]
            for n, (last, this) in enumerate(pairwise(times)):
                wait_s = JITTER * min(2.0**n, LONGEST_PROBE_S) + _delay_s(story, run, last, this)
                if this - last > wait_s:
                    yield (
                        f"run {run.number}: no probe from {last:.1f} to {this:.1f} s, "
                        f"though {wait_s:.1f} s are the most"
                    )


def probes_are_few(story: Story) -> Iterator[str]:
    """While the breaker is open, one request goes at a time, each after twice the wait.

    A connection closed while idle is no probe: the next one goes at once.
    """
    for run in story.runs:
        for opened_at, until in _open_at_work(run):
            free_at, failed = opened_at, 0
            for each in story.by_run[run.number]:
                if not opened_at < each.sent_at < until:
                    continue
                soonest_s = SOONEST * min(2.0**failed, LONGEST_PROBE_S)
                if each.sent_at < free_at + soonest_s - ROUNDING_S:
                    yield f"run {run.number}: a probe at {each.sent_at:.3f} s is too soon"
                    return
                if not each.free:
                    failed += 1
                    free_at = each.heard_at


def probes_are_of_new_ids(story: Story) -> Iterator[str]:
    """A probe is an untried target's, if there is one: one that has failed may be why it fails.

    Where the input pauses, or untried ones wait for a descriptor, there may be none; nor is one
    read as long as the queue is full of others.
    """
    if story.world.pause is not None or story.world.shortage_share:
        return
    for run in story.runs:
        times = list(_open_at_work(run))
        told: set[str] = set()
        for each in story.by_run[run.number]:
            is_probe = any(start < each.sent_at < end for start, end in times)
            is_retry = each.instance_id in told
            if is_probe and is_retry and _is_untried_in_the_queue(story, run, each.sent_at):
                yield f"run {run.number}: the probe at {each.sent_at:.3f} s is a retry"
            if not each.free:  # a connection closed while idle tells nothing
                told.add(each.instance_id)


def _is_untried_in_the_queue(story: Story, run: Run, at: float) -> bool:
    begun = {e.instance_id for e in story.by_run[run.number] if e.begun_at <= at}
    left = [each for each in run.targets if each not in begun]
    queued = left[: QUEUED * story.world.concurrency]
    return any(each not in run.failed_before for each in queued)


def two_refusals_stop(story: Story) -> Iterator[str]:
    """A 401 to a probe stops the run if that of another ID had put the token in doubt.

    It was what opened the breaker, or the answer to the probe before.
    """
    for run in story.runs:
        sent = story.by_run[run.number]
        refused = sorted((e for e in sent if e.unauthorized), key=lambda e: e.heard_at)
        for opened_at, until in _open_at_work(run):
            for one, two in pairwise(refused):
                in_doubt = one.heard_at == opened_at or one.sent_at > opened_at
                is_probe = one.heard_at < two.sent_at and two.heard_at < until
                if in_doubt and is_probe and one.instance_id != two.instance_id:
                    yield f"run {run.number}: it goes on after the 401 at {two.heard_at:.3f} s"


def _open_at_work(run: Run) -> Iterator[tuple[float, float]]:
    """Yield from when until when the breaker was open and the run at work."""
    ends = (run.stopped_at, run.killed_at, run.full_at, run.ended_at)
    end = min(at for at in ends if at is not None)
    for at, until in run.times_open:
        if at < end:
            yield at, min(until, end)


def _delay_s(story: Story, run: Run, last: float, this: float) -> float:
    """Return for how long a probe may be late: those under way, a pause, the pace, a stall."""
    world = story.world
    rate = world.rate_per_s or _SLOWEST_PER_S
    before = [e for e in story.by_run[run.number] if e.heard_at <= this]
    if any(e.asks_for_less for e in before):
        rate = _SLOWEST_PER_S
    asked_s = max((e.heard_at + e.asked_s - last for e in before), default=0.0)
    delay_s = _SLACK_S + world.timeout_s + world.connect_s + max(0.0, asked_s)
    delay_s += min(world.concurrency, len(run.targets)) / rate
    if not story.untried(run, last):
        delay_s += LONGEST_BACK_OFF_S
    if world.pause is not None:  # there may be nothing to send
        delay_s += world.pause[1]
    return delay_s + story.stalled_s(last, this) + 2 * world.write_s
