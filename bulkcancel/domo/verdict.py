"""What one answer or fault means for its ID: done, send again, or stop the run."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from bulkcancel.http import (
    AttemptError,
    ConnectFailedError,
    IdleConnectionClosedError,
    NoDescriptorsError,
    TlsFailedError,
)
from bulkcancel.models import ENDED, ErrorCode, Outcome

if TYPE_CHECKING:
    from bulkcancel.domo.answers import Answer

_RETRIED = frozenset({408, 425})
_ANSWER_LOST = frozenset({502, 504})  # a gateway had none, or none in time
_NOT_FOUND = frozenset({404, 410})
_OUTCOMES = {word: outcome for word, outcome in ENDED.items() if word != "FAILED"}


class Next(enum.Enum):
    """What to do with the ID now."""

    DONE = enum.auto()
    RETRY = enum.auto()
    """After a back-off; uses up one of the attempts."""
    RETRY_FREE = enum.auto()
    """At once on a new connection; the request had probably not reached the server."""
    RETRY_UNCOUNTED = enum.auto()
    """As `RETRY`, but it uses up no attempt: the server only asks for a lower pace."""
    WAIT_LOCAL = enum.auto()
    """This machine is short of something; uses up no attempt."""
    UNAUTHORIZED = enum.auto()
    """As `RETRY`, once it is clear that the token still holds; else the end of the run."""
    STOP_TLS = enum.auto()
    STOP_ISSUER = enum.auto()
    """As `STOP_TLS`; another authority would make the server trusted."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from one attempt; `outcome` and `error` hold if it was the last one."""

    next: Next
    outcome: Outcome
    error: str = ""
    transient: bool = False
    """Whether the server or the way to it is in trouble, so that it says nothing about this ID."""
    stranger: bool = False
    """Whether something else than the API has answered."""
    ambiguous: bool = False
    """Whether the request may have been carried out all the same."""
    throttled: bool = False
    """Whether the server says that there are too many requests."""
    pause_s: float | None = None
    """For how long it then asks to be left alone."""
    at_first: str = ""
    """Why a run ends if this is the first that it hears; empty where it goes on."""


@lru_cache(maxsize=64)
def outcome_of(status: str | None) -> Outcome:
    """Return the outcome of a 2xx by the status the server gave, in v1's or v2's spelling.

    Domo answers with the status at the time of the request, so null, `IN_PROGRESS` and any
    word not known here say that the cancel was accepted, not that the run has stopped.
    """
    return _OUTCOMES.get(status.upper(), Outcome.ACCEPTED) if status else Outcome.ACCEPTED


@lru_cache(maxsize=64)
def seen_outcome_of(status: str | None) -> Outcome | None:
    """Return the outcome of a run that was looked at; `None` if it goes on.

    `FAILED` is v2's word for one that ended by itself, though not well. A word that is not known
    here does not say that it has ended.
    """
    return ENDED.get(status.upper()) if status else None


def judge(answer: Answer | AttemptError, *, ambiguous_before: bool) -> Verdict:
    """Return what an attempt means by what came of it: an answer, or a fault on the way."""
    if isinstance(answer, AttemptError):
        return judge_fault(answer)
    return judge_answer(answer, ambiguous_before=ambiguous_before)


def judge_answer(answer: Answer, *, ambiguous_before: bool) -> Verdict:
    """Return what an answer means; `ambiguous_before`: an earlier attempt may have been applied.

    Only a JSON object is an answer of the API about one instance. Any other answer comes from
    something in between (a gateway, a proxy, a firewall), so it is trouble on the way.
    """
    if answer.instance is not None:
        return Verdict(Next.DONE, outcome_of(answer.instance.status))
    trouble = _trouble(answer)
    if trouble is not None:
        return trouble
    if answer.http_status == 403:
        hint = (
            " (the token's owner may lack the Manage Workflows grant, or Edit Execution Details on "
            "this workflow)"
        )
        return _final(Outcome.FORBIDDEN, ErrorCode.FORBIDDEN, answer, hint)
    hint = "; an earlier attempt may have cancelled it" if ambiguous_before else ""
    if answer.http_status in _NOT_FOUND:
        return _final(Outcome.NOT_FOUND, ErrorCode.NOT_FOUND, answer, hint)
    return _final(Outcome.REJECTED, ErrorCode.REJECTED, answer, hint)


