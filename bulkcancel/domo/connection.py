"""How aiohttp makes connections and requests for us: in pace, and without a body."""

from __future__ import annotations

import socket
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

import aiohttp

from bulkcancel.domo.faults import UnreadableAnswerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from aiohttp import connector

    from bulkcancel.domo.watchdog import Attempt, Watchdog

    Pace = Callable[[float], Awaitable[None]]
    """Waits for the pace, given the seconds for which the request has waited for a connection."""

_STALL_S = 0.05


class AttemptContext:
    """What the connection of one attempt must know: its pace, its time, and whether it is new."""

    __slots__ = ("attempt", "fresh", "pace", "watchdog")

    def __init__(self, watchdog: Watchdog, attempt: Attempt, pace: Pace | None) -> None:
        self.watchdog = watchdog
        self.attempt = attempt
        self.fresh = False
        self.pace = pace

    async def keep_pace(self, stalled_s: float) -> None:
        """Wait for the pace; that takes none of the attempt's time."""
        if self.pace is None:
            return
        self.watchdog.pause(self.attempt)
        try:
            await self.pace(stalled_s)
        finally:
            self.watchdog.resume(self.attempt)


current_attempt: ContextVar[AttemptContext] = ContextVar("current_attempt")
"""That of the attempt which the current task makes."""


class PacedConnector(aiohttp.TCPConnector):
    """A connector that keeps the pace when connecting stalls and never reuses an unsafe connection.

    While a name is looked up, or nothing answers, requests that the pacer has released one by
    one pile up; without this they would all be sent once there are connections. And what a
    server sends on an idle connection would be taken for the answer to the next request on it.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - its name in aiohttp
    ) -> connector.Connection:
        """Return a connection, in pace if it took long to get one."""
        began = time.monotonic()
        connection = await super().connect(req, traces, timeout)
        while connection.protocol is not None and connection.protocol.should_close:
            connection.close()
            if current_attempt.get().fresh:
                raise UnreadableAnswerError("the server spoke before it was asked")
            connection = await super().connect(req, traces, timeout)
        stalled_s = time.monotonic() - began
        if stalled_s > _STALL_S:
            try:
                await current_attempt.get().keep_pace(stalled_s)
            except BaseException:
                connection.close()
                raise
        return connection


class BodylessRequest(aiohttp.ClientRequest):
    """A request without a body, so without the content type that aiohttp gives every POST.

    `skip_auto_headers` does the same, at the cost of three dictionaries for each request.
    """

    POST_METHODS: frozenset[str] = frozenset()  # type: ignore[assignment]


def open_socket(
    addr_info: tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, object],
) -> socket.socket:
    """Open a socket for aiohttp and record that this attempt runs on a new connection.

    aiohttp has no cheaper public sign of it: its tracing costs every request more than the
    whole of bulkcancel's bookkeeping, this costs each new connection one attribute.
    """
    family, kind, protocol, _, _ = addr_info
    current_attempt.get().fresh = True
    return socket.socket(family, kind, protocol)
