"""What each answer and each fault means for its ID, in tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import FrozenInstanceError, replace
from itertools import product

import pytest

from bulkcancel.domo import (
    Answer,
    AttemptError,
    Next,
    Verdict,
    judge,
    outcome_of,
)
from bulkcancel.domo.answers import InstanceBody
from bulkcancel.http.faults import (
    AttemptTimeoutError,
    ConnectFailedError,
    DisconnectedError,
    IdleConnectionClosedError,
    NoDescriptorsError,
    TlsFailedError,
    UnreadableAnswerError,
)
from bulkcancel.models import Outcome

GRANTS = (
    " (the token's owner may lack the Manage Workflows grant, or Edit Execution Details on "
    "this workflow)"
)
REDIRECTED = ": redirects are never followed; check the instance name or the base URL"
LOGIN = ": a proxy on the way wants a login"
STRANGER = ": not an answer of the Workflow API about this instance"
MAYBE_CANCELLED = "; an earlier attempt may have cancelled it"
ASKED = (0.0, 7.5)
NOT_ASKED = (None,)
ANY_PAUSE = (*NOT_ASKED, *ASKED)
OWN_MEANING = {401, 407, 408, 425, 429}
FINAL = {*range(400, 500), 501} - OWN_MEANING


def _answer(status: int, **fields: object) -> Answer:
    usual = Answer(status, None, True, "it said so", None, 0.25)
    return usual._replace(**fields)  # type: ignore[arg-type]


def _said(code: str, status: int, hint: str = "") -> str:
    return f"{code}: HTTP {status}: it said so{hint}"


def _judged(
    status: int,
    *,
    pauses: Iterable[float | None] = ANY_PAUSE,
    objects: Iterable[bool] = (False, True),
    before: Iterable[bool] = (False, True),
) -> set[Verdict]:
    """Every meaning that an answer of this status has, in all these cases: mostly a single one."""
    return {
        judge(
            _answer(status, is_object=is_object, retry_after_s=pause_s),
            ambiguous_before=ambiguous_before,
        )
        for pause_s, is_object, ambiguous_before in product(pauses, objects, before)
    }


def _trouble(error: str, step: Next = Next.RETRY) -> Verdict:
    return Verdict(step, Outcome.FAILED, error, transient=True)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, Outcome.ACCEPTED),
        ("", Outcome.ACCEPTED),
        ("IN_PROGRESS", Outcome.ACCEPTED),
        ("anything", Outcome.ACCEPTED),
        ("CANCELED", Outcome.CANCELED),
        ("canceled", Outcome.CANCELED),
        ("CANCELLED", Outcome.CANCELED),
        ("Cancelled", Outcome.CANCELED),
        ("COMPLETED", Outcome.COMPLETED),
        ("completed", Outcome.COMPLETED),
        (" COMPLETED", Outcome.ACCEPTED),
        ("NOT_COMPLETED", Outcome.ACCEPTED),
    ],
)
def test_the_object_about_the_instance_is_a_success(status: str | None, expected: Outcome) -> None:
    """Its status says which one, in both spellings and any case; unknown words are accepted.

    It is believed whatever the number of the answer, and whatever was before.
    """
    assert outcome_of(status) is expected
    instance = InstanceBody(id="x", status=status)
    for http_status, pause_s, before in product((200, 503, 404), ANY_PAUSE, (False, True)):
        answer = _answer(http_status, instance=instance, retry_after_s=pause_s)
        judged = judge(answer, ambiguous_before=before)
        assert judged == Verdict(Next.DONE, expected)
        assert judged.outcome is expected


def test_a_verdict_says_by_itself_that_nothing_is_wrong() -> None:
    """Without more words there is no error, no trouble and nothing to wait for; it stays so."""
    judged = Verdict(Next.DONE, Outcome.ACCEPTED)
    assert judged == Verdict(
        next=Next.DONE,
        outcome=Outcome.ACCEPTED,
        error="",
        transient=False,
        stranger=False,
        ambiguous=False,
        throttled=False,
        pause_s=None,
    )
    with pytest.raises(FrozenInstanceError):
        judged.error = "another"  # type: ignore[misc]


@pytest.mark.parametrize("before", [False, True], ids=["at_first", "ambiguous_before"])
def test_a_refusal_by_the_api_is_final(before: bool) -> None:
    """A JSON object with a 4xx is about this ID.

    Where the run is gone or can no longer be cancelled, an attempt whose answer was lost may be
    the reason: then the error says so.
    """
    hint = MAYBE_CANCELLED if before else ""
    for status in FINAL - {403}:
        word, code = Outcome.REJECTED, "rejected"
        if status in {404, 410}:
            word, code = Outcome.NOT_FOUND, "not_found"
        expected = Verdict(Next.DONE, word, _said(code, status, hint))
        assert _judged(status, objects=[True], before=[before]) == {expected}
    forbidden = Verdict(Next.DONE, Outcome.FORBIDDEN, _said("forbidden", 403, GRANTS))
    assert _judged(403, objects=[True], before=[before], pauses=NOT_ASKED) == {forbidden}


def test_a_refusal_that_is_no_object_comes_from_something_on_the_way() -> None:
    """It says nothing about the ID, so it is an outage, and the ID is sent again."""
    for status in FINAL:
        expected = replace(_trouble(_said("bad_response", status, STRANGER)), stranger=True)
        pauses = NOT_ASKED if status == 403 else ANY_PAUSE
        assert _judged(status, objects=[False], pauses=pauses) == {expected}


def test_a_success_that_is_not_about_the_instance_may_be_one_all_the_same() -> None:
    """Garbage, nothing, an object about another instance: an outage, and perhaps carried out."""
    for status in range(100, 300):
        expected = replace(
            _trouble(_said("bad_response", status, STRANGER)), stranger=True, ambiguous=True
        )
        assert _judged(status) == {expected}


def test_a_status_beyond_http_is_a_stranger() -> None:
    """No answer of the API has one, even if it is an object."""
    for status in (600, 601, 999):
        expected = replace(_trouble(_said("bad_response", status, STRANGER)), stranger=True)
        assert _judged(status) == {expected}


def test_a_redirect_is_a_stranger_and_carried_nothing_out() -> None:
    """The hint says what to check: it is mostly a wrong name."""
    for status in range(300, 400):
        error = _said("unexpected_redirect", status, REDIRECTED)
        at_first = (
            f"the address answers with a redirect (HTTP {status}), which is never followed: check "
            "the instance name or the base URL"
        )
        assert _judged(status) == {replace(_trouble(error), stranger=True, at_first=at_first)}


def test_a_proxy_that_wants_a_login_is_a_stranger() -> None:
    """Also if its answer is a JSON object."""
    expected = replace(_trouble(_said("bad_response", 407, LOGIN)), stranger=True)
    assert _judged(407) == {expected}


def test_a_refused_token_is_looked_into() -> None:
    """A 401 decides nothing about its ID, whatever form it has."""
    assert _judged(401) == {_trouble(_said("unauthorized", 401), Next.UNAUTHORIZED)}


def test_too_many_requests_use_up_no_attempt() -> None:
    """A 429, or a 403 with a `Retry-After` (even of 0): the server is well and asks for less."""
    for status, pause_s in [(429, None), (429, 0.0), (429, 7.5), (403, 0.0), (403, 7.5)]:
        expected = Verdict(
            Next.RETRY_UNCOUNTED,
            Outcome.FAILED,
            _said("rate_limited", status),
            throttled=True,
            pause_s=pause_s,
        )
        assert _judged(status, pauses=[pause_s]) == {expected}


def test_a_503_that_names_a_pause_is_trouble_and_a_throttle() -> None:
    """Even a pause of 0; nothing was carried out, and the attempt counts."""
    for pause_s in ASKED:
        trouble = _trouble(_said("server_error", 503))
        expected = replace(trouble, throttled=True, pause_s=pause_s)
        assert _judged(503, pauses=[pause_s]) == {expected}


def test_a_server_in_trouble_says_nothing_about_the_id() -> None:
    """Sent again. Behind a 502 and a 504 the request may have been carried out, else not.

    A pause is not heeded here.
    """
    for status in {408, 425, *range(500, 600)} - {501}:
        trouble = _trouble(_said("server_error", status))
        expected = replace(trouble, ambiguous=status in {502, 504})
        pauses = NOT_ASKED if status == 503 else ANY_PAUSE
        assert _judged(status, pauses=pauses) == {expected}


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (200, f"bad_response: HTTP 200{STRANGER}"),
        (302, f"unexpected_redirect: HTTP 302{REDIRECTED}"),
        (401, "unauthorized: HTTP 401"),
        (403, f"forbidden: HTTP 403{GRANTS}"),
        (404, f"not_found: HTTP 404{MAYBE_CANCELLED}"),
        (407, f"bad_response: HTTP 407{LOGIN}"),
        (409, f"rejected: HTTP 409{MAYBE_CANCELLED}"),
        (429, "rate_limited: HTTP 429"),
        (500, "server_error: HTTP 500"),
    ],
)
def test_an_answer_without_a_message_is_told_by_its_number(status: int, error: str) -> None:
    """No colon is left over where the server said nothing."""
    assert judge(_answer(status, message=""), ambiguous_before=True).error == error


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (
            ConnectFailedError,
            Verdict(
                Next.RETRY,
                Outcome.FAILED,
                "connection: why",
                transient=True,
                at_first="why: check the instance name, the address and the network",
            ),
        ),
        (
            DisconnectedError,
            Verdict(Next.RETRY, Outcome.FAILED, "connection: why", transient=True, ambiguous=True),
        ),
        (
            AttemptTimeoutError,
            Verdict(Next.RETRY, Outcome.FAILED, "timeout: why", transient=True, ambiguous=True),
        ),
        (
            UnreadableAnswerError,
            Verdict(
                Next.RETRY, Outcome.FAILED, "bad_response: why", transient=True, ambiguous=True
            ),
        ),
        (
            IdleConnectionClosedError,
            Verdict(Next.RETRY_FREE, Outcome.FAILED, "connection: why", ambiguous=True),
        ),
        (NoDescriptorsError, Verdict(Next.WAIT_LOCAL, Outcome.FAILED, "connection: why")),
        (TlsFailedError, Verdict(Next.STOP_TLS, Outcome.FAILED, "tls: why")),
    ],
)
def test_what_each_fault_means(fault: type[AttemptError], expected: Verdict) -> None:
    """Whether it is sent again, is an outage, and may have been carried out all the same.

    Garbage instead of HTTP is an outage too. A lost answer is ambiguous, what was never sent is
    not.
    """
    assert judge(fault("why"), ambiguous_before=False) == expected
    assert fault.ambiguous is expected.ambiguous


def test_a_fault_of_the_issuer_alone_is_told_apart() -> None:
    """Another authority would mend it; it ends the run like any other fault of TLS."""
    fault = TlsFailedError("why")
    fault.unknown_issuer = True
    judged = judge(fault, ambiguous_before=False)
    assert judged == Verdict(Next.STOP_ISSUER, Outcome.FAILED, "tls: why")


def test_what_to_do_about_a_connection_that_failed_may_be_its_own() -> None:
    """A proxy is not looked for where the server is."""
    verdict = judge(ConnectFailedError("why", "ask the proxy"), ambiguous_before=False)
    assert (verdict.error, verdict.at_first) == ("connection: why", "why: ask the proxy")


def test_every_fault_is_in_the_table() -> None:
    """A new one needs a decision here."""
    known = {
        AttemptTimeoutError, ConnectFailedError, DisconnectedError, IdleConnectionClosedError,
        NoDescriptorsError, TlsFailedError, UnreadableAnswerError,
    }  # fmt: skip
    assert set(AttemptError.__subclasses__()) == known
