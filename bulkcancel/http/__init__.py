"""One exchange on one connection: bytes out, an answer or a named fault back; knows no API."""

from bulkcancel.http.bodies import MAX_BODY_BYTES
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
from bulkcancel.http.transport import Reply, Transport

__all__ = [
    "MAX_BODY_BYTES",
    "USER_AGENT",
    "AttemptError",
    "ConnectFailedError",
    "Connection",
    "IdleConnectionClosedError",
    "NoDescriptorsError",
    "Reply",
    "TlsFailedError",
    "Transport",
    "proxy_of",
    "tls_context",
]
