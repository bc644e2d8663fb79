"""Invariants of how it goes on: who fails, who is held up, when and why a run ends."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bulkcancel.errors import InterruptedRunError, LimitError, ResultsError, TokenRefusedError
from bulkcancel.models import SUCCESSES, Outcome
from tests.simulation.requests import (
    AUTO_START_PER_S,
    BACK_OFF_S,
    LONGEST_BACK_OFF_S,
    OPENS,
    ROUNDING_S,
    UNTRIED,
    looks_cost,
    verification_s,
)
from tests.simulation.world import Fate

if TYPE_CHECKING:
    from tests.simulation.exchange import Exchange
    from tests.simulation.story import Run, Story
    from tests.simulation.world import World

HELD_UP_S = 3.0
"""For how much longer than all requests together take good IDs may wait for bad ones, besides
the probes where ten bad ones in a row look like an outage."""
STOPPED_WITHIN_S = 1.0
"""From the end of the grace, or a second signal, to the end of the run: rows are written."""
FULL_WITHIN_S = 2.0
_CLOCK_S = 0.6
"""What limits of time may be early by: some are looked for in steps."""
_FORBIDDEN_FROM_START = 25
_SHARE_FROM = 100
"""IDs that are finished before a share of failures is looked for."""


def no_good_id_fails_by_an_outage(story: Story) -> Iterator[str]:
    """An ID that Domo would accept is not `failed` by one outage while ten untried are left.

    Unless the run stopped when all were tried. With a single attempt only an outage that opens the
    breaker can be told from a failure.
    """
    for run in story.runs:
        for row in run.new_rows:
            if row.outcome is not Outcome.FAILED or story.is_bad(row.instance_id):
                continue
            if row.instance_id in run.failed_before:  # as it was, it is
                continue
            exchanges = story.by_id[run.number, row.instance_id]
            failed = [e for e in exchanges if e.failed]
            outage = _the_one_outage(story, failed)
            refused = bool(exchanges) and exchanges[-1].unauthorized
            if outage is None or refused or outage[1] - outage[0] >= story.world.max_outage_s:
                continue
            at = min(failed[-1].heard_at, run.ended_at)
            if not run.through and story.all_tried(run):  # then it is the stop that tells it
                continue
            visible = _failed_in_a_row(story, run, *outage) >= OPENS
            if story.untried(run, at) >= UNTRIED and (story.world.attempts > 1 or visible):
                yield (
                    f"run {run.number}: {row.instance_id} failed in the outage from "
                    f"{outage[0]:.1f} to {outage[1]:.1f} s, with {story.untried(run, at)} untried"
                )


def _the_one_outage(story: Story, failed: list[Exchange]) -> tuple[float, float] | None:
    """Return the outage that is to blame for all of it, if it is one."""
    for outage in story.world.outages:
        if failed and all(
            e.in_outage and outage[0] <= (e.arrived_at or e.sent_at) < outage[1] for e in failed
        ):
            return outage
    return None


def _failed_in_a_row(story: Story, run: Run, start: float, end: float) -> int:
    """Return the longest row of first attempts that failed, by when they were answered."""
    first = [e for e in story.first_attempts(run) if e.answered_at is not None]
    longest = now = 0
    for each in sorted(first, key=lambda e: e.heard_at):
        if start <= each.heard_at < end:
            now = now + 1 if each.failed else 0
            longest = max(longest, now)
    return longest


def good_ids_are_not_held_up(story: Story) -> Iterator[str]:
    """Where only IDs fail, the good ones are through when all requests could have been sent."""
    world = story.world
    if not only_ids_fail(world) or looks_cost(world) == math.inf:
        return
    for run in story.runs:
        exchanges = story.by_run[run.number]
        good = [e for e in exchanges if not story.is_bad(e.instance_id)]
        if not good:
            continue
        last_s = max(min(e.heard_at, run.ended_at) for e in good) - run.began_at
        count = sum(world.attempts if story.is_bad(each) else 1 for each in run.targets)
        count = math.ceil(looks_cost(world) * count)
        takes_s = world.timeout_s if Fate.SILENT in world.fates else 1.5 * world.latency_s
        rate = world.rate_per_s or AUTO_START_PER_S
        most_s = HELD_UP_S + count / rate
        if world.connect_s:  # then the first requests wait for the pace twice
            most_s += world.connect_s + world.concurrency / rate
        most_s += count * takes_s / world.concurrency + _looked_like_outages_s(run)
        if last_s > most_s:
            yield f"run {run.number}: good IDs took {last_s:.1f} s, not {most_s:.1f}"


def only_ids_fail(world: World) -> bool:
    """Return whether nothing goes wrong with a world's cancels but for its IDs."""
    limits = (world.deadline_s, world.max_failures, world.max_failure_share) != (None, None, None)
    other = world.troubles or world.limit or world.stalls or world.endings or limits
    return not other and not (
        world.write_s or world.pause or world.slow_share or world.idle_share or world.shortage_share
    )


