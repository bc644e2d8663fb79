"""One attempt: a single cancel request and what came of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote_plus

from yarl import URL

from bulkcancel.domo.address import base_url_of, host_of
from bulkcancel.domo.answers import (
    Answer,
    parse_http_date,
    parse_instance,
    parse_retry_after,
    read_other,
    redacted,
)
from bulkcancel.errors import TOKENS_PAGE, StoppedError, UsageError
from bulkcancel.http import (
    MAX_BODY_BYTES,
    USER_AGENT,
    AttemptError,
    IdleConnectionClosedError,
    Transport,
    proxy_of,
    tls_context,
)
from bulkcancel.ids import parse_instance_id
from bulkcancel.text import redact, shorten, visible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bulkcancel.http import Connection, Reply

INSTANCES = "/api/workflow/v1/instances/"
EXECUTIONS = "/api/workflow/v2/executions"
MODELS = "/api/workflow/v1/models"
READ_BACK = (f"{EXECUTIONS}/", INSTANCES)
"""The calls that say what has become of an instance, the better one first; both unofficial."""

_TELLING = 8  # characters: a shorter token may stand in any address
_TOKEN = re.compile(r"[\x21-\x7e]+")


class DomoClient:
    """The way to one Domo instance, with the token in it.

    `instance` is `acme`, `acme.domo.com` or a pasted address; `base_url` instead of it names a
    gateway or a sandbox (https, or http on loopback). `timeout_s` bounds one attempt in all.
    `proxy` is the address of an HTTP proxy or `none`; without it the environment is asked, see
    `proxy_of`. `ca_file` holds authorities (PEM) to trust besides the system's and those in
    `SSL_CERT_FILE`. Use as an async context manager. Raises `UsageError` for what cannot be used.
    """

    def __init__(
        self,
        instance: str | None = None,
        *,
        token: str,
        base_url: str | None = None,
        timeout_s: float = 30.0,
        proxy: str | None = None,
        ca_file: str | None = None,
    ) -> None:
        if not _TOKEN.fullmatch(token):
            raise UsageError(
                "the token is empty, or holds a space, a line break or a character beyond ASCII: "
                f"copy it again from {TOKENS_PAGE}"
            )
        if not 0 < timeout_s < float("inf"):
            raise UsageError(f"timeout_s must be a number of seconds above 0, not {timeout_s}")
        self.base_url = base_url_of(instance, base_url)
        self.host = host_of(self.base_url)
        if token.lower() in self.host.lower().split("."):  # before a name server hears of it
            raise UsageError("the instance is the token itself: give its name, as in acme.domo.com")
        self.timeout_s = timeout_s
        self._token = token
        self._token_bytes = token.encode("ascii")
        self.proxy = proxy_of(proxy, self.base_url)
        url = URL(self.base_url)
        self._url = url
        self._tls = tls_context(ca_file) if url.scheme == "https" else True
        # All requests of a run differ in their ID alone.
        headers = (
            f"Host: {url.host_port_subcomponent}\r\n"
            f"X-DOMO-Developer-Token: {token}\r\nAccept: application/json\r\n"
            f"Accept-Encoding: identity\r\nUser-Agent: {USER_AGENT}\r\n"
        )
        self._before_id = f"POST {url.raw_path.rstrip('/')}{INSTANCES}"
        self._after_id = f"/cancel HTTP/1.1\r\n{headers}Content-Length: 0\r\n\r\n"
        self._before_target = f"GET {url.raw_path.rstrip('/')}"
        self._after_target = f" HTTP/1.1\r\n{headers}\r\n"
        self._transport: Transport | None = None

    def __repr__(self) -> str:
        return f"DomoClient({self.base_url!r})"

    async def __aenter__(self) -> Self:
        transport = Transport(self._url, tls=self._tls, proxy=self.proxy, timeout_s=self.timeout_s)
        self._transport = await transport.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.__aexit__()

    def idle(self) -> Connection | None:
        """Return a kept-alive connection, `None` if there is none that can be used."""
        return self._opened().idle()

    async def connect(self) -> Connection:
        """Open a connection. Raises an `AttemptError` if none comes about."""
        try:
            return await self._opened().connect()
        except AttemptError as fault:
            raise self._safe(fault) from None

    def give_back(self, connection: Connection) -> None:
        """Keep a connection that came from `idle` or `connect` and was not used after all."""
        self._opened().give_back(connection)

    def forget_address(self) -> None:
        """Have the name looked up anew, and no connection used that led where it led before."""
        self._opened().forget_address()

    async def cancel(self, instance_id: str, connection: Connection | None = None) -> Answer:
        """Send one cancel and return the server's answer.

        With a connection from `idle` or `connect` the ID must be a valid one in small letters;
        without, both are seen to. Never follows a redirect. Raises an `AttemptError` if there is
        no readable answer, and `UsageError` for what is no ID or if the client is not open.
        """
        if connection is None:
            instance_id = _checked(instance_id)
            connection = self.idle() or await self.connect()
        was_kept = connection.kept
        request = f"{self._before_id}{instance_id}{self._after_id}".encode()
        try:
            came = await self._opened().exchange(connection, request)
        except AttemptError as fault:
            raise self._safe(fault) from None
        return self._answer(came, instance_id, was_kept=was_kept)

    async def look(self, instance_id: str, connection: Connection, *, call: str) -> Answer:
        """Read back what has become of an instance by one of `READ_BACK`; changes nothing.

        The ID must be a valid one in small letters. Never follows a redirect. Raises as `cancel`.
        """
        was_kept = connection.kept
        came = await self.read(f"{call}{instance_id}", connection)
        return self._answer(came, instance_id, was_kept=was_kept)

    async def read(
        self,
        target: str,
        connection: Connection | None = None,
        *,
        most_bytes: int = MAX_BODY_BYTES,
    ) -> Reply:
        """GET `target`, a path of the API and its query, percent-encoded; return what comes.

        Nothing in it is checked, and it may hold the token; never follows a redirect. Raises an
        `AttemptError` if there is no readable answer of at most `most_bytes`, `StoppedError` for a
        target that holds the token, and `UsageError` if the client is not open.
        """
        if len(self._token) >= _TELLING and self._token in unquote_plus(target):
            raise StoppedError(
                f"{self.host} names a next page by the token itself, which is not asked: addresses "
                "are logged on the way"
            )
        connection = connection or self.idle() or await self.connect()
        request = f"{self._before_target}{target}{self._after_target}".encode("ascii")
        try:
            return await self._opened().exchange(connection, request, most_bytes=most_bytes)
        except AttemptError as fault:
            raise self._safe(fault) from None

    def redacted(self, text: str) -> str:
        """Return what a server said, without the token in it and safe to show."""
        return shorten(visible(redact(text, self._token)))

    def _answer(self, came: Reply, instance_id: str, *, was_kept: bool) -> Answer:
        """Return what came as an answer about one instance."""
        status, headers, body, latency_s = came
        if 200 <= status < 300:
            instance = parse_instance(body, instance_id)
            if instance is not None:
                if self._token_bytes in body or b"\\" in body:  # a gateway may echo it
                    instance = redacted(instance, self._token)
                return Answer(status, instance, True, "", None, latency_s)  # noqa: FBT003
        said, is_object = read_other(body, instance_id)
        if was_kept and _gives_up_idle_connection(status, headers, is_object=is_object):
            raise IdleConnectionClosedError("the server gave up an idle connection")
        return Answer(
            status, None, is_object, self.redacted(said), retry_after_of(headers), latency_s
        )

    def _opened(self) -> Transport:
        if self._transport is None:
            raise UsageError("use DomoClient as a context manager: async with DomoClient(...)")
        return self._transport

    def _safe(self, fault: AttemptError) -> AttemptError:
        """Return the fault with a message that can be shown."""
        fault.message = self.redacted(fault.message)
        fault.args = (fault.message,)
        return fault


def _checked(text: str) -> str:
    instance_id = parse_instance_id(text)
    if instance_id is None:
        raise UsageError(f"{visible(shorten(text))!r} is no instance ID")
    return instance_id


def _gives_up_idle_connection(status: int, headers: Mapping[str, str], *, is_object: bool) -> bool:
    """Return whether the server answered only to close an idle connection, not the request.

    Servers do so with 408 (RFC 9110, section 15.5.9), some with a 400 of their own.
    """
    gave_up = status == 408 or (status == 400 and not is_object)
    return gave_up and headers.get("Connection", "").lower() == "close"


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Return for how many seconds an answer asks to be left alone, by its own clock."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    return parse_retry_after(value, parse_http_date(headers.get("Date", "")) or datetime.now(UTC))
