"""A local stand-in for Domo's Workflow API, on loopback only, for rehearsals and tests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import struct
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Self

from aiohttp import web

from bulkcancel.errors import UsageError
from bulkcancel.sandbox.api import Answer, WorkflowApi, problem, server_error
from bulkcancel.sandbox.options import Options, SandboxOptions

if TYPE_CHECKING:
    from collections.abc import Callable

_HOST: Final = "127.0.0.1"
_TOKEN_HEADER: Final = "X-DOMO-Developer-Token"  # noqa: S105 - its name, not its value
_SERVER_ERRORS: Final = (500, 502, 503, 504)
_RESET: Final = 0
_SHUTDOWN_S: Final = 0.05  # a rehearsal ends at once, whatever its clients still hold open
_BURST_S: Final = 0.1
# struct linger: on, with no seconds to linger.
_ABORT_ON_CLOSE: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class _Bucket:
    """A token bucket (as ITU-T I.371's leaky bucket): a rate, and little at once."""

    def __init__(self, rate_per_s: float, now: float) -> None:
        self._rate_per_s = rate_per_s
        self._size = max(1.0, rate_per_s * _BURST_S)
        self._level = self._size
        self._at = now

    def take(self, now: float) -> bool:
        self._level = min(self._size, self._level + (now - self._at) * self._rate_per_s)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True


_SILENT = logging.getLogger("bulkcancel.sandbox")
"""The server's own: a client that is cut off in the middle is nothing to print."""
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


class Sandbox:
    """Domo's Workflow API as far as bulkcancel uses it, on 127.0.0.1.

    An async context manager. Without options it listens on any free port and answers at once, as
    tests want it. It lives in the event loop it is entered in, which may be that of
    the run it serves. What it answers follows from its seed and the order of the requests.
    `clock` counts seconds; it times the rate limit and the settling, not the latency. Entering
    raises `UsageError` when the port is taken.
    """

    def __init__(
        self,
        options: Options | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        options = options or SandboxOptions(port=0, latency_s=0, jitter_s=0)
        self.options = options
        self.base_url = ""
        """`http://127.0.0.1:PORT`, known once it listens."""
        self._clock = clock
        self._api = WorkflowApi(options, clock, datetime.now(UTC))
        self._rng = random.Random(options.seed)
        limit = options.rate_limit_per_s
        self._bucket = None if limit is None else _Bucket(limit, clock())
        self._jitter_s = min(options.jitter_s, options.latency_s)
        self._trouble_rate = options.error_rate + options.reset_rate
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        server = web.Server(self._handle, access_log=None, logger=_SILENT)
        self._runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, _HOST, self.options.port, backlog=1024).start()
        except OSError as error:
            await self._runner.cleanup()
            raise UsageError(
                f"the sandbox cannot listen on port {self.options.port} ({error.strerror}): "
                "choose another port, or 0 for any free one"
            ) from error
        self.base_url = f"http://{_HOST}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return _response(refusal)
        # Every draw is made on arrival, so that the order of the requests alone decides.
        fault = self._fault()
        answer: Answer | None = None
        if fault is None or self._rng.random() < 0.5:
            answer = self._api.answer(request.method, request.raw_path)
        if fault is not None:
            answer = None if fault == _RESET else server_error(fault)
        pause_s = self.options.latency_s
        if self._jitter_s:
            pause_s += self._rng.uniform(-self._jitter_s, self._jitter_s)
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        if answer is None:
            _reset(request)
            return web.Response()  # goes nowhere: the connection is gone
        return _response(answer)

    def _refusal(self, request: web.BaseRequest) -> Answer | None:
        token = request.headers.get(_TOKEN_HEADER, "")
        if not token or self.options.token not in {None, token}:
            return problem(401, "the developer token is missing or wrong")
        if self._bucket is not None and not self._bucket.take(self._clock()):
            return problem(429, "too many requests: slow down", retry_after="1")
        return None

    def _fault(self) -> int | None:
        """Draw what goes wrong: nothing (`None`), `_RESET` or a server error's status."""
        if not self._trouble_rate:
            return None
        draw = self._rng.random()
        if draw < self.options.error_rate:
            return self._rng.choice(_SERVER_ERRORS)
        return _RESET if draw < self._trouble_rate else None


def _response(answer: Answer) -> web.Response:
    response = web.Response(
        status=answer.status, body=answer.body, headers={"Content-Type": answer.content_type}
    )
    if answer.retry_after is not None:
        response.headers["Retry-After"] = answer.retry_after
    return response


def _reset(request: web.BaseRequest) -> None:
    """Drop the connection with a RST instead of a FIN (SO_LINGER with no time to linger)."""
    transport = request.transport
    if transport is None:
        return
    held = transport.get_extra_info("socket")
    if held is not None:
        # Through a duplicate: not every event loop's own socket object allows changes.
        with (
            contextlib.suppress(OSError),
            socket.fromfd(held.fileno(), held.family, held.type) as duplicate,
        ):
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT_ON_CLOSE)
    transport.abort()
