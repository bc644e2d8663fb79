"""Invariants of verification: what it says of an ID, and what became of the rows meanwhile."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from bulkcancel.domo import READ_BACK
from bulkcancel.models import UNSEEN, Outcome
from tests.simulation.requests import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bulkcancel.models import CancelResult
    from tests.simulation.exchange import Look
    from tests.simulation.story import Run, Story

MS_S = 0.002
"""Times of looks are kept in whole milliseconds, rounded up."""
TOKEN_PATIENCE_S = 10.0
"""For so long looks go on that meet nothing but trouble, where the last one is a 401."""
REFUSALS = 3
"""So many refusals, and no answer, show that there is no such call."""
_ENDED = {
    "CANCELED": Outcome.CANCELED,
    "CANCELLED": Outcome.CANCELED,
    "COMPLETED": Outcome.COMPLETED,
    "FAILED": Outcome.COMPLETED,
}


def stopped_only_if_domo_said_so(story: Story) -> Iterator[str]:
    """`canceled` and `completed` are what Domo said of that ID, with its status as said.

    Whether that was the answer to its cancel is seen to elsewhere; here it is a look's.
    """
    for run in story.runs:
        for row in _brought_up(run):
            if row.outcome is Outcome.UNCONFIRMED:
                continue
            said = {e.status for e in _looks_at(story, run, row.instance_id) if _has_ended(e)}
            if row.status not in said or _ENDED[row.status or ""] is not row.outcome or row.error:
                yield (
                    f"run {run.number}: {row.instance_id} is {row.outcome}, {row.status}, "
                    f"{row.error!r}, but looks said {sorted(map(str, said))}"
                )


def stopped_is_told(story: Story) -> Iterator[str]:
    """What a look has found stands in the file, where it could be written."""
    for run in story.runs:
        if run.before_update is None or run.rows_may_be_lost:
            continue
        rows = {row.instance_id: row for row in run.rows}
        for look in story.looks_by_run[run.number]:
            row = rows.get(look.instance_id)
            if _has_ended(look) and row is not None and row.outcome in UNSEEN:
                yield f"run {run.number}: {look.instance_id} has stopped, but is {row.outcome}"


def unconfirmed_only_after_its_time(story: Story) -> Iterator[str]:
    """`unconfirmed` means that the API itself has answered about that ID for so long.

    It said that it goes on, or refused this ID by a call that had answered about others. Trouble
    tells nothing of an ID, nor does a call of which it is not known that it is there.
    """
    least_s = 0.0 if story.world.looks is None else story.world.looks.timeout_s - MS_S
    for run in story.runs:
        works = _works_from(story, run)
        for row in _brought_up(run):
            if row.outcome is not Outcome.UNCONFIRMED:
                continue
            told = [
                e.heard_at
                for e in _looks_at(story, run, row.instance_id)
                if _goes_on(e) or (e.refused and works.get(e.call, math.inf) <= e.heard_at)
            ]
            if not told or told[-1] - told[0] < least_s:
                heard_s = told[-1] - told[0] if told else 0.0
                yield (
                    f"run {run.number}: {row.instance_id} is unconfirmed after {len(told)} answers "
                    f"in {heard_s:.3f} s: {row.error}"
                )


def rows_outlast_verification(story: Story) -> Iterator[str]:
    """Looking changes no row but those it is about, and loses none: they stay where they are.

    A run that was killed, or whose disk was full, has left its rows as it wrote them.
    """
    for run in story.runs:
        if Counter(r.instance_id for r in run.rows) != Counter(
            r.instance_id for r in run.written_rows
        ):
            yield f"run {run.number}: other IDs have rows than before"
            continue
        for row, old, line, was in zip(
            run.rows, run.written_rows, run.lines, run.written_lines, strict=True
        ):
            if line == was:
                continue
            if run.killed_at is not None or run.full_at is not None:
                yield f"run {run.number}: {row.instance_id} was changed, though it was ended"
            if old.outcome not in UNSEEN or row != old._replace(
                outcome=row.outcome, status=row.status, error=row.error
            ):
                yield f"run {run.number}: {was!r} became {line!r}"


def verified_to_the_end(story: Story) -> Iterator[str]:
    """A run that is through has looked at every accepted ID to the end, or says that it gave up."""
    for run in story.runs:
        if not run.through:
            continue
        left = [row.instance_id for row in run.rows if row.outcome is Outcome.ACCEPTED]
        if left and not run.looks_ended:
            yield f"run {run.number}: {len(left)} still accepted, such as {left[0]}: not a word"


def gives_up_once(story: Story) -> Iterator[str]:
    """That looks are given up is said once, after that none is sent, and nothing else ends."""
    for run in story.runs:
        if len(run.looks_ended) > 1:
            yield f"run {run.number}: said {len(run.looks_ended)} times that looks have ended"
        for at, _ in run.looks_ended:
            late = [e.sent_at for e in story.looks_by_run[run.number] if e.sent_at > at]
            if late:
                yield f"run {run.number}: a look at {late[0]:.3f} s, given up at {at:.3f}"


def gives_up_only_for_what_happened(story: Story) -> Iterator[str]:
    """Looks are given up only where neither call has answered, or for trouble that lasted.

    Time in which the process was stopped, or cancels and looks were held back, is none.
    """
    assert story.world.looks is not None
    patience_s = max(story.world.looks.timeout_s, PATIENCE_S)
    for run in story.runs:
        for at, reason in run.looks_ended:
            heard = [e for e in story.looks_by_run[run.number] if e.heard_at <= at]
            answers = [e.heard_at for e in heard if e.status is not None]
            if "left alone" in reason:
                is_true = any(each.asked_s > patience_s for each in heard)
            elif "nothing but trouble" in reason:
                last = max(answers, default=run.began_at)
                least_s = TOKEN_PATIENCE_S if "unauthorized" in reason else patience_s
                lasted_s = at - last - story.stalled_s(last, at)
                lasted_s -= sum(
                    until - max(last, opened_at)
                    for opened_at, until in run.times_open
                    if last < until < at
                )
                is_true = bool(answers) and lasted_s >= min(least_s, patience_s) - MS_S
            else:
                is_true = not answers and {e.call for e in heard if not e.free} == set(READ_BACK)
            # Where nothing was ever sent to this server before the first fault is enough.
            sent = any(e.sent_at <= at for e in story.by_run[run.number])
            if not is_true and (sent or answers):
                yield f"run {run.number}: gave up looking at {at:.3f} s: {reason}"


def no_call_costs_little(story: Story) -> Iterator[str]:
    """Where neither call is there few looks are sent, and every row stays `accepted`."""
    looks, world = story.world.looks, story.world
    if looks is None or looks.v2 is not None or looks.v1 is not None:
        return
    trouble = looks.troubles or world.troubles or world.limit
    most = len(READ_BACK) * REFUSALS + 2 * world.concurrency
    for run in story.runs:
        sent = [e for e in story.looks_by_run[run.number] if not e.free]
        if len(sent) > most and not trouble:
            yield f"run {run.number}: {len(sent)} looks at nothing, not {most}"
        if changed := _brought_up(run):
            yield f"run {run.number}: {changed[0].instance_id} is {changed[0].outcome}"


def looks_are_of_accepted(story: Story) -> Iterator[str]:
    """Only what was accepted, and not seen to stop, is looked at, one look at a time."""
    for run in story.runs:
        may_be = run.unseen_before
        heard = {
            e.instance_id: e.heard_at
            for e in story.by_run[run.number]
            if e.accepts and e.instance_id not in may_be
        }
        free_at: dict[str, float] = {}
        for each in story.looks_by_run[run.number]:
            if each.sent_at < heard.get(each.instance_id, math.inf) and (
                each.instance_id not in may_be
            ):
                yield f"run {run.number}: {each.instance_id} was not accepted, but is looked at"
            if each.sent_at < free_at.get(each.instance_id, -math.inf):
                yield f"run {run.number}: {each.instance_id} is looked at at {each.sent_at:.3f} s"
            free_at[each.instance_id] = math.inf if _has_ended(each) else each.heard_at


def _brought_up(run: Run) -> list[CancelResult]:
    """Return the rows that looking has changed."""
    return [
        row
        for row, line, was in zip(run.rows, run.lines, run.written_lines, strict=False)
        if line != was
    ]


def _looks_at(story: Story, run: Run, instance_id: str) -> list[Look]:
    """Return the answered looks at an ID, as they were answered."""
    looks = [
        e
        for e in story.looks_by_run[run.number]
        if e.instance_id == instance_id and e.answered_at is not None
    ]
    return sorted(looks, key=lambda e: e.heard_at)


def _works_from(story: Story, run: Run) -> dict[str, float]:
    """Return from when on it was known of each call that it is there."""
    works: dict[str, float] = {}
    for look in story.looks_by_run[run.number]:
        if _has_ended(look) or _goes_on(look):
            works[look.call] = min(works.get(look.call, math.inf), look.heard_at)
    return works


def _has_ended(look: Look) -> bool:
    return (look.status or "") in _ENDED


def _goes_on(look: Look) -> bool:
    return look.status is not None and look.status not in _ENDED
