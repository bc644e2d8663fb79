"""Opens connections to the server: by its name or through a proxy, trusted or not at all."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

import aiohttp

from bulkcancel.http.faults import (
    AttemptError,
    ConnectFailedError,
    NoDescriptorsError,
    TlsFailedError,
)
from bulkcancel.http.proxy import refusal
from bulkcancel.http.tls import is_unknown_issuer, issuer_of
from bulkcancel.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.connector import Connection as Opened
    from yarl import URL

    from bulkcancel.http.proxy import Proxy

USER_AGENT = f"bulkcancel/{VERSION}"
_ADDRESS_TIMEOUT_S = 10.0
"""For one address of several; what a name look-up and a proxy take comes on top of it."""
_CONNECT_TIMEOUT_S = 20.0
_DNS_CACHE_S = 300
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
_TLS = (
    ssl.SSLCertVerificationError,
    aiohttp.ClientConnectorSSLError,
    aiohttp.ClientConnectorCertificateError,
)
# A handshake that breaks off says nothing about trust: a server that restarts does that.
_HUNG_UP = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


class Connection:
    """A connection to the server: held by one exchange at a time, or idle."""

    __slots__ = (
        "_opened", "expired", "generation", "idle_since", "kept", "protocol", "spent_s", "started",
    )  # fmt: skip

    def __init__(self, opened: Opened, *, generation: int, spent_s: float) -> None:
        protocol = opened.protocol
        assert protocol is not None  # noqa: S101 - it has just been opened
        self._opened = opened
        self.protocol = protocol
        self.generation = generation
        """How often the address had been forgotten before."""
        self.kept = False
        """Whether it has lain idle: the server may have closed it before the next request."""
        self.idle_since = 0.0
        self.spent_s = spent_s
        """What it took to connect: part of the time of the first exchange."""
        self.started = 0.0
        """When its exchange began, by the watchdog's time."""
        self.expired = False
        """Whether the exchange took too long, and was broken off."""

    def expire(self) -> None:
        """Break it off: its exchange takes too long."""
        self.expired = True
        self._abort()

    def close(self) -> None:
        """Close it at once: a server that does not answer TLS's goodbye would hold it open."""
        self._abort()
        self._opened.close()

    def _abort(self) -> None:
        if self.protocol.transport is not None:
            self.protocol.transport.abort()


