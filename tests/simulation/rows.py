"""Invariants of the results file: what its rows say, and which IDs are sent again."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from bulkcancel.domo.answers import Answer
from bulkcancel.models import Outcome
from tests.simulation.requests import OPENS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bulkcancel.models import CancelResult
    from tests.simulation.exchange import Exchange
    from tests.simulation.story import Run, Story

WRITTEN_WITHIN_S = 0.1
"""From an answer to its row in the file; a slow disk adds its own time."""

_REFUSALS = {404: Outcome.NOT_FOUND, 409: Outcome.REJECTED, 403: Outcome.FORBIDDEN}
_ENDED = {"CANCELED": Outcome.CANCELED, "COMPLETED": Outcome.COMPLETED}
_MAY_HAVE = "an earlier attempt may have cancelled it"


def one_row_for_each_id(story: Story) -> Iterator[str]:
    """One row for each ID at the end, and none for anything else.

    A run that was killed, or for which the disk was full, may leave the old row of an ID that was
    sent again beside the new one, and no other.
    """
    for run in story.runs:
        twice = [row.instance_id for row, _ in run.older]
        if twice and run.killed_at is None and run.full_at is None:
            yield f"run {run.number}: two rows for {twice[:3]}"
        if len(set(twice)) < len(twice):
            yield f"run {run.number}: three rows for an ID"
        for row, line in run.older:
            if run.before.get(row.instance_id) != line or row.outcome not in story.world.again:
                yield f"run {run.number}: {row.instance_id} has an old row that is none"
        if strange := [row.instance_id for row in run.rows if row.instance_id not in story.fate_of]:
            yield f"run {run.number}: rows for {strange[:3]}, which nobody listed"
        if run.part_of_a_row and run.killed_at is None:
            yield f"run {run.number}: the file ends in {run.part_of_a_row[:40]!r}"
    last = story.runs[-1]
    if last.through and (missing := set(story.ids) - {row.instance_id for row in last.rows}):
        yield f"{len(missing)} of {len(story.ids)} IDs have no row, such as {min(missing)}"


def no_row_is_lost(story: Story) -> Iterator[str]:
    """An ID that had a row has one, whatever has ended the run and whatever it was given.

    It is the same to the byte unless this run has heard of the ID: other checks tell what a new
    row may say.
    """
    for run in story.runs:
        lines = dict(zip((r.instance_id for r in run.written_rows), run.written_lines, strict=True))
        for each, line in run.before.items():
            if each not in lines:
                yield f"run {run.number}: the row of {each} has gone"
            elif lines[each] != line and not story.by_id[run.number, each]:
                yield f"run {run.number}: the row of {each} is another, though it was not sent"


def figures_add_up(story: Story) -> Iterator[str]:
    """What a run counts is what Domo and the file saw; a killed run tells nothing."""
    for run in story.runs:
        if run.killed_at is not None or run.hung:
            continue
        exchanges = story.by_run[run.number]
        rows = {row.instance_id for row in run.new_rows}
        ids = {e.instance_id for e in exchanges}
        may_have_arrived = {
            e.instance_id for e in exchanges if e.ambiguous or not isinstance(e.reply, Exception)
        }
        stats = run.stats
        expected = {
            "outcomes": (
                stats.outcomes,
                Counter(row.outcome for row in run.rows if row.instance_id in rows),
            ),
            "earlier outcomes": (
                run.kept,
                Counter(row.outcome for row in run.rows if row.instance_id not in rows),
            ),
            "requests": (stats.requests, len(exchanges)),
            "looks": (stats.looks, len(story.looks_by_run[run.number])),
            "throttled": (stats.throttled, sum(e.asks_for_less for e in exchanges)),
            "in flight": (stats.in_flight, 0),
            "unanswered": (stats.unanswered, len(may_have_arrived - rows)),
        }
        for name, (said, counted) in expected.items():
            if said != counted:
                yield f"run {run.number}: {name} {said}, counted {counted}"
        again = len(exchanges) - len(ids)
        # Those that were still to come when it ended are counted as well.
        if stats.retries < again or (run.through and stats.retries != again):
            yield f"run {run.number}: retries {stats.retries}, counted {again}"
        left = set(run.targets) - rows
        if run.through and left:
            yield f"run {run.number}: it says that it is through, {len(left)} IDs have no row"


def said_by_domo(story: Story) -> Iterator[str]:
    """A row holds what Domo said of that ID in this run, and no more attempts than were made."""
    for run in story.runs:
        for row in run.new_rows:
            exchanges = story.by_id[run.number, row.instance_id]
            if not exchanges:
                yield f"run {run.number}: {row.instance_id} is {row.outcome}, but was never sent"
                continue
            if wrong := _wrong(row, exchanges):
                yield f"run {run.number}: {row.instance_id} is {row.outcome}, {wrong}"


def _wrong(row: CancelResult, exchanges: list[Exchange]) -> str:
    """Return what of a row does not follow from what was exchanged about its ID."""
    last, made = exchanges[-1], len(exchanges)
    if row.outcome is Outcome.FAILED:
        if not (last.failed or last.unauthorized):
            return f"though its last attempt did not fail: {last.reply}"
    elif not (last.final and isinstance(last.reply, Answer)):
        return "without a word of Domo's"
    elif _outcome(last.reply) is not row.outcome:
        return f"though Domo said {last.reply}"
    if row.outcome in {Outcome.NOT_FOUND, Outcome.REJECTED}:
        may_have = any(e.ambiguous for e in exchanges[:-1])
        if may_have is not (_MAY_HAVE in row.error):
            return f"ambiguous before: {may_have}, but it says {row.error!r}"
    if not made - sum(e.free for e in exchanges) <= row.attempts <= made:
        return f"after {row.attempts} attempts, but there were {made}"
    return ""


def _outcome(answer: Answer) -> Outcome:
    if answer.instance is None:
        return _REFUSALS[answer.http_status]
    return _ENDED.get(answer.instance.status or "", Outcome.ACCEPTED)


def attempts_used_up_are_told(story: Story) -> Iterator[str]:
    """Also where a run stops: an ID that has had all its attempts has a row.

    So has one whose last answer was a 401, unless 401s have used up its attempts and an outage has
    given them back. What was in flight when it stopped may be sent again instead. After an opening
    of the breaker attempts begin anew, so such runs tell less here.
    """
    for run in story.runs:
        if run.through or run.rows_may_be_lost:
            continue
        rows = {row.instance_id for row in run.new_rows}
        for each in run.targets:
            exchanges = story.by_id[run.number, each]
            refused = sum(e.unauthorized for e in exchanges)
            given_back = refused >= story.world.attempts and story.outages_seen(run)
            if refused and exchanges[-1].unauthorized and each not in rows and not given_back:
                yield f"run {run.number}: {each} was answered 401 and has no row"
            if run.breaker:
                continue
            failed = sum(e.failed and e.heard_at < run.worked_until for e in exchanges)
            if failed >= story.world.attempts and each not in rows:
                yield f"run {run.number}: {each} failed {failed} times and has no row"


def no_outage_is_left_behind(story: Story) -> Iterator[str]:
    """Where a run ends, and all were tried, of ten or more that failed last some have their rows.

    Those that had failed before another was answered; else a resumed run that is given no others
    takes them for an outage. What fails while the breaker is open, or as it opens, tells nothing of
    its ID: runs with that are left out, as are those with IDs that failed before.
    """
    for run in story.runs:
        skipped = run.rows_may_be_lost or run.breaker or run.failed_before
        if run.through or skipped or not story.all_tried(run):
            continue
        rows = {row.instance_id for row in run.new_rows}
        last = {e.instance_id: e for e in story.by_run[run.number]}
        left = [each for each, e in last.items() if e.failed and each not in rows]
        known = [each for each in left if _failed_by_itself(story, run, each)]
        if len(left) >= OPENS and known:
            yield f"run {run.number}: {len(left)} have failed and have no row, such as {known[0]}"


def _failed_by_itself(story: Story, run: Run, instance_id: str) -> bool:
    """Return whether a request was answered that was sent after an ID had failed first."""
    failed_at = min(e.heard_at for e in story.by_id[run.number, instance_id] if e.failed)
    return any(e.final and e.sent_at > failed_at for e in story.by_run[run.number])


def failed_only_after_its_attempts(story: Story) -> Iterator[str]:
    """An ID is `failed` when it has had all its attempts, or was answered 401 last.

    What failed while the breaker was open was none, unless it ended a doubt about the token, nor
    what was under way when it opened or closed. After an outage attempts begin anew. When the run
    stops, one that had failed before and failed again is known as failed; so is one of ten or more
    that have failed where all were tried, if others were answered since, and it used an attempt.
    """
    for run in story.runs:
        failed = {e.instance_id for e in story.by_run[run.number] if e.failed}
        answered = {e.instance_id for e in story.by_run[run.number] if e.final}
        many = len(failed - answered) >= OPENS
        for row in run.new_rows:
            exchanges = story.by_id[run.number, row.instance_id]
            if row.outcome is not Outcome.FAILED or not exchanges or exchanges[-1].unauthorized:
                continue
            used = _attempts_used(story, run, exchanges)
            if exchanges[-1].failed and not run.through:
                by_itself = many and used and _failed_by_itself(story, run, row.instance_id)
                if row.instance_id in run.failed_before or (by_itself and story.all_tried(run)):
                    continue
            if used < story.world.attempts:
                yield f"run {run.number}: {row.instance_id} failed after {used} attempts"


def _attempts_used(story: Story, run: Run, exchanges: list[Exchange]) -> int:
    outages = story.outages_seen(run)
    used, waited_from = 0, math.inf
    for each in exchanges:
        if any(waited_from < at < each.sent_at for at in outages):
            used = 0
        waited_from = each.heard_at
        changed = any(each.sent_at < at < waited_from for at, _ in run.breaker)
        ended_a_doubt = (each.answered_at, False) in run.breaker
        used += each.failed and not changed and (ended_a_doubt or not run.is_open(each.sent_at))
    return used


def sent_twice_only_if_unanswered(story: Story) -> Iterator[str]:
    """What has its row is never sent; nothing is sent twice at a time, or after its answer.

    An answer that was given has its row, unless the process was killed or the disk was full
    just then, or the row was torn off.
    """
    for run in story.runs:
        rows = {row.instance_id for row in run.new_rows}
        for each in run.targets:
            exchanges = story.by_id[run.number, each]
            for one, two in pairwise(exchanges):
                if one.answered_at is None or one.answered_at > two.sent_at or one.final:
                    yield f"run {run.number}: {each} is sent again at {two.sent_at:.3f} s"
            answered = exchanges and exchanges[-1].final and each not in rows
            if answered and not _ended_before_its_row(story, run, exchanges[-1]):
                yield f"run {run.number}: {each} was answered and has no row"
        for exchange in story.by_run[run.number]:
            if exchange.instance_id not in run.targets or exchange.instance_id in run.done_before:
                yield f"run {run.number}: {exchange.instance_id} is sent, though it is done"


def _ended_before_its_row(story: Story, run: Run, exchange: Exchange) -> bool:
    if exchange.instance_id in run.torn or run.hung:
        return True
    ends = [at for at in (run.killed_at, run.full_at) if at is not None]
    if not ends or exchange.answered_at is None:
        return False
    within_s = WRITTEN_WITHIN_S + 2 * story.world.write_s
    within_s += story.stalled_s(exchange.answered_at, min(ends))
    return exchange.answered_at >= min(ends) - within_s
