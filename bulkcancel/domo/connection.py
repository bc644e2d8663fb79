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
    """Waits for the pace after so many seconds in which requests were let go and not sent."""

_STALL_S = 0.05


class Making:
    """Of the attempt of the current task: whether it opened its own connection."""

    __slots__ = ("attempt", "fresh", "pace", "watchdog")

    def __init__(self, watchdog: Watchdog, attempt: Attempt, pace: Pace | None) -> None:
        self.watchdog = watchdog
        self.attempt = attempt
        self.fresh = False
        self.pace = pace
        """What to wait for if it took long to get one."""

    async def keep_pace(self, stalled_s: float) -> None:
        """Wait for the pace; that takes none of the attempt's time."""
        if self.pace is None:
            return
        self.watchdog.pause(self.attempt)
        try:
            await self.pace(stalled_s)
        finally:
            self.watchdog.resume(self.attempt)


current: ContextVar[Making] = ContextVar("current")
"""Of the attempt that the current task makes."""


class PacedConnector(aiohttp.TCPConnector):
    """A connector that keeps the pace when connecting stalls, and lends no spoilt connection.

    Requests that were let go one by one while a name was looked up, or while nothing answered,
    would else all be sent in the moment the connections come about. And what a server says on an
    idle connection would be taken for the answer to the request that is sent over it next.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - its name in aiohttp
    ) -> connector.Connection:
        """Return a connection, in pace if it took long to get one."""
        began = time.monotonic()
        made = await super().connect(req, traces, timeout)
        while made.protocol is not None and made.protocol.should_close:
            made.close()
            if current.get().fresh:
                raise UnreadableAnswerError("the server spoke before it was asked")
            made = await super().connect(req, traces, timeout)
        stalled_s = time.monotonic() - began
        if stalled_s > _STALL_S:
            try:
                await current.get().keep_pace(stalled_s)
            except BaseException:
                made.close()
                raise
        return made


class BodylessRequest(aiohttp.ClientRequest):
    """A request without a body, so without the content type that aiohttp gives every POST.

    `skip_auto_headers` does the same, at the cost of three dictionaries for each request.
    """

    POST_METHODS: frozenset[str] = frozenset()  # type: ignore[assignment]


def open_socket(
    addr_info: tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, object],
) -> socket.socket:
    """Open a socket for aiohttp and note that this attempt runs on a new connection.

    aiohttp has no cheaper public sign of it: its tracing costs every request more than the
    whole of bulkcancel's bookkeeping, this costs each new connection one attribute.
    """
    family, kind, protocol, _, _ = addr_info
    current.get().fresh = True
    return socket.socket(family, kind, protocol)
