"""The values that travel through a run: targets in, results out."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime


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