def _looked_like_outages_s(run: Run) -> float:
    """Return for how long the breaker was open: ten bad IDs in a row look like an outage."""
    return sum(until - at for at, until in run.times_open)


def runs_stop_only_for_what_happened(story: Story) -> Iterator[str]:
    """A run that ends early says why, and it is true."""
    for run in story.runs:
        if run.reason is not None and run.killed_at is None:
            before = [e for e in story.by_run[run.number] if e.heard_at <= run.worked_until]
            if not _is_true(story, run, before, run.reason):
                yield f"run {run.number}: {type(run.reason).__name__}: {run.reason}"


def _is_true(story: Story, run: Run, seen: list[Exchange], reason: BaseException) -> bool:
    world, stopped_at = story.world, run.worked_until
    said = str(reason)
    domo = [e for e in seen if e.final]
    if isinstance(reason, InterruptedRunError):
        return run.signalled_at is not None
    if isinstance(reason, ResultsError):
        return run.full_at is not None
    if isinstance(reason, TokenRefusedError):
        refused = sum(e.unauthorized for e in seen)
        forbidden = sum(row.outcome is Outcome.FORBIDDEN for row in run.rows)
        allowed = any(row.outcome in SUCCESSES for row in run.rows)
        return refused >= (2 if domo else 1) or (forbidden >= _FORBIDDEN_FROM_START and not allowed)
    if isinstance(reason, LimitError):
        if reason.name == "max_failures":
            failed = sum(row.outcome not in SUCCESSES for row in run.new_rows)
            return world.max_failures is not None and failed >= world.max_failures
        if reason.name == "max_failure_share":
            failed = sum(row.outcome not in SUCCESSES for row in run.new_rows)
            return failed >= (world.max_failure_share or math.inf) * _SHARE_FROM
        asked_s = max((e.asked_s for e in seen), default=0.0)
        if reason.name == "max_outage_s":
            limit_s, passed_s = world.max_outage_s, _trouble_s(story, run, seen, stopped_at)
        else:
            limit_s, passed_s = world.deadline_s or math.inf, stopped_at - run.began_at
        if "left alone" in said:
            return asked_s + passed_s > limit_s - _CLOCK_S
        return passed_s >= limit_s - _CLOCK_S
    # The others are said of a server that has never answered as Domo does.
    return not domo


def _attempts_take_s(story: Story, run: Run) -> float:
    """Return how long it may take until the first of the IDs that fail has used up its attempts."""
    world = story.world
    bad = sum(story.is_bad(each) for each in run.targets)
    takes_s = max(world.timeout_s, world.latency_s + world.slow_s)
    waits_s = sum(min(BACK_OFF_S * 2.0**n, LONGEST_BACK_OFF_S) for n in range(world.attempts - 1))
    each_s = bad / (world.rate_per_s or AUTO_START_PER_S) + takes_s * (1 + bad / world.concurrency)
    return waits_s + world.attempts * each_s


def _trouble_s(story: Story, run: Run, seen: list[Exchange], until: float) -> float:
    """Return for how long there was nothing but trouble, if IDs alone do not explain it."""
    last = max((e.heard_at for e in seen if e.final), default=run.began_at)
    after = [e for e in seen if e.heard_at >= last and not e.final]
    looks_like_one = (
        bool(run.breaker)
        and run.breaker[-1][1]
        and (_failed_in_a_row(story, run, run.began_at, until) >= OPENS)
    )
    if all(e.bad or e.free for e in after) and not looks_like_one:
        too_short = story.world.max_outage_s < _attempts_take_s(story, run)
        return math.inf if too_short else 0.0  # it cannot tell a few IDs from an outage
    unanswered = [e for e in story.by_run[run.number] if e.begun_at <= until < e.heard_at]
    began = min((e.begun_at for e in after + unanswered), default=until)
    return until - began - story.stalled_s(began, until)


