"""What can go wrong with one attempt, in bulkcancel's own words.

`http/dialer` and `http/transport` make these of aiohttp's errors.
"""

from __future__ import annotations

from bulkcancel.models import ErrorCode


class AttemptError(Exception):
    """One attempt ended without an answer that can be read."""

    code = ErrorCode.CONNECTION
    ambiguous = False
    """Whether the server may have acted on the request all the same."""

    def __init__(self, message: str, *, latency_s: float = 0.0) -> None:
        super().__init__(message)
        self.message = message
        self.latency_s = latency_s


class ConnectFailedError(AttemptError):
    """No connection came about: refused, no such host, connect timeout. Nothing was sent."""

    def __init__(
        self, message: str, advice: str = "check the instance name, the address and the network"
    ) -> None:
        super().__init__(message)
        self.advice = advice
        """What to do if it is the first that a run hears."""


class NoDescriptorsError(AttemptError):
    """This machine has no file descriptor left for a connection. Nothing was sent."""


class TlsFailedError(AttemptError):
    """The server's certificate or its TLS is not to be trusted. Nothing was sent."""

    code = ErrorCode.TLS
    unknown_issuer = False
    """Whether it would be trusted if its issuer were."""


class IdleConnectionClosedError(AttemptError):
    """A kept-alive connection was closed by the server, probably before the request reached it."""

    ambiguous = True


class DisconnectedError(AttemptError):
    """The connection broke after the request was sent and before the answer was whole."""

    ambiguous = True


class AttemptTimeoutError(AttemptError):
    """The answer was not whole within the timeout."""

    code = ErrorCode.TIMEOUT
    ambiguous = True


class UnreadableAnswerError(AttemptError):
    """What came back is not HTTP, or more than an answer may be."""

    code = ErrorCode.BAD_RESPONSE
    ambiguous = True
