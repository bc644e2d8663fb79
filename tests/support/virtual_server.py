"""A Domo on virtual time for tests of the engine: no socket, no waiting, hours in milliseconds."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

from bulkcancel.domo.answers import Answer, parse_instance, read_other
from bulkcancel.domo.client import DomoClient, retry_after_of
from bulkcancel.engine.engine import Engine, Policy
from bulkcancel.http.bodies import unpacked
from bulkcancel.http.dialer import Connection
from bulkcancel.http.faults import (
    AttemptError,
    AttemptTimeoutError,
    ConnectFailedError,
    DisconnectedError,
    UnreadableAnswerError,
)
from bulkcancel.ids import pack
from bulkcancel.models import InvalidRow, Target
from tests.support import faulty_answers as answers
from tests.support.faulty_answers import End
from tests.support.runs import Run
from tests.support.virtual_time import now, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Coroutine, Sequence

Said = answers.Answer | AttemptError


_FAST = Policy(rate_per_s=1000, concurrency=16)


def refused() -> ConnectFailedError:
    """Return the fault of a server that does not listen."""
    return ConnectFailedError("cannot connect to acme.domo.com:443: Connection refused")


def delayed(answer: answers.Answer, delay_s: float) -> answers.Answer:
    """Return the same answer, so much later."""
    return answers.Answer(answer.data, delay_s=delay_s, end=answer.end)


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it was sent."""

    instance_id: str
    at: float
    """Seconds of the run."""
    fresh: bool
    """Whether it came on another connection than the one that is kept."""


@dataclass(frozen=True, slots=True)
class Look:
    """One request that asked what has become of an instance."""

    instance_id: str
    at: float
    call: str


class VirtualServer:
    """Answers every request as `plan(instance_id, nth_time_seen)` says, `latency_s` later.

    The answers are the bytes that a real server would send, read by the client's own functions;
    what only a socket shows is not for this one.
    """

    def __init__(
        self,
        plan: Callable[[str, int], Said] = lambda instance_id, _: answers.ok(instance_id),
        *,
        latency_s: float = 0.002,
    ) -> None:
        self.plan = plan
        self.latency_s = latency_s
        self.requests: list[Seen] = []
        self.look_plan: Callable[[str, int, str], Said] = lambda instance_id, _nth, _call: (
            answers.ok(instance_id, "CANCELLED")
        )
        """What to answer the nth look at an instance by that call."""
        self.looks: list[Look] = []
        self.times_looked: Counter[str] = Counter()
        self.times_seen: Counter[str] = Counter()
        self.in_flight = 0
        self.peak_in_flight = 0
        self.began = 0.0

    @property
    def now(self) -> float:
        """Seconds of the run, for plans that change in time."""
        return now() - self.began

    def seen_between(self, from_s: float, to_s: float) -> int:
        """Return how many requests were sent in that part of the run."""
        return sum(from_s <= each.at < to_s for each in self.requests)

    def run(
        self,
        ids: Sequence[str | Target] | AsyncIterable[Target | InvalidRow],
        policy: Policy = _FAST,
        *,
        timeout_s: float = 30.0,
        during: Callable[[VirtualRun], Coroutine[Any, Any, None]] | None = None,
        accepted: Sequence[str] = (),
    ) -> VirtualRun:
        """Return what became of a run of the engine against it; `during` goes on beside it."""
        virtual = VirtualRun(self, policy, timeout_s=timeout_s)
        virtual.accepted = accepted
        run(virtual.play, ids, during)
        return virtual