def limits_are_kept(story: Story) -> Iterator[str]:
    """A run stops at its deadline, and is not through with as many failures as it may have."""
    world = story.world
    for run in story.runs:
        if story.healed_at is not None and run.began_at >= story.healed_at:
            continue
        took_s = run.worked_until - run.began_at
        took_s -= story.stalled_s(run.began_at, run.worked_until)
        failed = sum(row.outcome not in SUCCESSES for row in run.new_rows)
        if took_s > (world.deadline_s or math.inf) + _CLOCK_S + 2 * world.write_s:
            yield f"run {run.number} goes on for {took_s:.1f} s, not {world.deadline_s:.1f}"
        if run.through and failed >= (world.max_failures or math.inf):
            yield f"run {run.number} is through with {failed} failures"
        last = max(
            (n for n, row in enumerate(run.new_rows, 1) if row.outcome not in SUCCESSES), default=0
        )
        share = world.max_failure_share or math.inf
        if run.through and last >= _SHARE_FROM and failed >= share * last:
            yield f"run {run.number} is through with {failed} failures of {last}"


def ends_in_time(story: Story) -> Iterator[str]:
    """Every run ends within the time that its work and its troubles explain, every world too."""
    if story.unfinished:
        yield f"after {len(story.runs)} runs it is not done"
    most_s = longest_run_s(story.world)
    for run in story.runs:
        if run.hung:
            yield f"run {run.number} hangs"
        elif run.ended_at - run.began_at > most_s:
            yield f"run {run.number} took {run.ended_at - run.began_at:.0f} s, not {most_s:.0f}"


def longest_run_s(world: World) -> float:
    """Return the virtual time within which a run of this world ends."""
    rates = [world.rate_per_s or AUTO_START_PER_S]
    if world.limit is not None:
        rates += [world.limit.rate_per_s, *(rate for _, rate in world.limit.changes)]
    count = len(world.fates)
    work_s = 3 * count * world.attempts / min(rates)
    takes_s = max(world.timeout_s, world.latency_s + world.slow_s)
    waits_s = 120.0 + world.attempts * (takes_s + 30)
    trouble_s = sum(3 * min(t.for_s, 100.0) + 40 for t in world.troubles)
    disk_s = count * world.write_s + world.sync_s
    return (
        work_s
        + waits_s
        + trouble_s
        + disk_s
        + 2 * world.max_outage_s
        + world.connect_s
        + (0.0 if world.pause is None else world.pause[1])
        + sum(for_s for _, for_s in world.stalls)
        + count * takes_s / world.concurrency * world.attempts
        + (0.0 if world.looks is None else verification_s(world, min(rates), takes_s))
    )


def stops_at_once(story: Story) -> Iterator[str]:
    """Nothing is sent after a stop; the run ends with the grace, or at once if asked twice."""
    world = story.world
    for run in story.runs:
        stopped_at = min(
            (at for at in (run.stopped_at, run.full_at) if at is not None), default=None
        )
        if stopped_at is None or run.killed_at is not None:
            continue
        exchanges = [*story.by_run[run.number], *story.looks_by_run[run.number]]
        late = [e.sent_at for e in exchanges if e.after_stop or e.sent_at > stopped_at]
        if late:
            yield f"run {run.number}: sent at {late[0]:.3f} s, stopped at {stopped_at:.3f}"
        if run.full_at is not None:
            end_s = run.full_at + FULL_WITHIN_S
        elif run.cut_at is not None:
            end_s = min(run.cut_at, stopped_at + world.grace_s) + STOPPED_WITHIN_S
        else:
            end_s = stopped_at + world.grace_s + STOPPED_WITHIN_S
        end_s += story.stalled_s(stopped_at, run.ended_at)
        end_s += world.write_s * (2 + world.concurrency / world.results_buffer)
        end_s += world.write_s * sum(row.outcome is Outcome.FAILED for row in run.new_rows)
        if run.ended_at > end_s:
            yield f"run {run.number}: ended at {run.ended_at:.3f} s, stopped at {stopped_at:.3f}"


def in_flight_get_the_grace(story: Story) -> Iterator[str]:
    """A stop abandons no request before the grace has passed, unless it is asked for twice."""
    for run in story.runs:
        ends = (run.killed_at, run.full_at, run.cut_at)
        if run.stopped_at is None or any(at is not None for at in ends) or run.hung:
            continue
        grace_s = run.ended_at - run.stopped_at
        abandoned = [e for e in story.by_run[run.number] if e.answered_at is None]
        if abandoned and grace_s < story.world.grace_s - ROUNDING_S:
            yield f"run {run.number}: {len(abandoned)} requests abandoned after {grace_s:.3f} s"
