"""The result of one ID, made from what is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkcancel.domo import Answer
from bulkcancel.models import CancelResult, ErrorCode, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from bulkcancel.domo import AttemptError
    from bulkcancel.models import InvalidRow, Target


_UNNAMED: tuple[str | None, str | None, str | None, str | None] = (None, None, None, None)
"""Status, model name, version and ID where the server named no instance."""


class ResultFactory:
    """Makes the results of one run, all of one `host`; finished when `wall_clock` (UTC) says."""

    def __init__(self, host: str, wall_clock: Callable[[], datetime]) -> None:
        self._host = host
        self._wall_clock = wall_clock

    def of(
        self,
        target: Target,
        answer: Answer | AttemptError,
        outcome: Outcome,
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
            target.instance_id, outcome, *named, status, requests, error,
            answer.latency_s * 1000, self._wall_clock(), self._host, target.source,
        )  # fmt: skip

    def invalid(self, row: InvalidRow) -> CancelResult:
        """Return the result of an input row without an ID; nothing is sent for it."""
        error = f"{ErrorCode.INVALID_ID}: {row.reason}"
        return CancelResult(
            row.text, Outcome.INVALID, *_UNNAMED, None, 0, error,
            None, self._wall_clock(), self._host, row.source,
        )  # fmt: skip

    def bug(self, target: Target, fault: Exception, requests: int) -> CancelResult:
        """Return the result of an ID whose handling broke in bulkcancel itself."""
        error = (
            f"{ErrorCode.BAD_RESPONSE}: bulkcancel itself failed on this ID "
            f"({type(fault).__name__}): please report it"
        )
        return CancelResult(
            target.instance_id, Outcome.FAILED, *_UNNAMED, None, requests, error,
            None, self._wall_clock(), self._host, target.source,
        )  # fmt: skip
