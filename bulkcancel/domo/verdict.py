"""What one answer or fault means for its ID: done, send again, or stop the run."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from bulkcancel.domo.faults import (
    AttemptError,
    IdleConnectionClosedError,
    NoDescriptorsError,
    TlsFailedError,
)
from bulkcancel.models import ErrorCode, Outcome

if TYPE_CHECKING:
    from bulkcancel.domo.answers import Answer

_RETRIED = frozenset({408, 425})
_ANSWER_LOST = frozenset({502, 504})  # a gateway had none, or none in time
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
    RETRY_FREE = enum.auto()
    """At once on a new connection; the request had probably not reached the server."""
    THROTTLED = enum.auto()
    """In its own time; uses up no attempt."""
    WAIT_LOCAL = enum.auto()
    """This machine is short of something; uses up no attempt."""
    UNAUTHORIZED = enum.auto()
    """As `RETRY`, once it is clear that the token still holds; else the end of the run."""
    STOP_TLS = enum.auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from one attempt; `outcome` and `error` hold if it was the last one."""

    next: Next
    outcome: Outcome
    error: str = ""
    transient: bool = False
    """Whether it is trouble on the way or the server's, not the word of the API on this ID."""
    stranger: bool = False
    """Whether something else than the API has answered."""
    ambiguous: bool = False
    """Whether the request may have been carried out all the same."""
    throttled: bool = False
    """Whether the server says that there are too many requests."""
    pause_s: float | None = None
    """For how long it then asks to be left alone."""


@lru_cache(maxsize=64)
def outcome_of(status: str | None) -> Outcome:
    """Return the outcome of a 2xx by the status the server gave, in v1's or v2's spelling.

    Domo answers with the status at the time of the request, so null, `IN_PROGRESS` and any
    word not known here say that the cancel was accepted, not that the run has stopped.
    """
    return _OUTCOMES.get(status.upper(), Outcome.ACCEPTED) if status else Outcome.ACCEPTED


def judge_answer(reply: Answer, *, ambiguous_before: bool) -> Verdict:
    """Return what an answer means; `ambiguous_before`: an earlier attempt may have been applied.

    Only a JSON object is the API's word on one instance. Any other answer comes from somewhere
    between here and there (a gateway, a proxy, a firewall), so it is trouble on the way.
    """
    if reply.instance is not None:
        return Verdict(Next.DONE, outcome_of(reply.instance.status))
    trouble = _trouble(reply)
    if trouble is not None:
        return trouble
    if reply.http_status == 403:
        hint = (
            " (the token's owner may lack the Manage Workflows grant, or Edit Execution Details on "
            "this workflow)"
        )
        return _final(Outcome.FORBIDDEN, ErrorCode.FORBIDDEN, reply, hint)
    hint = "; an earlier attempt may have cancelled it" if ambiguous_before else ""
    if reply.http_status in _NOT_FOUND:
        return _final(Outcome.NOT_FOUND, ErrorCode.NOT_FOUND, reply, hint)
    return _final(Outcome.REJECTED, ErrorCode.REJECTED, reply, hint)


def _trouble(reply: Answer) -> Verdict | None:
    """Return what an answer means that is no word on this instance, `None` for one that is."""
    status, pause_s = reply.http_status, reply.retry_after_s
    if status == 401:
        return _again(ErrorCode.UNAUTHORIZED, reply, step=Next.UNAUTHORIZED)
    if status == 429 or (status == 403 and pause_s is not None):
        error = _error(ErrorCode.RATE_LIMITED, reply)
        return Verdict(Next.THROTTLED, Outcome.FAILED, error, throttled=True, pause_s=pause_s)
    if status == 503 and pause_s is not None:
        verdict = _again(ErrorCode.SERVER_ERROR, reply)
        return replace(verdict, throttled=True, pause_s=pause_s)
    if status in _RETRIED or (500 <= status < 600 and status != 501):
        return _again(ErrorCode.SERVER_ERROR, reply)
    if 300 <= status < 400:
        hint = ": redirects are never followed; check the instance name or the base URL"
        return _again(ErrorCode.UNEXPECTED_REDIRECT, reply, hint, stranger=True)
    if status == 407:
        hint = ": a proxy on the way wants a login"
        return _again(ErrorCode.BAD_RESPONSE, reply, hint, stranger=True)
    if not 400 <= status < 600 or not reply.is_object:
        hint = ": not an answer of the Workflow API about this instance"
        return _again(ErrorCode.BAD_RESPONSE, reply, hint, stranger=True)
    return None


def judge_fault(fault: AttemptError) -> Verdict:
    """Return what an attempt without a readable answer means."""
    error = f"{fault.code}: {fault.message}"
    if isinstance(fault, TlsFailedError):
        return Verdict(Next.STOP_TLS, Outcome.FAILED, error)
    if isinstance(fault, IdleConnectionClosedError):
        return Verdict(Next.RETRY_FREE, Outcome.FAILED, error, ambiguous=True)
    if isinstance(fault, NoDescriptorsError):
        return Verdict(Next.WAIT_LOCAL, Outcome.FAILED, error)
    return Verdict(Next.RETRY, Outcome.FAILED, error, transient=True, ambiguous=fault.ambiguous)


def _again(
    code: ErrorCode,
    reply: Answer,
    hint: str = "",
    *,
    step: Next = Next.RETRY,
    stranger: bool = False,
) -> Verdict:
    return Verdict(
        step,
        Outcome.FAILED,
        _error(code, reply) + hint,
        transient=True,
        stranger=stranger,
        ambiguous=reply.http_status in _ANSWER_LOST or reply.http_status < 300,
    )


def _final(outcome: Outcome, code: ErrorCode, reply: Answer, hint: str) -> Verdict:
    return Verdict(Next.DONE, outcome, _error(code, reply) + hint)


def _error(code: ErrorCode, reply: Answer) -> str:
    said = f"{code}: HTTP {reply.http_status}"
    return f"{said}: {reply.message}" if reply.message else said
