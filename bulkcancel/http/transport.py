"""One exchange on one connection: a request's bytes out, the answer or a named fault back.

aiohttp's connector makes the connections (names, happy eyeballs, TLS, CONNECT) and its parser
reads the answers. Its session, three quarters of what a request costs, is left out; what is used
instead is no part of aiohttp's documented surface. It is used in this module and in `dialer` alone,
and `tests/http/test_aiohttp.py` says what has changed if a new version no longer has it:

- `TCPConnector.connect(request, traces, timeout)` returns a `Connection` with `protocol`,
  `transport` and `close()`; `request` is a `ClientRequest`, which says where to connect to and
  through what. It raises a bare `KeyError` if the cache of names is cleared under a look-up;
- `ResponseHandler`, the protocol: `transport`, `set_response_params()`, `read()`, `should_close`,
  `is_connected()`, `closed`, `exception()`;
- `read()` returns a message with `code` and `headers`, and a body with `is_eof()`,
  `read_nowait()`, `read(n)`, `at_eof()`, `exception()` and `set_exception()`;
- `HttpProcessingError` stands for an answer that is no HTTP, and the `message` of
  `ServerDisconnectedError` is the part of an answer that had come, if any.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self, TypeAlias

import aiohttp
from aiohttp.http import HttpProcessingError

from bulkcancel.http.bodies import MAX_BODY_BYTES, too_long, unpacked
from bulkcancel.http.dialer import Connection, Dialer
from bulkcancel.http.faults import (
    AttemptError,
    AttemptTimeoutError,
    ConnectFailedError,
    DisconnectedError,
    IdleConnectionClosedError,
    UnreadableAnswerError,
)
from bulkcancel.http.watchdog import Watchdog

if TYPE_CHECKING:
    import ssl

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.streams import StreamReader
    from yarl import URL

    from bulkcancel.http.proxy import Proxy

_IDLE_S = 15.0

Reply: TypeAlias = tuple[int, Mapping[str, str], bytes, float]
"""Status, headers and plain body of an answer, and the seconds it took."""


class Transport:
    """All connections of a client to its server.

    Each has one exchange at a time, and a new one is opened only where no other is idle: so there
    are never more of them than exchanges at a time. `timeout_s` bounds connecting and exchange
    together. Use as an async context manager.
    """

    def __init__(
        self,
        url: URL,
        *,
        tls: ssl.SSLContext | bool,
        proxy: Proxy | None,
        timeout_s: float,
    ) -> None:
        self._timeout_s = timeout_s
        self._watchdog = Watchdog(timeout_s)
        self._dialer = Dialer(
            url, tls=tls, proxy=proxy, timeout_s=timeout_s, clock=self._watchdog.now
        )
        self._idle: deque[Connection] = deque()
        """The one used last comes last: what is not needed stays unused, and is closed."""
        self._open: set[Connection] = set()

    async def __aenter__(self) -> Self:
        self._dialer.open()
        self._watchdog.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watchdog.stop()
        for each in list(self._open):
            self._close(each)
        await self._dialer.close()

    def idle(self) -> Connection | None:
        """Return a connection that was kept, if one is fit for a request."""
        while self._idle:
            connection = self._idle.pop()
            protocol = connection.protocol
            # What a server sends on an idle connection must not be taken for the next answer.
            if (
                protocol.is_connected()
                and not protocol.should_close
                and time.monotonic() - connection.idle_since < _IDLE_S
            ):
                return connection
            self._close(connection)
        return None

    async def connect(self) -> Connection:
        """Open a connection; one that is idle gives way to it.

        Raises an `AttemptError` if none comes about; the name is looked up anew next time.
        """
        if self._idle:
            self._close(self._idle.popleft())
        connection = await self._dialer.dial()
        self._open.add(connection)
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep a connection on which nothing was sent after all."""
        self._keep(connection, time.monotonic())

    def forget_address(self) -> None:
        """Have the next connections made anew, to wherever the name leads by then."""
        self._dialer.forget_address()
        while self._idle:
            self._close(self._idle.pop())

    async def exchange(
        self, connection: Connection, request: bytes, *, most_bytes: int = MAX_BODY_BYTES
    ) -> Reply:
        """Send a request; return status, headers and plain body of its answer, and its seconds.

        An answer in progress (1xx) is no answer. Never reads more than `most_bytes` of a body, on
        the wire or unpacked. Raises an `AttemptError` if there is no readable answer.
        """
        protocol, watchdog = connection.protocol, self._watchdog
        began = time.monotonic() - connection.spent_s
        connection.started = began - watchdog.lost_s
        watchdog.watched.add(connection)
        reusable = False
        try:
            transport = protocol.transport
            if transport is None or (protocol.should_close and not connection.kept):
                raise _unfit(protocol)
            # A parser of its own: the last one may hold the beginning of what nobody asked for.
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
            transport.write(request)
            message, payload = await protocol.read()
            while 100 <= message.code < 200 and message.code != 101:
                message, payload = await protocol.read()
            body = (
                payload.read_nowait()
                if payload.is_eof()
                else await _read(protocol, payload, most_bytes)
            )
            if connection.expired:  # a body that ends with its connection was cut off
                raise TimeoutError
            if len(body) > most_bytes:
                raise too_long(most_bytes)
            encoding = message.headers.get("Content-Encoding")
            if encoding is not None:
                body = unpacked(body, encoding, most_bytes)
            ended = time.monotonic()
            reusable = not protocol.should_close
        except (AttemptError, aiohttp.ClientError, HttpProcessingError, OSError) as error:
            fault = _fault(error, kept=connection.kept)
            if connection.expired:
                fault = AttemptTimeoutError(f"no whole answer within {self._timeout_s:g} s")
            fault.latency_s = time.monotonic() - began
            raise fault from None  # aiohttp's own error holds what the server said
        finally:
            watchdog.watched.discard(connection)
            if reusable:
                self._keep(connection, ended)
            else:
                self._close(connection)
        return message.code, message.headers, body, ended - began

    def _keep(self, connection: Connection, now: float) -> None:
        if connection.generation != self._dialer.generation:  # it leads where the name led before
            self._close(connection)
            return
        connection.kept = True
        connection.spent_s = 0.0
        connection.idle_since = now
        idle = self._idle
        idle.append(connection)
        while now - idle[0].idle_since > _IDLE_S:
            self._close(idle.popleft())

    def _close(self, connection: Connection) -> None:
        self._open.discard(connection)
        connection.close()


