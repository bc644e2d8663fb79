"""What aiohttp and the system raise, in bulkcancel's own words."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.http import HttpProcessingError

from bulkcancel.domo.faults import (
    AttemptError,
    ConnectFailedError,
    DisconnectedError,
    IdleConnectionClosedError,
    NoDescriptorsError,
    TlsFailedError,
    UnreadableAnswerError,
)
from bulkcancel.domo.proxy import refusal
from bulkcancel.domo.tls import is_unknown_issuer

if TYPE_CHECKING:
    from bulkcancel.domo.proxy import Proxy

_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
_TLS = (
    ssl.SSLCertVerificationError,
    aiohttp.ClientConnectorSSLError,
    aiohttp.ClientConnectorCertificateError,
)
# A handshake that breaks off says nothing about trust: a server that restarts does that.
_HUNG_UP = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


def connect_fault(error: Exception, proxy: Proxy | None) -> AttemptError:
    """Return bulkcancel's word for what ended the making of a connection."""
    cause = getattr(error, "os_error", getattr(error, "certificate_error", error))
    through = "" if proxy is None else f"through the proxy {proxy}: "
    if isinstance(error, _TLS) and not isinstance(cause, _HUNG_UP):
        fault = TlsFailedError(f"{through}{_connect_text(error)}")
        fault.unknown_issuer = is_unknown_issuer(cause)
        return fault
    if isinstance(error, OSError) and error.errno in _NO_DESCRIPTORS:
        return NoDescriptorsError("this process may open no more connections (ulimit -n)")
    if proxy is None:
        return ConnectFailedError(_connect_text(error))
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return ConnectFailedError(*refusal(proxy, error.status))
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        said = f"cannot connect to the proxy {proxy}: {_reason(error)}"
    else:
        said = f"{through}{_connect_text(error)}"
    return ConnectFailedError(said, "check the proxy, and that it can reach the host")


def _connect_text(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no connection within the connect timeout"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect to {error.host}:{error.port}: {_reason(error)}"
    if isinstance(error, aiohttp.ClientResponseError):  # its text holds the request
        return "it does not answer in HTTP"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


def _reason(error: aiohttp.ClientConnectorError) -> str:
    cause = error.os_error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message.rstrip(".")  # without OpenSSL's own: an issuer is to follow
    if cause.errno and not isinstance(cause, (ssl.SSLError, socket.gaierror)):
        return os.strerror(cause.errno)  # asyncio has words of its own
    return cause.strerror or str(cause) or "the server hung up"


def exchange_fault(error: Exception, *, kept: bool) -> AttemptError:
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
