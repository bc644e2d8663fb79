"""The settings of one run as the engine's policy, its plan before and its summary after."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bulkcancel.cli.files import metrics_notes
from bulkcancel.cli.process import fitting_concurrency
from bulkcancel.cli.settings_sources import settings_variables
from bulkcancel.engine import Limits, Policy, Verification
from bulkcancel.errors import (
    BulkcancelError,
    DeclinedError,
    ExistsError,
    InputError,
    InterruptedRunError,
    OutputError,
    StoppedError,
)
from bulkcancel.models import SUCCESSES, CancelResult, Outcome
from bulkcancel.reporting import DisplayOptions, Finish, Plan, Summary, finish_command
from bulkcancel.results import ResultsFile, ResultsStream, format_of, timestamp
from bulkcancel.version import VERSION

if TYPE_CHECKING:
    from bulkcancel.cli.settings import RunSettings, ServerSettings
    from bulkcancel.cli.sources import Inputs
    from bulkcancel.engine import Findings, Stats
    from bulkcancel.results import Mode, Resumed


def plan_of(
    settings: RunSettings,
    inputs: Inputs,
    policy: Policy,
    host: str,
    *,
    proxy: str,
    unseen: int = 0,
) -> Plan:
    """Return what is known of the run before its first request.

    `unseen` is how many IDs an earlier run has left that were accepted and not seen to stop.
    """
    return Plan(
        host=f"{host} (nothing is real)" if settings.sandbox else host,
        proxy=proxy,
        inputs=", ".join(inputs.names),
        to_cancel=inputs.to_cancel,
        breakdown=inputs.breakdown,
        already_done=inputs.already_done,
        duplicates=inputs.counts.duplicates,
        left_out_by_where=inputs.counts.left_out_by_where,
        shard=settings.shard,
        in_shard=None if inputs.has_pipe else inputs.counts.targets,
        listed=inputs.listed,
        beyond_limit=inputs.beyond_limit,
        invalid=inputs.invalid,
        rate_per_s=policy.rate_per_s,
        concurrency=policy.concurrency,
        output=settings.output,
        verify_s=settings.verify_timeout if settings.verify else None,
        unseen=unseen if settings.verify else 0,
        notes=[*inputs.notes, *metrics_notes(settings.metrics)],
    )


def display_options_of(
    settings: ServerSettings,
    command: str = "run",
    *,
    rows_on_stdout: bool,
    summary: str | None = None,
    metrics: str | None = None,
    dry_run: bool = False,
) -> DisplayOptions:
    """Return what is shown of a command."""
    return DisplayOptions(
        log_format=settings.log_format,
        log_level=settings.log_level,
        log_file=settings.log_file,
        quiet=settings.quiet,
        summary=summary,
        metrics=metrics,
        rows_on_stdout=rows_on_stdout,
        dry_run=dry_run,
        command=command,
    )


def policy_of(settings: RunSettings, inputs: Inputs, resumed: Resumed | None) -> Policy:
    """Return how fast the run is and what ends it, fitted to this process's descriptors.

    The rate is the whole job's: a shard has its share of it, and begins when its turn comes, so
    that shards started together do not all send at once.

    Raises the soft limit of descriptors (`ulimit -n`) where that is needed and allowed. A share
    of failures is one of all IDs listed, up to --limit: call this before those that are done are
    left out.
    """
    failures = settings.max_failures.of(inputs.to_cancel)
    concurrency = fitting_concurrency(
        settings.concurrency, sockets_each=2 if settings.sandbox else 1
    )
    rate_per_s, shard, first_after_s = settings.rate, settings.shard, 0.0
    if rate_per_s is not None and shard is not None:
        first_after_s = shard.index / rate_per_s
        rate_per_s /= shard.count
    return Policy(
        rate_per_s=rate_per_s,
        burst=settings.burst,
        first_after_s=first_after_s,
        concurrency=concurrency,
        attempts=settings.attempts,
        grace_s=settings.grace,
        limits=Limits(
            max_outage_s=settings.max_outage,
            deadline_s=settings.deadline,
            max_failures=failures.count,
            max_failure_share=failures.share,
        ),
        ok=settings.ok,
        succeeded_before=sum(resumed.outcomes[each] for each in SUCCESSES) if resumed else 0,
        verification=Verification(settings.verify_timeout) if settings.verify else None,
    )


def reserve_results(settings: RunSettings, host: str) -> ResultsStream:
    """Lock the results of a run against `host` and read back what an earlier run left.

    Nothing is written yet. Raises `BusyError`, `OutputError` and `UsageError`.
    """
    if settings.output == "-":
        if sys.stdout is None:
            raise OutputError("standard output is closed: choose another -o")
        return ResultsStream(sys.stdout.fileno(), form=format_of("-", settings.output_format))
    mode: Mode = "overwrite" if settings.overwrite else "new"
    try:
        return ResultsFile.reserve(
            settings.output,
            host=host,
            mode="resume" if settings.resume else mode,
            form=settings.output_format,
            again=settings.again,
            dry_run=settings.dry_run,
            asks=settings.verify,
        )
    except ExistsError as error:
        raise error.called("--resume", "--overwrite") from None


def summary_of(
    settings: RunSettings,
    inputs: Inputs,
    stats: Stats,
    resumed: Resumed | None,
    *,
    host: str,
    error: BulkcancelError | None,
    looks_ended: str = "",
    started_at: datetime,
    seconds: float,
) -> Summary:
    """Return the summary of the run, with its exit code and how to finish it if it ended early.

    `stats.unanswered` may still count an ID whose row came later: no more are taken than add up.
    """
    counts = replace(inputs.counts)  # a pipe's thread may go on counting: this must add up
    expected = settings.expect_count
    if error is None and expected is not None and inputs.listed != expected:
        error = BulkcancelError(
            f"the input listed {inputs.listed:,} distinct IDs, not the {expected:,} of "
            "--expect-count"
        )
    if isinstance(error, InputError) and stats.requests:
        error = StoppedError(str(error))  # exit code 2 says that nothing was sent
    kept_failures = resumed.kept_failures(stats.ok) if resumed is not None else 0
    without_row = counts.rows - counts.duplicates - counts.filtered
    without_row -= inputs.already_done + stats.done
    unanswered = min(stats.unanswered, without_row)
    again = any(stats.outcomes[outcome] for outcome in settings.again)
    again |= settings.verify and stats.outcomes[Outcome.ACCEPTED] > 0
    finish = Finish("")
    if _may_resume(error) and (without_row or again) and settings.output != "-":
        finish = finish_command(sys.argv[1:], inputs.names, settings_variables())
    return Summary(
        version=VERSION,
        host=host,
        inputs=inputs.names,
        shard=str(settings.shard or ""),
        output=settings.output,
        exit_code=error.exit_code if error else int(bool(stats.failed or kept_failures)),
        reason=_reason(error, stats),
        rows_in=counts.rows,
        duplicates=counts.duplicates,
        filtered=counts.filtered,
        other_shards=counts.other_shards,
        unanswered=unanswered,
        not_reached=without_row - unanswered,
        results=stats.done + inputs.already_done,
        already_done=inputs.already_done,
        kept_failures=kept_failures,
        looks_ended=looks_ended,
        stats=stats,
        started_at=timestamp(started_at),
        ended_at=timestamp(datetime.now(UTC)),
        seconds=seconds,
        resume_command=finish.command,
        resume_needs=finish.needs,
        ok=sorted(map(str, stats.ok)),
    )


def _reason(error: BulkcancelError | None, stats: Stats) -> str:
    """Return why the run ended early, in words; empty where it did not."""
    if isinstance(error, InterruptedRunError) and not stats.requests:
        return f"{error}: nothing was sent"
    return str(error) if error else ""


def _may_resume(error: BulkcancelError | None) -> bool:
    """Return whether `--resume` goes on: not after the answer no, nor with an unusable file."""
    return error is not None and not isinstance(error, (DeclinedError, OutputError))


def bring_up_to_date(results: ResultsFile, findings: Findings, stats: Stats) -> None:
    """Rewrite the results with what looking at accepted IDs has found, and count them anew.

    Raises `ResultsError`; then nothing has changed.
    """
    changes: Counter[tuple[Outcome, Outcome, str, bool]] = Counter()
    examples: dict[tuple[Outcome, Outcome, str, bool], CancelResult] = {}

    def on_change(old: CancelResult, new: CancelResult, earlier: bool) -> None:  # noqa: FBT001
        change = old.outcome, new.outcome, new.error, earlier
        changes[change] += 1
        examples.setdefault(change, new)

    results.bring_up_to_date(findings.of, on_change)
    for change, count in changes.items():
        old, new, _, earlier = change
        if not earlier:
            stats.recount(old, examples[change], count)
        elif results.resumed is not None:
            results.resumed.recount(old, new, count)
