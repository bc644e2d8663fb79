"""What an answer to a read means: good, to be asked again, or the end of the command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bulkcancel.domo.answers import read_other
from bulkcancel.domo.client import retry_after_of
from bulkcancel.errors import BulkcancelError, StoppedError, TokenRefusedError, UntrustedError
from bulkcancel.http import (
    AttemptError,
    ConnectFailedError,
    IdleConnectionClosedError,
    TlsFailedError,
)

if TYPE_CHECKING:
    from bulkcancel.domo.client import DomoClient
    from bulkcancel.http import Reply

_PASSING = frozenset({408, 425, 429})
_BAD_REQUEST = frozenset({400, 422})
_CALL = "the unofficial call for lists"


class RejectedReadError(StoppedError):
    """The API did not take the parameters of a read."""


class ForbiddenReadError(TokenRefusedError):
    """The API says that the token's owner may not read this."""


@dataclass(frozen=True, slots=True)
class ReadTrouble:
    """One attempt to read that came to nothing."""

    error: BulkcancelError
    """What ends the command if this does not pass."""
    may_pass: bool = False
    at_once: bool = False
    """Whether the request had probably not reached the server."""
    wait_s: float | None = None
    """For how long the server asks to be left alone."""


def trouble_of_answer(reply: Reply, client: DomoClient) -> ReadTrouble | None:
    """Return what is wrong with an answer that is no 2xx, `None` for one that is."""
    status, headers, body, _ = reply
    wait_s = retry_after_of(headers)
    if 200 <= status < 300:
        return None
    said, is_object = read_other(body, "")
    text = f"HTTP {status}: {client.redacted(said)}" if said else f"HTTP {status}"
    if status == 401:
        return ReadTrouble(TokenRefusedError(f"the server refused the token ({text})"))
    if 300 <= status < 400:
        return ReadTrouble(
            StoppedError(
                f"the address answers with a redirect (HTTP {status}), which is never followed: "
                "check the instance name or the base URL"
            )
        )
    if wait_s is not None or status in _PASSING or (status >= 500 and status != 501):
        asks = "" if wait_s is None else f", and asks to be left alone for {wait_s:,.0f} s"
        error = StoppedError(f"{_CALL} fails ({text}{asks}): try again later")
        return ReadTrouble(error, may_pass=True, wait_s=wait_s)
    if status == 407:
        return ReadTrouble(StoppedError(f"a proxy on the way wants a login ({text}): see --proxy"))
    if not is_object:
        return ReadTrouble(not_a_list(reply, client))
    if status == 403:
        return ReadTrouble(
            ForbiddenReadError(
                f"the token's owner may not list executions ({text}): it takes the Manage "
                "Workflows grant, or View Execution List on the workflow"
            )
        )
    kind = RejectedReadError if status in _BAD_REQUEST else StoppedError
    return ReadTrouble(
        kind(
            f"{_CALL} is not answered as it was ({text}): it may have changed; check --model-id, "
            "or export the list of executions from Domo"
        )
    )


def not_a_list(reply: Reply, client: DomoClient) -> StoppedError:
    """Return the error of an answer in which there is no list."""
    status, _, body, _ = reply
    said = client.redacted(read_other(body, "")[0]) or "nothing"
    return StoppedError(
        f"{_CALL} answers something else than a list (HTTP {status}: {said}): it may have changed, "
        "or something on the way has answered; check the address, or export the list of "
        "executions from Domo"
    )


def trouble_of_fault(fault: AttemptError, host: str, *, first: bool) -> ReadTrouble:
    """Return what an attempt without a readable answer means; `first`: none has come before."""
    if isinstance(fault, TlsFailedError):
        said = f"no trusted TLS connection to {host} ({fault.code}: {fault.message})"
        said += ": nothing was sent over it"
        if not fault.unknown_issuer:
            return ReadTrouble(StoppedError(said))
        said += "; if it is to be trusted, give its certificate in SSL_CERT_FILE or "
        return ReadTrouble(UntrustedError(said, "ca_file"))
    if isinstance(fault, ConnectFailedError):
        error = StoppedError(f"{fault.message}: {fault.advice}")
        return ReadTrouble(error, may_pass=not first)
    error = StoppedError(f"{host} cannot be asked ({fault.code}: {fault.message}): try again later")
    closed = isinstance(fault, IdleConnectionClosedError)
    return ReadTrouble(error, may_pass=True, at_once=closed)
