"""One exchange on one connection: bytes out, an answer or a named fault back; knows no API."""

from bulkcancel.http.dialer import USER_AGENT, Connection
from bulkcancel.http.faults import (
    AttemptError,
    ConnectFailedError,
    IdleConnectionClosedError,
    NoDescriptorsError,
    TlsFailedError,
)
from bulkcancel.http.proxy import proxy_of
from bulkcancel.http.tls import tls_context
from bulkcancel.http.transport import Transport

__all__ = [
    "USER_AGENT",
    "AttemptError",
    "ConnectFailedError",
    "Connection",
    "IdleConnectionClosedError",
    "NoDescriptorsError",
    "TlsFailedError",
    "Transport",
    "proxy_of",
    "tls_context",
]
