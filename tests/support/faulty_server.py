"""A raw TCP server that speaks HTTP/1.1 only as well as it is told to, for fault injection.

It parses the least it can and shares no code with the client under test.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

from tests.support.faulty_answers import Answer, End, ok

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine, Iterator

    from tests.support.faulty_answers import Plan

_INSTANCE = re.compile(r"/instances/([^/?]*)")
_ABORT_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    at: float
    """`time.monotonic()` once it was complete."""
    connection: int
    """Connections are counted from 1."""

    @property
    def instance_id(self) -> str:
        """The instance ID in the path, else the whole path."""
        match = _INSTANCE.search(self.path)
        return match[1] if match else self.path


class FaultyServer:
    """Answers every request as `plan(instance_id, nth_time_seen)` says; records what it saw.

    An async context manager on `host`, on a free port. `running_in_thread` gives it a thread and
    an event loop of its own; what it recorded may be read from any thread.
    """

    def __init__(
        self,
        plan: Plan = lambda instance_id, _: ok(instance_id),
        *,
        host: str = "127.0.0.1",
        ssl: ssl.SSLContext | None = None,
    ) -> None:
        self.plan = plan
        self.requests: list[Seen] = []
        self.times_seen: Counter[str] = Counter()
        self.connections = 0
        self.open_connections = 0
        self.unheard = 0
        """Requests dropped with their connection by `End.CLOSE_ON_NEXT`; in no other count."""
        self.in_flight = 0
        self.peak_in_flight = 0
        self.port = 0
        self._host = host
        self._ssl = ssl
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop
        self._plan_errors: list[Exception] = []
        self._open: set[_Connection] = set()

    @property
    def base_url(self) -> str:
        """`http://HOST:PORT`, or https."""
        return f"{'https' if self._ssl else 'http'}://{self._host}:{self.port}"

    @property
    def host(self) -> str:
        """What results call it."""
        return f"{self._host}:{self.port}"

    async def listen(self) -> None:
        """Accept connections, on the same port as before if there was one."""
        self._loop = asyncio.get_running_loop()
        self._server = await self._loop.create_server(
            lambda: _Connection(self), self._host, self.port, ssl=self._ssl, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self, *, drop: bool = True) -> None:
        """Refuse connections until `listen` is called again; `drop` those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if drop:
            for connection in list(self._open):
                connection.end(End.RST)

    def call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run `refuse()` or `listen()` from another thread."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()
        while self._open:  # noqa: ASYNC110 - a turn or two of the loop
            await asyncio.sleep(0)
        if self._plan_errors:
            raise self._plan_errors[0]

    def _planned(self, instance_id: str) -> Answer:
        """Ask the plan; a bug in it resets the connection and is raised at the end."""
        try:
            return self.plan(instance_id, self.times_seen[instance_id])
        except Exception as error:  # noqa: BLE001 - whatever a test's plan may raise
            self._plan_errors.append(error)
            return Answer(end=End.RST)


class _Connection(asyncio.Protocol):
    def __init__(self, server: FaultyServer) -> None:
        self._server = server
        self._transport: asyncio.Transport
        self._buffer = bytearray()
        self._number = 0
        self._answering: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._last = End.KEEP

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        held = self._transport.get_extra_info("socket")
        held.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = self._server
        server.connections += 1
        server.open_connections += 1
        self._number = server.connections
        server._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.open_connections -= 1
        self._server._open.discard(self)
        if self._answering is not None:
            self._answering.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._answering is None and (seen := self._next_request()) is not None:
            self._answer(seen)

    def _next_request(self) -> Seen | None:
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return None
        lines = self._buffer[:head_end].decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines[1:])
        }
        body_end = head_end + 4 + int(headers.get("content-length", "0"))
        if len(self._buffer) < body_end:
            return None
        body = bytes(self._buffer[head_end + 4 : body_end])
        del self._buffer[:body_end]
        method, path, _ = lines[0].split(" ", 2)
        return Seen(method, path, headers, body, time.monotonic(), self._number)

    def _answer(self, seen: Seen) -> None:
        server = self._server
        if self._last is End.CLOSE_ON_NEXT:
            server.unheard += 1
            self.end(End.FIN)
            return
        server.requests.append(seen)
        instance_id = seen.instance_id
        server.times_seen[instance_id] += 1
        answer = server._planned(instance_id)
        server.in_flight += 1
        server.peak_in_flight = max(server.peak_in_flight, server.in_flight)
        self._last = answer.end
        if answer.end in {End.KEEP, End.CLOSE_ON_NEXT} and not (
            answer.delay_s or answer.drip_s or answer.repeat
        ):
            self._transport.write(answer.data)
            server.in_flight -= 1
        else:
            self._answering = asyncio.get_running_loop().create_task(self._perform(answer))

    async def _perform(self, answer: Answer) -> None:
        try:
            await asyncio.sleep(answer.delay_s)
            await self._send(answer)
            if answer.end is End.SILENCE:
                await asyncio.Event().wait()
        finally:
            self._server.in_flight -= 1
        if answer.end_after_s:
            await asyncio.sleep(answer.end_after_s)
        self.end(answer.end)
        self._answering = None
        self.data_received(b"")

    async def _send(self, answer: Answer) -> None:
        if answer.drip_s is None:
            self._transport.write(answer.data)
        else:
            for place in range(len(answer.data)):
                self._transport.write(answer.data[place : place + 1])
                await asyncio.sleep(answer.drip_s)
        while answer.repeat:
            await self._writable.wait()
            self._transport.write(answer.repeat)
            await asyncio.sleep(0)

    def end(self, end: End) -> None:
        if end is End.FIN:
            self._transport.close()
        elif end is End.RST:
            held = self._transport.get_extra_info("socket")
            with contextlib.suppress(OSError, AttributeError):  # it is closed, or has none any more
                held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT_ON_CLOSE)
            self._transport.abort()


@contextlib.contextmanager
def running_in_thread(server: FaultyServer) -> Iterator[FaultyServer]:
    """Run `server` in a thread with an event loop of its own, for tests of whole processes."""
    started = threading.Event()
    failures: list[BaseException] = []
    stop: list[Callable[[], object]] = []

    async def serve() -> None:
        loop, stopping = asyncio.get_running_loop(), asyncio.Event()
        stop.append(lambda: loop.call_soon_threadsafe(stopping.set))
        async with server:
            started.set()
            await stopping.wait()

    def work() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - it is raised in the test's own thread
            failures.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=work, name="faulty-server", daemon=True)
    thread.start()
    started.wait()
    try:
        if not failures:
            yield server
    finally:
        if not failures:
            stop[0]()
        thread.join()
        if failures:
            raise failures[0]