class Dialer:
    """Opens connections within `timeout_s`, or 20 seconds if that is less.

    `clock` leaves out the time in which this process did not run. To be opened and closed in the
    event loop that it serves.
    """

    def __init__(
        self,
        url: URL,
        *,
        tls: ssl.SSLContext | bool,
        proxy: Proxy | None,
        timeout_s: float,
        clock: Callable[[], float],
    ) -> None:
        self.generation = 0
        """How often the address has been forgotten."""
        self._url = url
        self._tls = tls
        self._proxy = proxy
        self._clock = clock
        self._timeout_s = min(_CONNECT_TIMEOUT_S, timeout_s)
        self._address_timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=min(_ADDRESS_TIMEOUT_S, timeout_s * 0.9)
        )

    def open(self) -> None:
        """Begin to serve the running event loop."""
        self._connector = aiohttp.TCPConnector(
            limit=0,
            ssl=self._tls,
            ttl_dns_cache=_DNS_CACHE_S,  # a look-up in mid-run may stall
            resolver=aiohttp.ThreadedResolver(),
        )
        self._destination = self._request_to(trusted=True)

    async def close(self) -> None:
        """Close what aiohttp has open."""
        await self._connector.close()

    def forget_address(self) -> None:
        """Have the name looked up anew."""
        self.generation += 1
        self._connector.clear_dns_cache()

    async def dial(self) -> Connection:
        """Open a connection. Raises an `AttemptError`; the name is looked up anew next time."""
        began, generation = self._clock(), self.generation
        try:
            opened = await self._open_to(self._destination)
        except (aiohttp.ClientError, OSError, ValueError, KeyError) as error:
            fault = _fault(error, self._proxy)
        else:
            return Connection(opened, generation=generation, spent_s=self._clock() - began)
        if isinstance(fault, ConnectFailedError):
            self._connector.clear_dns_cache()
        elif isinstance(fault, TlsFailedError) and fault.unknown_issuer:
            fault.message += await self._issuer()
        fault.latency_s = self._clock() - began
        raise fault  # here, without aiohttp's own behind it, which holds the login of a proxy

    def _request_to(self, *, trusted: bool) -> aiohttp.ClientRequest:
        """Return what tells the connector where to connect to; a proxy is told host and port."""
        return aiohttp.ClientRequest(
            "POST",
            self._url,
            loop=asyncio.get_running_loop(),
            ssl=trusted,
            proxy=self._proxy and self._proxy.url,
            proxy_headers={"User-Agent": USER_AGENT} if self._proxy else None,
        )

    async def _open_to(self, destination: aiohttp.ClientRequest) -> Opened:
        """Return a connection; try again where it is not the way there that has failed.

        That is where the cache was cleared as a look-up ended, and where the process was stopped.
        """
        tries = 3
        while True:
            began, began_at = self._clock(), time.monotonic()
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._connector.connect(destination, [], self._address_timeout)
            except (KeyError, TimeoutError) as error:
                stopped_s = time.monotonic() - began_at - (self._clock() - began)
                tries -= 1
                if not tries or (isinstance(error, TimeoutError) and not stopped_s > 1):
                    raise

    async def _issuer(self) -> str:
        """Return whose certificate was not trusted, for a message; no request is sent there."""
        if self._proxy is not None and self._proxy.url.scheme == "https":
            return ""  # it may be the proxy's own, and the proxy would be told its login
        try:
            opened = await self._open_to(self._request_to(trusted=False))
            connection = Connection(opened, generation=0, spent_s=0.0)
            transport: Any = opened.transport
            certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
            connection.close()
            return f" (its issuer is {issuer_of(certificate)})"
        except Exception:  # noqa: BLE001 - whatever it is, the fault is told without it
            return ""


def _fault(error: Exception, proxy: Proxy | None) -> AttemptError:
    """Return bulkcancel's word for what ended the making of a connection."""
    cause = getattr(error, "os_error", getattr(error, "certificate_error", error))
    through = "" if proxy is None else f"through the proxy {proxy}: "
    if isinstance(error, _TLS) and not isinstance(cause, _HUNG_UP):
        fault = TlsFailedError(f"{through}{_text(error)}")
        fault.unknown_issuer = is_unknown_issuer(cause)
        return fault
    if isinstance(error, OSError) and error.errno in _NO_DESCRIPTORS:
        return NoDescriptorsError("this process may open no more connections (ulimit -n)")
    if proxy is None:
        return ConnectFailedError(_text(error))
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return ConnectFailedError(*refusal(proxy, error.status))
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        said = f"cannot connect to the proxy {proxy}: {_reason(error)}"
    else:
        said = f"{through}{_text(error)}"
    return ConnectFailedError(said, "check the proxy, and that it can reach the host")


def _text(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no connection within the connect timeout"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect to {error.host}:{error.port}: {_reason(error)}"
    if isinstance(error, aiohttp.ClientResponseError):  # its text holds the request
        return "it does not answer in HTTP"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return type(error).__name__  # its text may name the proxy with its login


def _reason(error: aiohttp.ClientConnectorError) -> str:
    cause = error.os_error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message.rstrip(".")  # without OpenSSL's own: an issuer is to follow
    if cause.errno and not isinstance(cause, (ssl.SSLError, socket.gaierror)):
        return os.strerror(cause.errno)  # asyncio has words of its own
    return cause.strerror or str(cause) or "the server hung up"