class VirtualRun(Run):
    """One run of the engine on virtual time; keeps every result."""

    def __init__(self, server: VirtualServer, policy: Policy, *, timeout_s: float) -> None:
        super().__init__("", policy, timeout_s=timeout_s)
        self.server = server
        self.seconds = 0.0
        """How long it took."""
        self.accepted: Sequence[str] = ()
        """IDs that an earlier run has left."""

    async def play(
        self,
        ids: Sequence[str | Target] | AsyncIterable[Target | InvalidRow],
        during: Callable[[VirtualRun], Coroutine[Any, Any, None]] | None,
    ) -> None:
        self.server.began = now()
        items: Any = ids
        if not hasattr(ids, "__aiter__"):
            items = [
                Target(each, f"ids.txt:{n}") if type(each) is str else each
                for n, each in enumerate(ids, 1)
            ]
        client = VirtualClient(self.server, timeout_s=self.timeout_s)
        self.engine = Engine(
            client, self.policy, stats=self.stats, stop=self.stop, observer=self.observed,
            clock=now, rng=random.Random(7),
        )  # fmt: skip
        async with anyio.create_task_group() as tasks:
            if during is not None:
                tasks.start_soon(during, self)
            await self.engine.run(items, self._collect, map(pack, self.accepted))
            self.seconds = self.server.now
            tasks.cancel_scope.cancel()


KEPT, NEW = Connection.__new__(Connection), Connection.__new__(Connection)
"""All connections to a `VirtualServer`: the first one is kept, others are new."""


class VirtualClient(DomoClient):
    """A client of a `VirtualServer`."""

    def __init__(self, server: VirtualServer, *, timeout_s: float) -> None:
        super().__init__(token="x", base_url="http://127.0.0.1:1", timeout_s=timeout_s)
        self._server = server
        self._connected = False

    def idle(self) -> Connection | None:
        return KEPT if self._connected else None

    async def connect(self) -> Connection:
        before, self._connected = self._connected, True
        return NEW if before else KEPT

    def give_back(self, connection: Connection) -> None:
        pass

    def forget_address(self) -> None:
        pass

    async def cancel(self, instance_id: str, connection: Connection | None = None) -> Answer:
        server = self._server
        server.requests.append(Seen(instance_id, server.now, connection is NEW))
        server.times_seen[instance_id] += 1
        said = server.plan(instance_id, server.times_seen[instance_id])
        return await self._answered(said, instance_id)

    async def look(self, instance_id: str, connection: Connection, *, call: str) -> Answer:
        server = self._server
        server.looks.append(Look(instance_id, server.now, call))
        server.times_looked[instance_id] += 1
        said = server.look_plan(instance_id, server.times_looked[instance_id], call)
        return await self._answered(said, instance_id)

    async def _answered(self, said: Said, instance_id: str) -> Answer:
        server = self._server
        latency_s = server.latency_s
        if isinstance(said, answers.Answer):
            latency_s += said.delay_s
        if (
            isinstance(said, answers.Answer) and said.end is End.SILENCE
        ) or latency_s > self.timeout_s:
            said = AttemptTimeoutError(f"no whole answer within {self.timeout_s:g} s")
            latency_s = self.timeout_s
        server.in_flight += 1
        server.peak_in_flight = max(server.peak_in_flight, server.in_flight)
        try:
            await anyio.sleep(latency_s)
        finally:
            server.in_flight -= 1
        if isinstance(said, answers.Answer):
            return read(said, instance_id, latency_s)
        said.latency_s = latency_s
        raise said


def read(said: answers.Answer, instance_id: str, latency_s: float) -> Answer:
    """Return what the client makes of these bytes, or raise what it raises."""
    if said.data == answers.GARBAGE_STATUS_LINE:
        raise UnreadableAnswerError("the answer is not readable HTTP: no", latency_s=latency_s)
    head, _, body = said.data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    if not said.data or len(body) < int(headers["Content-Length"]):
        raise DisconnectedError("the server closed the connection", latency_s=latency_s)
    status = int(lines[0].split()[1])
    body = unpacked(body, headers.get("Content-Encoding", ""))
    if 200 <= status < 300 and (instance := parse_instance(body, instance_id)) is not None:
        return Answer(status, instance, True, "", None, latency_s)
    message, is_object = read_other(body, instance_id)
    return Answer(status, None, is_object, message, retry_after_of(headers), latency_s)
