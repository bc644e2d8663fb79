"""The values that travel through a run: targets in, results out."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_EPOCH, _SECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(seconds=1)
COLUMNS = (
    "instanceId", "outcome", "status", "modelName", "modelVersion", "modelId", "httpStatus",
    "attempts", "error", "latencyMs", "finishedAt", "host", "source",
)  # fmt: skip
"""What results files and `CancelResult.as_dict` call its fields, in their order."""
_LATENCY, _FINISHED = COLUMNS.index("latencyMs"), COLUMNS.index("finishedAt")


class Outcome(enum.StrEnum):
    """What became of one ID; the words of the results file."""

    ACCEPTED = "accepted"
    CANCELED = "canceled"
    COMPLETED = "completed"
    NOT_FOUND = "not_found"
    REJECTED = "rejected"
    INVALID = "invalid"
    FORBIDDEN = "forbidden"
    FAILED = "failed"
    UNCONFIRMED = "unconfirmed"


SUCCESSES = frozenset({Outcome.ACCEPTED, Outcome.CANCELED, Outcome.COMPLETED})
"""Outcomes that count as success."""

SENT_AGAIN = frozenset({Outcome.FORBIDDEN, Outcome.FAILED, Outcome.UNCONFIRMED})
"""Outcomes whose IDs `--resume` sends again."""


UNSEEN = frozenset({Outcome.ACCEPTED, Outcome.UNCONFIRMED})
"""Outcomes of IDs that have not been seen to stop, although cancelling was accepted."""


MEANINGS = {
    Outcome.ACCEPTED: "cancelling was requested; the run had not stopped yet",
    Outcome.CANCELED: "stopped",
    Outcome.COMPLETED: "had ended by itself",
    Outcome.NOT_FOUND: "no such run",
    Outcome.REJECTED: "the server refused this cancel",
    Outcome.INVALID: "no instance ID; nothing was sent",
    Outcome.FORBIDDEN: "the token has no right to this workflow",
    Outcome.FAILED: "no final answer: see the error of each",
    Outcome.UNCONFIRMED: "never seen to stop",
}
"""What each outcome means to a person."""

ENDED = {
    "CANCELED": Outcome.CANCELED,
    "CANCELLED": Outcome.CANCELED,
    "COMPLETED": Outcome.COMPLETED,
    "FAILED": Outcome.COMPLETED,
}
"""Domo's statuses of runs that are over, in both spellings, and the outcome that each means."""


class ErrorCode(enum.StrEnum):
    """The word before the colon in the results' `error` column."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    TLS = "tls"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    BAD_RESPONSE = "bad_response"
    UNEXPECTED_REDIRECT = "unexpected_redirect"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    REJECTED = "rejected"
    INVALID_ID = "invalid_id"
    NOT_CONFIRMED = "not_confirmed"


class Target(NamedTuple):
    """One instance to cancel: its ID (lower-case UUID) and where it was first listed."""

    instance_id: str
    source: str
    """`FILE:LINE`, `-:LINE` for standard input, `argument:N` for an argument, empty from Python."""
    failed_before: bool = False
    """Whether the results file that this run goes on with has it as failed."""


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """One input row without a valid instance ID; nothing is ever sent for it."""

    text: str
    """What stood where the ID should be, as read, cut to 200 characters."""
    source: str
    reason: str
    """A clause a person can act on, such as `not a UUID`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """What the inputs say of the IDs to be sent: counts by word, the most frequent first.

    Words are as the inputs spell them. IDs of which nothing is told are in no count.
    """

    workflows: Mapping[str, int] = field(default_factory=dict)
    other_workflows: int = 0
    """IDs of further names, where there are more than are kept apart."""
    statuses: Mapping[str, int] = field(default_factory=dict)
    other_statuses: int = 0
    status_column: str = ""
    """What `--where` calls it; empty where not every input has it."""
    oldest: datetime | None = None
    """In whole seconds; UTC, or without a time zone where the inputs name none."""
    newest: datetime | None = None
    without_start: int = 0

    @property
    def ended(self) -> Mapping[str, int]:
        """Those of `statuses` that say that a run is over."""
        return {word: n for word, n in self.statuses.items() if word.upper() in ENDED}


class Finding(NamedTuple):
    """What has become of an ID by the time that it was looked at."""

    outcome: Outcome
    """`canceled`, `completed`, or `unconfirmed`: it has not been seen to stop."""
    status: str | None
    error: str


class CancelResult(NamedTuple):
    """What happened to one ID; one row of the results file, its columns in snake_case.

    A failed ID is a value of this kind, never an exception. (A tuple, as one is made for every
    ID: a frozen dataclass of so many fields takes four times as long to make.)
    """

    instance_id: str
    outcome: Outcome
    status: str | None
    """As the server said it: `None` where it said null or nothing."""
    model_name: str | None
    model_version: str | None
    model_id: str | None
    http_status: int | None
    """Of the last answer; `None` where none came."""
    attempts: int
    """HTTP requests sent for this ID."""
    error: str
    """`code: message`, empty on success."""
    latency_ms: float | None
    """Of the last attempt; `None` where nothing was sent."""
    finished_at: datetime
    """UTC."""
    host: str
    source: str

    @property
    def ok(self) -> bool:
        """Whether the outcome counts as success."""
        return self.outcome in SUCCESSES

    def found(self, finding: Finding) -> CancelResult:
        """Return it brought up to date with what looking at the ID has found."""
        status = self.status if finding.status is None else finding.status
        return self._replace(outcome=finding.outcome, status=status, error=finding.error)

    def as_dict(self) -> dict[str, str | int | float | None]:
        """Return it ready for JSON, as a line of a `.jsonl` results file holds it: same keys.

        The latency is to 0.1 ms, the time is ISO 8601 in UTC to the millisecond.
        """
        cells: list[str | int | float | datetime | None] = [*self]
        cells[1] = str(self.outcome)
        cells[_LATENCY] = None if self.latency_ms is None else round(self.latency_ms, 1)
        cells[_FINISHED] = timestamp(self.finished_at)
        return dict(zip(COLUMNS, cells, strict=True))  # type: ignore[arg-type]


def timestamp(when: datetime) -> str:
    """Return ISO 8601 in UTC, to the millisecond."""
    # Hundreds of rows fall into one second: its text is made once.
    return f"{_to_the_second((when - _EPOCH) // _SECOND)}.{when.microsecond // 1000:03}Z"


@lru_cache(maxsize=8)
def _to_the_second(timestamp_s: int) -> str:
    return datetime.fromtimestamp(timestamp_s, UTC).isoformat().removesuffix("+00:00")
