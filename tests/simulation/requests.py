"""Invariants of what is sent: how many requests, and when."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tests.simulation.world import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.story import Run, Story
    from tests.simulation.world import World

AUTO_START_PER_S = 5.0
"""What the search for a rate begins with, where `rate_per_s` is `None`."""
AUTO_CEILING_PER_S = 1000.0
"""And what it goes up to."""
SHARE_OF_RATE = 1.02
OPENS = 10
"""First attempts of different IDs that fail in a row open the breaker."""
RETRIES_WHILE_OPENING = 4
"""Retries that may come between those ten: new targets come first, others were under way."""
SHARE_IN_FLIGHT = 1.1
UNTRIED = 10
"""With fewer left, an outage cannot be told from IDs that fail: the breaker may not open."""
SOONEST = 0.75
"""Of a probe's wait, by its jitter."""
LONGEST_PROBE_S = 30.0
BACK_OFF_S = 1.5
"""The longest that the first may be; it doubles."""
LONGEST_BACK_OFF_S = 30.0
ROUNDING_S = 1e-6
WITH_LOOKS = 1.1
"""Times as many turns, with the looks that come between cancels."""
PATIENCE_S = 30.0
"""For so long at least looks go on that meet nothing but trouble."""
LONGEST_LOOK_WAIT_S = 37.5
"""Thirty seconds and a quarter."""
_HANGING = frozenset({Kind.SILENCE, Kind.SLOW})


def within_the_rate(story: Story) -> Iterator[str]:
    """No second holds more requests, looks among them, than the rate and 2 %, and the burst.

    Where a second spans two runs, each of them may begin with its burst: the second does not
    know when the first one sent its last. And one request that has waited for its connection, or
    for a disk that held the process, for less than an interval may leave together with the next.
    """
    world = story.world
    rate = world.rate_per_s or AUTO_CEILING_PER_S
    most = max(math.floor(rate * SHARE_OF_RATE), math.ceil(rate)) + world.burst - 1
    most += world.connect_s > 0 or world.write_s > 0
    sent = sorted((e.sent_at, e.run) for e in (*story.exchanges, *story.looks))
    first = 0
    for last, (at, run) in enumerate(sent):
        while at - sent[first][0] >= 1 - ROUNDING_S:
            first += 1
        allowed = most + (run - sent[first][1]) * world.burst
        if last - first + 1 > allowed:
            yield f"{last - first + 1} requests in the second before {at:.3f} s, not {allowed}"
            return


def pauses_as_long_as_asked(story: Story) -> Iterator[str]:
    """Nothing is sent until the time has passed that an answer has asked for."""
    for run in story.runs:
        until = -math.inf
        events = [(e.sent_at, 0, e) for e in story.by_run[run.number]]
        events += [(e.heard_at, 1, e) for e in story.by_run[run.number] if e.asks_for_less]
        for at, is_heard, each in sorted(events, key=lambda event: event[:2]):
            if not is_heard and at < until - ROUNDING_S:
                yield f"run {run.number}: sent at {at:.3f} s, asked to wait until {until:.3f}"
                break
            if is_heard:
                until = max(until, at + each.asked_s)


def few_in_an_outage(story: Story) -> Iterator[str]:
    """While nothing gets through and ten untried IDs are left, little is sent.

    From the moment on when it can be seen: not more than 1.1 for each ID in flight then, or when
    the breaker opened, those that open it, and the probes. It cannot be seen before the last word
    of Domo's on a request from before the outage: such a word ends a row of failures. It has to,
    as it may as well be that half of all IDs are bad. Nor can it be seen while the input pauses, or
    by a new target that gets no connection; and after a 401 it is looked for once more.
    """
    for run in story.runs:
        for start, end in story.world.outages:
            end = min(end, run.ended_at, story.healed_at or math.inf)  # noqa: PLW2901
            if end <= max(start, run.began_at) or story.untried(run, end) < UNTRIED:
                continue
            seen_at, opened_at = _seen_and_opened(story, run, start, end)
            seen_at = max(seen_at, story.input_went_on_at(run))
            sent = [e for e in story.by_run[run.number] if seen_at <= e.sent_at < end]
            told = [e for e in sent if not e.free]
            doubts = [at for at, until in story.doubts(run).items() if at < end and until > seen_at]
            in_flight = max(_in_flight(story, run, at) for at in (seen_at, opened_at, *doubts))
            probes = _most_probes(end - opened_at)
            most = (SHARE_IN_FLIGHT * in_flight + OPENS + RETRIES_WHILE_OPENING) * (1 + len(doubts))
            most += probes + RETRIES_WHILE_OPENING * (len(sent) - len(told))
            most += min(_retries_under_way(story, run, seen_at), story.world.concurrency)
            if len(told) > most:
                yield (
                    f"run {run.number}: {len(told)} requests from {seen_at:.1f} to {end:.1f} s, "
                    f"with {in_flight} in flight and {probes} probes"
                )