def _trouble(answer: Answer) -> Verdict | None:
    """Return what an answer means that is not about this instance, `None` for one that is."""
    status, pause_s = answer.http_status, answer.retry_after_s
    if status == 401:
        return _again(ErrorCode.UNAUTHORIZED, answer, step=Next.UNAUTHORIZED)
    if status == 429 or (status == 403 and pause_s is not None):
        error = _error(ErrorCode.RATE_LIMITED, answer)
        return Verdict(Next.RETRY_UNCOUNTED, Outcome.FAILED, error, throttled=True, pause_s=pause_s)
    if status == 503 and pause_s is not None:
        verdict = _again(ErrorCode.SERVER_ERROR, answer)
        return replace(verdict, throttled=True, pause_s=pause_s)
    if status in _RETRIED or (500 <= status < 600 and status != 501):
        return _again(ErrorCode.SERVER_ERROR, answer)
    if 300 <= status < 400:
        hint = ": redirects are never followed; check the instance name or the base URL"
        at_first = (
            f"the address answers with a redirect (HTTP {status}), which is never followed: check "
            "the instance name or the base URL"
        )
        verdict = _again(ErrorCode.UNEXPECTED_REDIRECT, answer, hint, stranger=True)
        return replace(verdict, at_first=at_first)
    if status == 407:
        hint = ": a proxy on the way wants a login"
        return _again(ErrorCode.BAD_RESPONSE, answer, hint, stranger=True)
    if not 400 <= status < 600 or not answer.is_object:
        hint = ": not an answer of the Workflow API about this instance"
        return _again(ErrorCode.BAD_RESPONSE, answer, hint, stranger=True)
    return None


def judge_fault(fault: AttemptError) -> Verdict:
    """Return what an attempt without a readable answer means."""
    error = f"{fault.code}: {fault.message}"
    if isinstance(fault, TlsFailedError):
        step = Next.STOP_ISSUER if fault.unknown_issuer else Next.STOP_TLS
        return Verdict(step, Outcome.FAILED, error)
    if isinstance(fault, IdleConnectionClosedError):
        return Verdict(Next.RETRY_FREE, Outcome.FAILED, error, ambiguous=True)
    if isinstance(fault, NoDescriptorsError):
        return Verdict(Next.WAIT_LOCAL, Outcome.FAILED, error)
    verdict = Verdict(Next.RETRY, Outcome.FAILED, error, transient=True, ambiguous=fault.ambiguous)
    if not isinstance(fault, ConnectFailedError):
        return verdict
    at_first = f"{fault.message}: {fault.advice}"
    return replace(verdict, at_first=at_first)


def _again(
    code: ErrorCode,
    answer: Answer,
    hint: str = "",
    *,
    step: Next = Next.RETRY,
    stranger: bool = False,
) -> Verdict:
    return Verdict(
        step,
        Outcome.FAILED,
        _error(code, answer) + hint,
        transient=True,
        stranger=stranger,
        ambiguous=answer.http_status in _ANSWER_LOST or answer.http_status < 300,
    )


def _final(outcome: Outcome, code: ErrorCode, answer: Answer, hint: str) -> Verdict:
    return Verdict(Next.DONE, outcome, _error(code, answer) + hint)


def _error(code: ErrorCode, answer: Answer) -> str:
    said = f"{code}: HTTP {answer.http_status}"
    return f"{said}: {answer.message}" if answer.message else said
