"""One exchange on one connection: a request's bytes out, the answer or a named fault back.

aiohttp's connector makes the connections (names, happy eyeballs, TLS, CONNECT) and its parser
reads the answers. Its session, three quarters of what a request costs, is left out; what is used
instead is no part of aiohttp's documented surface. It is used in this module alone, and
`tests/domo/test_aiohttp.py` says what has changed if a new version no longer has it:

- `TCPConnector.connect(request, traces, timeout)` returns a `Connection` with `protocol` and
  `close()`; `request` is a `ClientRequest`, which says where to connect to and through what;
- `ResponseHandler`, the protocol: `transport`, `set_response_params()`, `read()`, `should_close`,
  `is_connected()`;
- `read()` returns a message with `code` and `headers`, and a body with `is_eof()`,
  `read_nowait()`, `read(n)` and `at_eof()`;
- `HttpProcessingError` stands for an answer that is no HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import aiohttp
from aiohttp.http import HttpProcessingError

from bulkcancel.domo.answers import MAX_BODY_BYTES, too_long, unpacked
from bulkcancel.domo.faults import (
    AttemptError,
    AttemptTimeoutError,
    ConnectFailedError,
    TlsFailedError,
    UnreadableAnswerError,
)
from bulkcancel.domo.tls import issuer_of
from bulkcancel.domo.translation import connect_fault, exchange_fault
from bulkcancel.domo.watchdog import Watchdog
from bulkcancel.version import VERSION

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from aiohttp import connector
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.streams import StreamReader
    from yarl import URL

    from bulkcancel.domo.proxy import Proxy

USER_AGENT = f"bulkcancel/{VERSION}"
_CONNECT_TIMEOUT_S = 10.0
_DNS_CACHE_S = 300
_IDLE_S = 15.0


class Connection:
    """A connection to the server: held by one exchange at a time, or idle."""

    __slots__ = ("_opened", "expired", "idle_since", "kept", "protocol", "spent_s", "started")

    def __init__(self, opened: connector.Connection, spent_s: float) -> None:
        protocol = opened.protocol
        assert protocol is not None  # noqa: S101 - it has just been opened
        self._opened = opened
        self.protocol = protocol
        self.kept = False
        """Whether it has lain idle: the server may have closed it before the next request."""
        self.idle_since = 0.0
        self.spent_s = spent_s
        """What it took to connect: part of the time of the first exchange."""
        self.started = 0.0
        self.expired = False

    def expire(self) -> None:
        """Break it off: its exchange takes too long."""
        self.expired = True
        if self.protocol.transport is not None:
            self.protocol.transport.abort()

    def close(self) -> None:
        """Close it."""
        self._opened.close()


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
        self._url = url
        self._tls = tls
        self._proxy = proxy
        self._timeout_s = timeout_s
        self._connect_timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=min(_CONNECT_TIMEOUT_S, timeout_s * 0.9)
        )
        self._watchdog = Watchdog(timeout_s)
        self._idle: deque[Connection] = deque()
        """The one used last comes last: what is not needed stays unused, and is closed."""
        self._open: set[Connection] = set()

    async def __aenter__(self) -> Self:
        self._connector = aiohttp.TCPConnector(
            limit=0,
            ssl=self._tls,
            ttl_dns_cache=_DNS_CACHE_S,  # a look-up in mid-run may stall
            resolver=aiohttp.ThreadedResolver(),
        )
        self._where = self._request_to(trusted=True)
        self._watchdog.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watchdog.stop()
        for each in list(self._open):
            self._close(each)
        await self._connector.close()

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
        began = time.monotonic()
        try:
            opened = await self._open_to(self._where)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            fault = connect_fault(error, self._proxy)
            if isinstance(fault, ConnectFailedError):
                self._connector.clear_dns_cache()
            elif isinstance(fault, TlsFailedError) and fault.unknown_issuer:
                fault.message += await self._issuer()
            fault.latency_s = time.monotonic() - began
            raise fault from None  # aiohttp's own error holds the login of a proxy
        connection = Connection(opened, time.monotonic() - began)
        self._open.add(connection)
        connection.protocol.set_response_params(read_until_eof=True, auto_decompress=False)
        return connection

    def _request_to(self, *, trusted: bool) -> aiohttp.ClientRequest:
        """Return what tells the connector where to connect to; nothing of it is sent there."""
        return aiohttp.ClientRequest(
            "POST",
            self._url,
            loop=asyncio.get_running_loop(),
            ssl=trusted,
            proxy=self._proxy and self._proxy.url,
            proxy_headers={"User-Agent": USER_AGENT} if self._proxy else None,
        )

    async def _open_to(self, where: aiohttp.ClientRequest) -> connector.Connection:
        connect = self._connector.connect
        async with asyncio.timeout(self._timeout_s):
            for _ in range(3):
                # aiohttp's own: the cache was cleared in the moment a look-up ended.
                with suppress(KeyError):
                    return await connect(where, [], self._connect_timeout)
            return await connect(where, [], self._connect_timeout)

    async def _issuer(self) -> str:
        """Return whose certificate was not trusted, for a message; nothing is sent there."""
        if self._proxy is not None and self._proxy.url.scheme == "https":
            return ""  # it may be the proxy's own, and the proxy would be told its login
        try:
            opened = await self._open_to(self._request_to(trusted=False))
        except (aiohttp.ClientError, OSError, ValueError):
            return ""
        transport = opened.transport
        shown = transport and transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        opened.close()
        return f" (its issuer is {issuer_of(shown)})" if shown else ""

    def give_back(self, connection: Connection) -> None:
        """Keep a connection on which nothing was sent after all."""
        self._keep(connection, time.monotonic())

    def forget_address(self) -> None:
        """Have the next connections made anew, to wherever the name leads by then."""
        self._connector.clear_dns_cache()
        while self._idle:
            self._close(self._idle.pop())

    async def exchange(
        self, connection: Connection, request: bytes
    ) -> tuple[int, Mapping[str, str], bytes, float]:
        """Send a request; return status, headers and plain body of its answer, and its seconds.

        An answer in progress (1xx) is no answer. Never reads more than 64 KiB of a body, on the
        wire or unpacked. Raises an `AttemptError` if there is no readable answer.
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
            transport.write(request)
            message, payload = await protocol.read()
            while 100 <= message.code < 200 and message.code != 101:
                message, payload = await protocol.read()
            body = payload.read_nowait() if payload.is_eof() else await _read(payload)
            if connection.expired:  # a body that ends with its connection was cut off
                raise TimeoutError
            if len(body) > MAX_BODY_BYTES:
                raise too_long()
            encoding = message.headers.get("Content-Encoding")
            if encoding is not None:
                body = unpacked(body, encoding)
            ended = time.monotonic()
            reusable = not protocol.should_close
        except (AttemptError, aiohttp.ClientError, HttpProcessingError, OSError) as error:
            fault = exchange_fault(error, kept=connection.kept)
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


async def _read(payload: StreamReader) -> bytes:
    """Return the body once it is whole, or as soon as it is too long."""
    body = await payload.read(MAX_BODY_BYTES)
    while not payload.at_eof():
        if len(body) >= MAX_BODY_BYTES:
            raise too_long()
        body += await payload.read(MAX_BODY_BYTES - len(body))
    return body


def _unfit(protocol: ResponseHandler) -> AttemptError:
    """Return why nothing is sent on a new connection."""
    if protocol.is_connected():
        return UnreadableAnswerError("the server spoke before it was asked")
    return ConnectFailedError("the server closed the connection before anything was sent")