async def _read(protocol: ResponseHandler, payload: StreamReader, most_bytes: int) -> bytes:
    """Return the body once it is whole, or as soon as it is too long."""
    closed = protocol.closed

    def fail(_: object) -> None:
        if closed is not None and not closed.cancelled():
            closed.exception()  # it is told by the body
        if not payload.is_eof() and payload.exception() is None:
            payload.set_exception(protocol.exception() or aiohttp.ClientPayloadError())

    # aiohttp lets go of a body whose rest it cannot parse: whoever reads it would wait for ever.
    if closed is None:
        fail(None)
    else:
        closed.add_done_callback(fail)
    body = await payload.read(most_bytes)
    while not payload.at_eof():
        if len(body) >= most_bytes:
            raise too_long(most_bytes)
        body += await payload.read(most_bytes - len(body))
    return body


def _unfit(protocol: ResponseHandler) -> AttemptError:
    """Return why nothing is sent on a new connection."""
    if protocol.is_connected():
        fault = UnreadableAnswerError("the server spoke before it was asked")
        fault.ambiguous = False
        return fault
    return ConnectFailedError("the server closed the connection before anything was sent")


def _fault(error: Exception, *, kept: bool) -> AttemptError:
    """Return bulkcancel's word for what ended an exchange on a new connection or a `kept` one."""
    if isinstance(error, AttemptError):
        return error
    if isinstance(error, HttpProcessingError):
        return UnreadableAnswerError(f"the answer is not readable HTTP: {error.message}")
    if isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str):
        # The message is then the part of the answer that had come.
        return DisconnectedError("the server closed the connection in the middle of its answer")
    if isinstance(error, aiohttp.ClientPayloadError):
        return DisconnectedError("the connection broke in the middle of the answer")
    if kept:
        return IdleConnectionClosedError("the server had closed an idle connection")
    return DisconnectedError("the server closed the connection without an answer")
