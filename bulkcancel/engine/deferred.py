"""Failures that may be the ID's own or the server's, deferred until that is clear."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bulkcancel.models import CancelResult, Target
    from bulkcancel.pacing import Breaker


@dataclass(slots=True)
class AttemptHistory:
    """What came of the attempts of one ID so far; made only once something went wrong."""

    requests: int = 1
    counted: int = 0
    """Failures that use up attempts."""
    restarted: bool = False
    """Whether its first attempts were made in an outage and no longer count."""
    unauthorized: int = 0
    """Answers of 401."""
    free: int = 0
    """Retries on a new connection that used up no attempt."""
    throttled: int = 0
    ambiguous: bool = False
    """Whether one of the attempts may have been carried out without an answer."""


@dataclass(slots=True)
class _DeferredFailure:
    history: AttemptHistory
    result: CancelResult
    """The row of the ID if the failure was its own."""
    openings_before: int
    """How often the breaker had opened before the outage that may be to blame."""


class DeferredFailures:
    """Keeps failed IDs until it is clear whether they or the server are to blame.

    While the breaker is open, an ID that fails makes room for another: the next probe is sent for
    an ID not tried yet, so that a few that always fail cannot stand in the way of all others.
    And with a consumer or two an ID can use up its attempts before enough failures in a row have
    opened the breaker. The next success decides: if the breaker has opened meanwhile, the
    attempts were made in an outage and no longer count; otherwise the ID itself has failed. IDs
    come back one at a time: together they would look like an outage.
    """

    def __init__(self, breaker: Breaker, *, attempts: int) -> None:
        self._breaker = breaker
        self._attempts = attempts
        self._queue: deque[Target] = deque()
        self._failures: dict[str, _DeferredFailure] = {}
        self._retrying = False

    def __bool__(self) -> bool:
        return bool(self._failures)

    def __contains__(self, target: Target) -> bool:
        return target.instance_id in self._failures

    def defer(self, target: Target, result: CancelResult, history: AttemptHistory) -> bool:
        """Keep a failed ID unless its failure is clearly its own; return whether it was kept."""
        breaker = self._breaker
        if not breaker.open and (history.restarted or breaker.streak < history.counted):
            return False  # something has succeeded since its first failure
        openings_before = breaker.openings - breaker.open  # an outage under way counts after it
        self._failures[target.instance_id] = _DeferredFailure(history, result, openings_before)
        self._queue.append(target)
        return True

    def next(self, *, idle: bool) -> Target | None:
        """Return an ID to go on with: after a success, or when `idle`: no new target is there."""
        if not self._queue or self._retrying or (self._breaker.streak and not idle):
            return None
        self._retrying = True
        return self._queue.popleft()

    def decide(self, target: Target) -> tuple[CancelResult | None, AttemptHistory | None]:
        """Remove a deferred ID; return its result if it has failed, else its history to go on with.

        After the latter, call `finish` when its attempts are over.
        """
        failure = self._failures.pop(target.instance_id)
        if self._breaker.openings == failure.openings_before:
            self.finish(failure.history, failed=True)
            return failure.result, None
        failure.history.counted, failure.history.restarted = 0, True
        return None, failure.history

    def finish(self, history: AttemptHistory, *, failed: bool) -> None:
        """Let the next deferred ID come; if this one `failed`, the server is not to blame."""
        self._retrying = False
        if failed:
            self._breaker.forgive(history.counted)

    def final_results(self) -> Iterator[CancelResult]:
        """Yield the results that are known when the run ends.

        Those of IDs that have had all their attempts, or whose last answer was a 401.
        """
        for failure in self._failures.values():
            if failure.history.requests >= self._attempts or failure.result.http_status == 401:
                yield failure.result
