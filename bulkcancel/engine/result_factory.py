"""The result of one ID, made from what is known of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bulkcancel.domo import Answer
from bulkcancel.models import CancelResult, ErrorCode, Outcome

if TYPE_CHECKING:
    from bulkcancel.domo import AttemptError
    from bulkcancel.models import InvalidRow, Target


def result_of(
    target: Target,
    answer: Answer | AttemptError,
    outcome: Outcome,
    host: str,
    *,
    error: str = "",
    requests: int = 1,
) -> CancelResult:
    """Return the result of the last of `requests` attempts, finished now."""
    if isinstance(answer, Answer):
        status, instance = answer.http_status, answer.instance
        if instance is not None:
            return CancelResult(
                target.instance_id,
                outcome,
                instance.status,
                instance.modelName,
                instance.modelVersion,
                instance.modelId,
                status,
                requests,
                error,
                answer.latency_s * 1000,
                datetime.now(UTC),
                host,
                target.source,
            )
    else:
        status = None
    return _without_details(
        target.instance_id, outcome, host, target.source, error=error, status=status,
        requests=requests, latency_ms=answer.latency_s * 1000,
    )  # fmt: skip


def invalid_result(row: InvalidRow, host: str) -> CancelResult:
    """Return the result of an input row without an ID; nothing is sent for it."""
    error = f"{ErrorCode.INVALID_ID}: {row.reason}"
    return _without_details(row.text, Outcome.INVALID, host, row.source, error=error)


def bug_result(target: Target, fault: Exception, host: str) -> CancelResult:
    """Return the result of an ID whose handling broke in bulkcancel itself."""
    error = (
        f"{ErrorCode.BAD_RESPONSE}: bulkcancel itself failed on this ID "
        f"({type(fault).__name__}): please report it"
    )
    return _without_details(
        target.instance_id, Outcome.FAILED, host, target.source, error=error, requests=1
    )


def _without_details(
    text: str,
    outcome: Outcome,
    host: str,
    source: str,
    *,
    error: str,
    status: int | None = None,
    requests: int = 0,
    latency_ms: float | None = None,
) -> CancelResult:
    """Return a result for which the server named no instance."""
    return CancelResult(
        instance_id=text,
        outcome=outcome,
        status=None,
        model_name=None,
        model_version=None,
        model_id=None,
        http_status=status,
        attempts=requests,
        error=error,
        latency_ms=latency_ms,
        finished_at=datetime.now(UTC),
        host=host,
        source=source,
    )