def _seen_and_opened(story: Story, run: Run, start: float, end: float) -> tuple[float, float]:
    """Return from when on an outage can be seen, and when the breaker opened, at the latest.

    That is when ten first attempts have failed since Domo's last word.
    """
    said = min((at for at in story.outages_seen(run) if start <= at < end), default=end)
    first = {e.instance_id: e for e in story.first_attempts(run)}
    seen_at, failed = start, 0
    for each in sorted(story.by_run[run.number], key=lambda e: e.heard_at):
        if not start <= each.heard_at < said:
            continue
        if each.final:
            seen_at, failed = each.heard_at, 0
        elif each.in_outage and each is first.get(each.instance_id):
            failed += 1
            if failed == OPENS:
                return seen_at, each.heard_at
    return seen_at, said


def _retries_under_way(story: Story, run: Run, seen_at: float) -> int:
    """Return how many were sent before the first new target failed: their turn had come."""
    first = {e.instance_id: e for e in story.first_attempts(run)}
    failed = [e.heard_at for e in first.values() if e.in_outage and e.heard_at >= seen_at]
    doubt_at = min(failed, default=math.inf)
    sent = [e for e in story.by_run[run.number] if seen_at <= e.sent_at < doubt_at]
    return sum(e is not first.get(e.instance_id) for e in sent)


def _in_flight(story: Story, run: Run, at: float) -> int:
    return sum(e.sent_at <= at <= e.heard_at for e in story.by_run[run.number])


def _most_probes(for_s: float) -> int:
    """Return how many probes can have been sent within some time, each as soon as it may be."""
    probes, at, wait_s = 0, SOONEST, 1.0
    while at <= for_s:
        probes += 1
        wait_s = min(2 * wait_s, LONGEST_PROBE_S)
        at += wait_s * SOONEST
    return probes


def few_for_one_id(story: Story) -> Iterator[str]:
    """An ID has its attempts, and no more, each time anew after an outage had opened the breaker.

    A request that was under way when it opened costs no attempt, nor does one that was sent while
    it was open, a 429, a 401, or a connection closed while idle.
    """
    attempts = story.world.attempts
    for run in story.runs:
        outages = len(story.outages_seen(run))
        openings = sum(opened for _, opened in run.breaker)
        for each in run.targets:
            cost = sum(
                e.failed and not run.is_open(e.sent_at) for e in story.by_id[run.number, each]
            )
            if cost > attempts * (1 + outages) + openings:
                yield f"run {run.number}: {cost} failures of {each}, {outages} outages"


def looks_cost(world: World) -> float:
    """Return how many times as long cancels may take with looks between them.

    A look that hangs occupies a consumer, and so may one in four of them, or one of fewer. Where
    that is the only one, there is no bound.
    """
    if world.looks is None:
        return 1.0
    if not any(each.kind in _HANGING for each in world.looks.troubles):
        return WITH_LOOKS
    free = world.concurrency - max(1, world.concurrency // 4)
    return WITH_LOOKS * world.concurrency / free if free else math.inf


def verification_s(world: World, rate_per_s: float, takes_s: float) -> float:
    """Return for how long accepted IDs may be looked at once the cancels are through.

    Each has its time, but for the longest wait before each look; looks that meet nothing but
    trouble go on for as long again for each of the two calls. Beside them stands what the looks
    themselves take.
    """
    assert world.looks is not None
    patience_s = max(world.looks.timeout_s, PATIENCE_S)
    looks = 3 + math.ceil(world.looks.timeout_s / 10)
    count = len(world.fates) * looks
    held_s = sum(3 * min(t.for_s, patience_s) for t in world.looks.troubles)
    takes_s += world.timeout_s + LONGEST_LOOK_WAIT_S
    return (
        count / rate_per_s
        + count * world.timeout_s / world.concurrency
        + 4 * (patience_s + takes_s)
        + held_s
    )
