"""One attempt: a single cancel request and what came of it.

Above this module nothing knows aiohttp.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import ssl
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

import aiohttp
from yarl import URL

from bulkcancel.domo.address import base_url_of, host_of
from bulkcancel.domo.answers import (
    MAX_BODY_BYTES,
    Answer,
    parse_instance,
    read_other,
    redacted,
    too_long,
    unpacked,
)
from bulkcancel.domo.connection import (
    AttemptContext,
    BodylessRequest,
    PacedConnector,
    current_attempt,
    open_socket,
)
from bulkcancel.domo.faults import (
    AttemptError,
    AttemptTimeoutError,
    ConnectFailedError,
    DisconnectedError,
    IdleConnectionClosedError,
    NoDescriptorsError,
    TlsFailedError,
    UnreadableAnswerError,
)
from bulkcancel.domo.retry_after import parse_http_date, parse_retry_after
from bulkcancel.domo.watchdog import Watchdog
from bulkcancel.errors import UsageError
from bulkcancel.text import redact, shorten, visible
from bulkcancel.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bulkcancel.domo.connection import Pace

_CONNECT_TIMEOUT_S = 10.0
_DNS_CACHE_S = 300
_TOKEN = re.compile(r"[\x21-\x7e]+")
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
# Raised by aiohttp while a connection is made; whatever else it raises came after that.
_WHILE_CONNECTING = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_TLS = (
    ssl.SSLCertVerificationError,
    aiohttp.ClientConnectorSSLError,
    aiohttp.ClientConnectorCertificateError,
)
# A handshake that breaks off says nothing about trust: a server that restarts does that.
_HUNG_UP = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


class DomoClient:
    """A connection pool to one Domo instance, with the token in it.

    `instance` is `acme`, `acme.domo.com` or a pasted address; `base_url` instead of it names a
    gateway or a sandbox (https, or http on loopback). `timeout_s` bounds one attempt in all;
    `max_connections` of 0 opens as many as there are requests in flight.
    Use as an async context manager. Raises `UsageError` for a bad instance, address or token.
    """

    def __init__(
        self,
        instance: str | None = None,
        *,
        token: str,
        base_url: str | None = None,
        timeout_s: float = 30.0,
        max_connections: int = 0,
    ) -> None:
        if not _TOKEN.fullmatch(token):
            raise UsageError(
                "the token is empty, or holds a space, a line break or a character beyond ASCII: "
                "copy it again from Admin > Security > Access tokens"
            )
        if not 0 < timeout_s < float("inf"):
            raise UsageError(f"timeout_s must be a number of seconds above 0, not {timeout_s}")
        url = base_url_of(instance, base_url)
        self.base_url = url
        self.host = host_of(url)
        self._token = token
        self._token_bytes = token.encode("ascii")
        self._origin = URL(url)
        self._prefix = f"{self._origin.raw_path.rstrip('/')}/api/workflow/v1/instances/"
        self._max_connections = max_connections
        self.timeout_s = timeout_s
        self._watchdog = Watchdog(timeout_s)
        self._session: aiohttp.ClientSession | None = None
        self._fresh_session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"DomoClient({self.base_url!r})"

    async def __aenter__(self) -> Self:
        # aiohttp makes its own context when it is imported: SSL_CERT_FILE set later is not used.
        tls = ssl.create_default_context() if self.base_url.startswith("https:") else True
        self._session = self._open_session(tls=tls, keep_alive=True)
        self._fresh_session = self._open_session(tls=tls, keep_alive=False)
        self._watchdog.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watchdog.stop()
        for session in (self._session, self._fresh_session):
            if session is not None:
                await session.close()
        self._session = self._fresh_session = None

    def _open_session(
        self, *, tls: ssl.SSLContext | bool, keep_alive: bool
    ) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=PacedConnector(
                limit=self._max_connections,
                ssl=tls,
                ttl_dns_cache=_DNS_CACHE_S,  # a look-up in mid-run may stall
                resolver=aiohttp.ThreadedResolver(),
                socket_factory=open_socket,
                force_close=not keep_alive,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=min(_CONNECT_TIMEOUT_S, self.timeout_s * 0.9)
            ),
            headers={
                "X-DOMO-Developer-Token": self._token,
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": f"bulkcancel/{VERSION}",
            },
            request_class=BodylessRequest,
        )

    async def cancel(
        self, instance_id: str, *, fresh: bool = False, pace: Pace | None = None
    ) -> Answer:
        """Send one cancel for a valid, lower-case ID and return the server's answer.

        With `fresh` it gets a new connection instead of a kept-alive one; `pace` is awaited
        before sending if getting a connection took long. Never follows a redirect, or reads more
        than 64 KiB of a body, on the wire or unpacked. Raises an `AttemptError` if there is no
        readable answer, and `UsageError` if the client is not open.
        """
        session = self._fresh_session if fresh else self._session
        if session is None:
            raise UsageError("use DomoClient as a context manager: async with DomoClient(...)")
        # The ID was matched against a strict pattern: nothing in it needs quoting.
        url = self._origin.with_path(f"{self._prefix}{instance_id}/cancel", encoded=True)
        started = time.monotonic()
        attempt = self._watchdog.begin(started)
        context = AttemptContext(self._watchdog, attempt, pace)
        current_attempt.set(context)
        try:
            response = await session.post(url, allow_redirects=False)
            try:
                body = await self._read(response)
            finally:
                if not response.content.at_eof():  # else its connection has gone back to the pool
                    response.close()
        except asyncio.CancelledError:
            if attempt.timed_out():
                raise AttemptTimeoutError(
                    f"no whole answer within {self.timeout_s:g} s",
                    latency_s=time.monotonic() - started,
                ) from None
            raise
        except (AttemptError, aiohttp.ClientError, OSError, ValueError) as error:
            fault = _translate(error, fresh=context.fresh)
            fault.message = shorten(visible(redact(fault.message, self._token)))
            fault.latency_s = time.monotonic() - started
            raise fault from None  # aiohttp's own error holds the request and its token
        finally:
            self._watchdog.end(attempt)
        latency_s = time.monotonic() - started
        status = response.status
        if 200 <= status < 300:
            instance = parse_instance(body, instance_id)
            if instance is not None:
                if self._token_bytes in body or b"\\" in body:  # a gateway may echo it
                    instance = redacted(instance, self._token)
                return Answer(status, instance, True, "", None, latency_s)  # noqa: FBT003
        said, is_object = read_other(body, instance_id)
        if not context.fresh and _gives_up_idle_connection(response, is_object=is_object):
            raise IdleConnectionClosedError("the server gave up an idle connection")
        message = shorten(visible(redact(said, self._token)))
        return Answer(status, None, is_object, message, _retry_after_s(response.headers), latency_s)

    @staticmethod
    async def _read(response: aiohttp.ClientResponse) -> bytes:
        """Return the whole plain body. Raises `UnreadableAnswerError`, beyond 64 KiB as well."""
        content = response.content
        body = await content.read(MAX_BODY_BYTES)
        while not content.at_eof():
            if len(body) >= MAX_BODY_BYTES:
                raise too_long()
            body += await content.read(MAX_BODY_BYTES - len(body))
        encoding = response.headers.get("Content-Encoding")
        return body if encoding is None else unpacked(body, encoding)


def _gives_up_idle_connection(response: aiohttp.ClientResponse, *, is_object: bool) -> bool:
    """Return whether the server answered only to close an idle connection, not the request.

    Servers do so with 408 (RFC 9110, section 15.5.9), some with a 400 of their own.
    """
    gave_up = response.status == 408 or (response.status == 400 and not is_object)
    return gave_up and response.headers.get("Connection", "").lower() == "close"


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    value = headers.get("Retry-After")
    if value is None:
        return None
    return parse_retry_after(value, parse_http_date(headers.get("Date", "")) or datetime.now(UTC))


def _translate(error: Exception, *, fresh: bool) -> AttemptError:
    """Return bulkcancel's word for an error of aiohttp or the system beneath it."""
    if isinstance(error, AttemptError):
        return error
    if isinstance(error, _TLS) and not isinstance(getattr(error, "os_error", None), _HUNG_UP):
        return TlsFailedError(_text(error))
    if isinstance(error, OSError) and error.errno in _NO_DESCRIPTORS:
        return NoDescriptorsError("this process may open no more connections (ulimit -n)")
    if isinstance(error, _WHILE_CONNECTING):
        return ConnectFailedError(_text(error))
    if isinstance(error, (aiohttp.ClientResponseError, ValueError)):
        # aiohttp reports what its parser refuses as a response with status 400: there was none.
        return UnreadableAnswerError(f"the answer is not readable HTTP: {_text(error)}")
    if isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str):
        # The message is then the part of the answer that had come.
        return DisconnectedError("the server closed the connection in the middle of its answer")
    if isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        if fresh:
            return DisconnectedError("the server closed the connection without an answer")
        return IdleConnectionClosedError("the server had closed an idle connection")
    if isinstance(error, aiohttp.ClientPayloadError):
        return DisconnectedError("the connection broke in the middle of the answer")
    return DisconnectedError(_text(error))


def _text(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientResponseError):
        return error.message  # its repr holds the request's headers
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "no connection within the connect timeout"
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        reason = cause.strerror or str(cause) or "the server hung up"
        if cause.errno and not isinstance(cause, (ssl.SSLError, socket.gaierror)):
            reason = os.strerror(cause.errno)  # asyncio has words of its own
        return f"cannot connect to {error.host}:{error.port}: {reason}"
    return str(error) or type(error).__name__
