"""The result of one ID, made from what is known of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bulkcancel.domo import Answer
from bulkcancel.models import CancelResult, ErrorCode, Outcome

if TYPE_CHECKING:
    from bulkcancel.domo import AttemptError
    from bulkcancel.models import InvalidRow, Target


_UNNAMED: tuple[str | None, str | None, str | None, str | None] = (None, None, None, None)
"""Status, model name, version and ID where the server named no instance."""


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
    status = instance = None
    if isinstance(answer, Answer):
        status, instance = answer.http_status, answer.instance
    named = _UNNAMED
    if instance is not None:
        named = (
            instance.status,
            instance.modelName,
            instance.modelVersion,
            instance.modelId,
        )
    return CancelResult(
        target.instance_id, outcome, *named, status, requests, error, answer.latency_s * 1000,
        datetime.now(UTC), host, target.source,
    )  # fmt: skip


def invalid_result(row: InvalidRow, host: str) -> CancelResult:
    """Return the result of an input row without an ID; nothing is sent for it."""
    error = f"{ErrorCode.INVALID_ID}: {row.reason}"
    return CancelResult(
        row.text, Outcome.INVALID, *_UNNAMED, None, 0, error, None,
        datetime.now(UTC), host, row.source,
    )  # fmt: skip


def bug_result(target: Target, fault: Exception, host: str) -> CancelResult:
    """Return the result of an ID whose handling broke in bulkcancel itself."""
    error = (
        f"{ErrorCode.BAD_RESPONSE}: bulkcancel itself failed on this ID "
        f"({type(fault).__name__}): please report it"
    )
    return CancelResult(
        target.instance_id, Outcome.FAILED, *_UNNAMED, None, 1, error, None,
        datetime.now(UTC), host, target.source,
    )  # fmt: skip
