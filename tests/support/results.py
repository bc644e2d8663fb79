"""Results to write and results files to damage."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bulkcancel.models import SENT_AGAIN, CancelResult, Outcome
from bulkcancel.results.codec import Format, encode
from bulkcancel.results.results_file import Mode, ResultsFile

HOST = "acme.domo.com"


def result(instance_id: str, outcome: Outcome = Outcome.ACCEPTED, **changes: Any) -> CancelResult:
    """One result; a failure has an error."""
    failed = outcome not in {Outcome.ACCEPTED, Outcome.CANCELED, Outcome.COMPLETED}
    made = CancelResult(
        instance_id=instance_id,
        outcome=outcome,
        status="IN_PROGRESS",
        model_name="Invoice approval, EMEA",
        model_version="1.1.0",
        model_id="a8afdc89-9491-4ee4-b7c3-b9e9b86c0138",
        http_status=200,
        attempts=1,
        error='server_error: HTTP 503: it said "no"' if failed else "",
        latency_ms=12.34,
        finished_at=datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC),
        host=HOST,
        source="stuck, runs.csv:17",
    )
    return made._replace(**changes)


def content(form: Format, *results: CancelResult) -> bytes:
    """What a results file with these rows holds."""
    return form.header + encode(results, form)


def reserved(name: str | Path, mode: Mode = "new", *, asks: bool = False) -> ResultsFile:
    """Reserve a results file for a run against `HOST`."""
    return ResultsFile.reserve(
        str(name), host=HOST, mode=mode, form="auto", again=SENT_AGAIN, dry_run=False, asks=asks
    )


def opened(name: str | Path, mode: Mode = "new") -> ResultsFile:
    """Reserve a results file and begin at once; it is closed if that fails."""
    file = reserved(name, mode)
    try:
        file.begin()
    except BaseException:
        file.close()
        raise
    return file
