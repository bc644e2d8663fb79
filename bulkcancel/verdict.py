"""What one answer or fault means for its ID: done, send again, or stop the run."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from bulkcancel.faults import (
    AttemptError,
    IdleConnectionClosedError,
    NoDescriptorsError,
    TlsFailedError,
    UnreadableAnswerError,
)
from bulkcancel.models import ErrorCode, Outcome

if TYPE_CHECKING:
    from bulkcancel.reply import Reply

_RETRIED = frozenset({408, 425})
_NOT_FOUND = frozenset({404, 410})
_OUTCOMES = {
    "CANCELED": Outcome.CANCELED,
    "CANCELLED": Outcome.CANCELED,
    "COMPLETED": Outcome.COMPLETED,
}


class Next(enum.Enum):
    """What to do with the ID now."""

    DONE = enum.auto()
    RETRY = enum.auto()
    """After a back-off; uses up one of the attempts."""
    RETRY_ONCE = enum.auto()
    """As `RETRY`, but only after a first failure."""
    RETRY_FREE = enum.auto()
    """At once on a new connection; the request had probably not reached the server."""
    THROTTLED = enum.auto()
    """In its own time; uses up no attempt."""
    WAIT_LOCAL = enum.auto()
    """This machine is short of something; uses up no attempt."""
    STOP_TOKEN = enum.auto()
    STOP_TLS = enum.auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from one attempt; `outcome` and `error` hold if it was the last one."""

    next: Next
    outcome: Outcome
    error: str = ""
    transient: bool = False
    """Whether the circuit breaker counts it as a failure."""


@lru_cache(maxsize=64)
def outcome_of(status: str | None) -> Outcome:
    """Return the outcome of a 2xx by the status the server gave, in v1's or v2's spelling.

    Domo answers with the status at the time of the request, so null, `IN_PROGRESS` and any
    word not known here say that the cancel was accepted, not that the run has stopped.
    """
    return _OUTCOMES.get(status.upper(), Outcome.ACCEPTED) if status else Outcome.ACCEPTED


def judge_reply(reply: Reply, *, ambiguous_before: bool) -> Verdict:
    """Return what an answer means; `ambiguous_before`: an earlier attempt may have been applied."""
    status = reply.http_status
    if reply.instance is not None:
        return Verdict(Next.DONE, outcome_of(reply.instance.status))
    if 200 <= status < 300:
        return _failed(Next.RETRY, ErrorCode.BAD_RESPONSE, _said(reply, "no instance object"))
    if 300 <= status < 400:
        return Verdict(
            Next.DONE,
            Outcome.FAILED,
            f"{ErrorCode.UNEXPECTED_REDIRECT}: HTTP {status}: redirects are never followed; "
            "check the instance name or the base URL",
        )
    if status == 401:
        return Verdict(Next.STOP_TOKEN, Outcome.FAILED, _error(ErrorCode.UNAUTHORIZED, reply))
    if status == 403:
        return Verdict(
            Next.DONE,
            Outcome.FORBIDDEN,
            f"{_error(ErrorCode.FORBIDDEN, reply)} (the token's owner needs Manage Workflows, and "
            "Edit Execution Details on this workflow)",
        )
    if status in _NOT_FOUND:
        earlier = "; an earlier attempt may have cancelled it" if ambiguous_before else ""
        return Verdict(Next.DONE, Outcome.NOT_FOUND, _error(ErrorCode.NOT_FOUND, reply) + earlier)
    if status == 429:
        return Verdict(Next.THROTTLED, Outcome.FAILED, _error(ErrorCode.RATE_LIMITED, reply))
    if status in _RETRIED or (500 <= status < 600 and status != 501):
        return _failed(Next.RETRY, ErrorCode.SERVER_ERROR, _said(reply))
    if status < 200 or status >= 600:
        return _failed(Next.RETRY, ErrorCode.BAD_RESPONSE, _said(reply))
    return Verdict(Next.DONE, Outcome.REJECTED, _error(ErrorCode.REJECTED, reply))


def judge_fault(fault: AttemptError) -> Verdict:
    """Return what an attempt without a readable answer means."""
    error = f"{fault.code}: {fault.message}"
    if isinstance(fault, TlsFailedError):
        return Verdict(Next.STOP_TLS, Outcome.FAILED, error)
    if isinstance(fault, IdleConnectionClosedError):
        return Verdict(Next.RETRY_FREE, Outcome.FAILED, error)
    if isinstance(fault, NoDescriptorsError):
        return Verdict(Next.WAIT_LOCAL, Outcome.FAILED, error)
    if isinstance(fault, UnreadableAnswerError):
        return Verdict(Next.RETRY_ONCE, Outcome.FAILED, error, transient=True)
    return Verdict(Next.RETRY, Outcome.FAILED, error, transient=True)


def _failed(step: Next, code: ErrorCode, text: str) -> Verdict:
    return Verdict(step, Outcome.FAILED, f"{code}: {text}", transient=True)


def _error(code: ErrorCode, reply: Reply) -> str:
    return f"{code}: {_said(reply)}"


def _said(reply: Reply, otherwise: str = "") -> str:
    said = reply.message or otherwise
    return f"HTTP {reply.http_status}: {said}" if said else f"HTTP {reply.http_status}"
