"""What an answer to a read means: who is to blame, and whether it may pass."""

from __future__ import annotations

import json

import pytest

from bulkcancel.domo.client import DomoClient
from bulkcancel.domo.reads import (
    ForbiddenReadError,
    ReadTrouble,
    RejectedReadError,
    not_a_list,
    trouble_of_answer,
    trouble_of_fault,
)
from bulkcancel.errors import StoppedError, TokenRefusedError, UntrustedError
from bulkcancel.http import AttemptError, ConnectFailedError, IdleConnectionClosedError, Reply
from bulkcancel.http.faults import AttemptTimeoutError, NoDescriptorsError, TlsFailedError

TOKEN = "DDCI-canary-0123456789abcdef"
CLIENT = DomoClient("acme", token=TOKEN)
SAID = json.dumps({"message": f"no\x1b[31m {TOKEN}"}).encode()
HTML = b"<html>"


def _trouble(status: int, body: bytes = SAID, **headers: str) -> ReadTrouble:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    trouble = trouble_of_answer((status, named, body, 0.0), CLIENT)
    assert trouble is not None
    assert TOKEN not in str(trouble.error)
    assert "\x1b" not in str(trouble.error)
    return trouble


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "said"),
    [
        (401, SAID, TokenRefusedError, 3, "refused the token"),
        (401, HTML, TokenRefusedError, 3, "refused the token"),
        (403, SAID, ForbiddenReadError, 3, "grant"),
        (403, HTML, StoppedError, 4, "an HTML page"),
        (400, SAID, RejectedReadError, 4, "may have changed"),
        (422, SAID, RejectedReadError, 4, "may have changed"),
        (400, HTML, StoppedError, 4, "an HTML page"),
        (404, SAID, StoppedError, 4, "may have changed"),
        (404, b"", StoppedError, 4, "nothing"),
        (501, SAID, StoppedError, 4, "may have changed"),
        (407, HTML, StoppedError, 4, "proxy"),
        (302, b"", StoppedError, 4, "redirect (HTTP 302), which is never followed"),
        (304, b"", StoppedError, 4, "never followed"),
    ],
)
def test_what_does_not_pass_is_a_sentence(
    status: int, body: bytes, kind: type[Exception], code: int, said: str
) -> None:
    """With the exit code that it means, without the token, in plain characters."""
    trouble = _trouble(status, body)
    assert type(trouble.error) is kind
    assert trouble.error.exit_code == code
    assert said in str(trouble.error)
    assert not trouble.may_pass


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
@pytest.mark.parametrize("body", [SAID, HTML])
def test_what_may_pass_is_asked_again(status: int, body: bytes) -> None:
    """Whoever has answered."""
    trouble = _trouble(status, body)
    assert (trouble.may_pass, trouble.at_once, trouble.wait_s) == (True, False, None)
    assert trouble.error.exit_code == 4


@pytest.mark.parametrize("status", [403, 404, 429, 501, 503])
def test_who_asks_for_a_wait_is_asked_again_after_it(status: int) -> None:
    """By its own clock."""
    trouble = _trouble(
        status,
        Retry_After="Sun, 29 Nov 2026 12:00:30 GMT",
        Date="Sun, 29 Nov 2026 12:00:00 GMT",
    )
    assert (trouble.may_pass, trouble.wait_s) == (True, 30)
    assert "for 30 s" in str(trouble.error)


def test_a_2xx_is_no_trouble_and_what_it_holds_is_another_question() -> None:
    """Whether there is a list in it is seen when it is read."""
    reply: Reply = (200, {}, b"<html>", 0.0)
    assert trouble_of_answer(reply, CLIENT) is None
    assert "something else than a list (HTTP 200: an HTML page)" in str(not_a_list(reply, CLIENT))


@pytest.mark.parametrize(
    ("fault", "first", "may_pass", "at_once"),
    [
        (AttemptTimeoutError("30 s"), True, True, False),
        (AttemptError("broken"), False, True, False),
        (NoDescriptorsError("none"), True, True, False),
        (IdleConnectionClosedError("idle"), False, True, True),
        (ConnectFailedError("refused"), True, False, False),
        (ConnectFailedError("refused"), False, True, False),
        (TlsFailedError("expired"), False, False, False),
    ],
)
def test_faults_that_may_pass(
    fault: AttemptError, first: bool, may_pass: bool, at_once: bool
) -> None:
    """A server that was never reached is told at once, as a name that is misspelt."""
    trouble = trouble_of_fault(fault, "acme.domo.com", first=first)
    assert (trouble.may_pass, trouble.at_once) == (may_pass, at_once)
    assert type(trouble.error) is StoppedError
    assert fault.message in str(trouble.error)


def test_an_issuer_that_is_not_known_is_told_with_the_way_out() -> None:
    """The option is named by whoever has one."""
    fault = TlsFailedError("unknown issuer")
    fault.unknown_issuer = True
    error = trouble_of_fault(fault, "acme.domo.com", first=True).error
    assert isinstance(error, UntrustedError)
    assert str(error.called("--ca-file")).endswith("SSL_CERT_FILE or --ca-file")
