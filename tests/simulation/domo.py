"""A Domo that is not there: it answers on virtual time, and the story keeps what it was asked."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import anyio

from bulkcancel.domo import Connection, DomoClient
from bulkcancel.domo.answers import Answer
from bulkcancel.http.faults import (
    AttemptError,
    AttemptTimeoutError,
    ConnectFailedError,
    DisconnectedError,
    IdleConnectionClosedError,
    NoDescriptorsError,
    UnreadableAnswerError,
)
from tests.simulation.exchange import Exchange, Look
from tests.simulation.instances import Instances, accepted, answer
from tests.simulation.story import Story
from tests.simulation.world import BAD, Fate, Kind, Limit, Trouble
from tests.support.simulated_server import OK, FixedWindow, Limiter, Nginx
from tests.support.virtual_server import KEPT

if TYPE_CHECKING:
    from collections.abc import Callable

_STATUSES = ("IN_PROGRESS", "IN_PROGRESS", None, "CANCELED")
E = TypeVar("E", bound=Exchange)

_NEVER_S = 1e9
_AT_ONCE_S = 0.001
_OTHER_ID = "00000000-0000-4000-8000-000000000000"


class Reply(NamedTuple):
    """What goes back, and how long after the request has arrived."""

    what: Answer | AttemptError
    after_s: float


class SimulatedDomo:
    """The server's side: one for all runs of a world, as instances stay cancelled."""

    def __init__(self, story: Story, clock: Callable[[], float]) -> None:
        self.clock = clock
        """Seconds of the world."""
        self._story = story
        self._world = world = story.world
        self._rng = random.Random(f"{world.seed}: Domo")
        self._cancelled: set[str] = set()
        self._instances = None if world.looks is None else Instances(world.looks, story)
        self._limiter = None if world.limit is None else _limiter(world.limit)

    def receive(self, exchange: Exchange) -> Reply:
        """Return the reply to a request that arrives now."""
        now = exchange.arrived_at = self.clock()
        slow_s = 0.0
        if self._story.healed_at is None:
            for trouble in self._troubles_of(exchange):
                lasts = trouble.from_s <= now < trouble.from_s + trouble.for_s
                if lasts and (trouble.share == 1 or self._rng.random() < trouble.share):
                    exchange.trouble = trouble
                    if trouble.kind is not Kind.SLOW:
                        return self._trouble(exchange, trouble)
                    slow_s = self._world.slow_s
            refused = self._beyond_limit(now)
            if refused is not None:
                exchange.limited = True
                return refused
        after_s = slow_s + self._takes_s()
        if isinstance(exchange, Look) and self._instances is not None:
            return Reply(self._instances.seen(exchange, now), after_s)
        return self._word_on(exchange, after_s)

    def _troubles_of(self, exchange: Exchange) -> tuple[Trouble, ...]:
        world = self._world
        if isinstance(exchange, Look) and world.looks is not None:
            return world.looks.troubles + world.troubles
        return world.troubles

    def _takes_s(self) -> float:
        if self._story.healed_at is None and self._rng.random() < self._world.slow_share:
            return self._world.slow_s
        return self._world.latency_s * self._rng.uniform(0.25, 0.75)

    def _beyond_limit(self, now: float) -> Reply | None:
        limit = self._world.limit
        if limit is None or self._limiter is None:
            return None
        rates = [limit.rate_per_s, *(rate for from_s, rate in limit.changes if from_s <= now)]
        _set_rate(self._limiter, limit, rates[-1])
        said = self._limiter(now + 1)  # a clock that does not begin at 0, which they take for none
        if said == OK:
            return None
        pause_s = None if math.isnan(said) else said
        return Reply(answer(429, "Too Many Requests", retry_after_s=pause_s), _AT_ONCE_S)

    def _word_on(self, exchange: Exchange, after_s: float) -> Reply:
        """Return what Domo thinks of the ID itself."""
        instance_id = exchange.instance_id
        fate = self._story.fate_of[instance_id]
        if fate in BAD and self._story.healed_at is None:
            exchange.bad = True
            if fate is Fate.BROKEN:
                return Reply(answer(500, "Internal Server Error"), after_s)
            if fate is Fate.MISTAKEN:
                return Reply(_about_another(), after_s)
            return Reply(DisconnectedError("the server closed the connection"), _NEVER_S)
        if fate is Fate.NOT_FOUND:
            return Reply(answer(404, "no such instance"), after_s)
        if fate is Fate.REJECTED:
            return Reply(answer(409, "it cannot be cancelled"), after_s)
        if fate is Fate.FORBIDDEN:
            return Reply(answer(403, "not yours"), after_s)
        if instance_id in self._cancelled and self._world.again_status != 200:
            return Reply(answer(self._world.again_status, "it has been cancelled"), after_s)
        return Reply(accepted(instance_id, self._cancel(instance_id)), after_s)

    def _cancel(self, instance_id: str) -> str | None:
        """Carry a cancel out; return the state of the instance."""
        status = self._rng.choice(_STATUSES)
        if instance_id in self._cancelled:
            status = "CANCELED"
        elif self._story.fate_of[instance_id] is Fate.COMPLETED:
            status = "COMPLETED"
        self._cancelled.add(instance_id)
        if self._instances is None:
            return status
        return self._instances.cancel(instance_id, self.clock(), status)

    def _trouble(self, exchange: Exchange, trouble: Trouble) -> Reply:
        kind, takes_s = trouble.kind, self._takes_s()
        instance_id = exchange.instance_id
        carried_out = kind is Kind.LOST or (kind in _MAY_DO_IT and self._rng.random() < 0.5)
        good = self._story.fate_of[instance_id] in {Fate.GOOD, Fate.COMPLETED}
        if carried_out and good and not isinstance(exchange, Look):
            self._cancelled.add(instance_id)
            if self._instances is not None:
                self._instances.cancel(instance_id, self.clock(), None)
        if kind is Kind.LOST:
            kind = self._rng.choice((Kind.DISCONNECTED, Kind.GATEWAY_TIMEOUT, Kind.SILENCE))
        if kind is Kind.REFUSED:
            return Reply(ConnectFailedError("cannot connect: Connection refused"), _AT_ONCE_S)
        if kind is Kind.DISCONNECTED:
            return Reply(DisconnectedError("the server closed the connection"), takes_s)
        if kind is Kind.SILENCE:
            return Reply(DisconnectedError("never seen"), _NEVER_S)
        if kind is Kind.GARBAGE:
            return Reply(UnreadableAnswerError("the answer is not readable HTTP"), takes_s)
        if kind is Kind.OTHER:
            return Reply(_about_another(), takes_s)
        if kind in _HTML:
            return Reply(answer(_HTML[kind], "an HTML page", is_object=False), takes_s)
        status = int(kind)
        return Reply(answer(status, "trouble", retry_after_s=trouble.retry_after_s), takes_s)


_HTML = {Kind.STRANGER_200: 200, Kind.STRANGER_403: 403, Kind.STRANGER_404: 404}
_MAY_DO_IT = frozenset(
    {Kind.BAD_GATEWAY, Kind.GATEWAY_TIMEOUT, Kind.DISCONNECTED, Kind.SILENCE, Kind.GARBAGE}
)


class SimulatedClient(DomoClient):
    """One run's client: its way to the simulated Domo, and what goes wrong on this side of it."""

    def __init__(self, domo: SimulatedDomo, story: Story, run: int) -> None:
        super().__init__(
            token="simulated", base_url="http://127.0.0.1:1", timeout_s=story.world.timeout_s
        )
        self.dead = False
        """Whether the process was killed: from then on nothing leaves it."""
        self._domo = domo
        self._story = story
        self._run = run
        self._rng = random.Random(f"{story.world.seed}: way of run {run}")
        self._connected = not story.world.connect_s
        self._given_back: list[Connection] = []

    def idle(self) -> Connection | None:
        """Return a kept connection; there may be none, though there was one before."""
        world, well = self._story.world, self._story.healed_at is not None
        if self._given_back:
            return self._given_back.pop()
        if not self._connected:
            return None
        return KEPT if well or self._rng.random() >= 2 * world.shortage_share else None

    async def connect(self) -> Connection:
        """Open a connection; the first ones take their time, later ones meet a shortage."""
        world = self._story.world
        connection = Connection.__new__(Connection)
        connection.started = self._domo.clock()
        if not self._connected:
            await anyio.sleep(world.connect_s)
        elif self._story.healed_at is None and self._rng.random() < world.shortage_share:
            self._story.tell(self._domo.clock(), "no file descriptor is left")
            raise NoDescriptorsError("no file descriptor is left")
        self._connected = True
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep it for the next request: nothing was sent on it."""
        self._given_back.append(connection)

    def forget_address(self) -> None:
        """It has none."""

    async def cancel(self, instance_id: str, connection: Connection | None = None) -> Answer:
        """Send one cancel; return the answer or raise an `AttemptError`."""
        now = self._domo.clock()
        exchange = Exchange(self._run, instance_id, begun_at=now, sent_at=now)
        return await self._send(exchange, connection, self._story.exchanges)

    async def look(self, instance_id: str, connection: Connection, *, call: str) -> Answer:
        """Ask what has become of an ID; return the answer or raise an `AttemptError`."""
        now = self._domo.clock()
        look = Look(self._run, instance_id, begun_at=now, sent_at=now, call=call)
        return await self._send(look, connection, self._story.looks)

    async def _send(self, exchange: E, connection: Connection | None, kept: list[E]) -> Answer:
        world, clock = self._story.world, self._domo.clock
        if connection is not None and connection is not KEPT:
            exchange.begun_at = connection.started
        exchange.after_stop = self._story.runs[self._run].stopped_at is not None
        if self.dead:
            await anyio.sleep_forever()
        kept.append(exchange)
        well = self._story.healed_at is not None
        if connection is KEPT and not well and self._rng.random() < world.idle_share:
            exchange.reply = IdleConnectionClosedError("the server had closed an idle connection")
        else:
            exchange.reply = await self._exchange(exchange)
        exchange.answered_at = clock()
        what = f"look {exchange.call}: " if isinstance(exchange, Look) else ""
        said = f"{exchange.instance_id[:8]} {what}{_said(exchange.reply)}"
        self._story.tell(exchange.answered_at, said)
        if isinstance(exchange.reply, Answer):
            return exchange.reply
        raise exchange.reply

    async def _exchange(self, exchange: Exchange) -> Answer | AttemptError:
        way_s = self._story.world.latency_s * self._rng.uniform(0.25, 0.75)
        await anyio.sleep(min(way_s, self.timeout_s))
        reply = self._domo.receive(exchange)
        if way_s + reply.after_s > self.timeout_s:
            await anyio.sleep(self.timeout_s - way_s)
            return AttemptTimeoutError(f"no whole answer within {self.timeout_s:g} s")
        await anyio.sleep(reply.after_s)
        return reply.what


def _said(reply: Answer | AttemptError) -> str:
    if isinstance(reply, Answer):
        word = reply.message if reply.instance is None else f"accepted: {reply.instance.status}"
        return f"{reply.http_status} {word}"
    return f"{type(reply).__name__}: {reply}"


def _about_another() -> Answer:
    return answer(200, f"an answer about another instance, {_OTHER_ID}")


def _limiter(limit: Limit) -> Nginx | FixedWindow:
    says_when = limit.says_when
    if limit.window_s is None:
        return Nginx(limit.rate_per_s, burst=3, retry_after_s=1.0 if says_when else math.nan)
    return FixedWindow(1, limit.window_s, says_when)


def _set_rate(limiter: Limiter, limit: Limit, rate_per_s: float) -> None:
    if isinstance(limiter, Nginx):
        limiter.rate_per_s = rate_per_s
    elif isinstance(limiter, FixedWindow):
        limiter.limit = max(1, round(rate_per_s * limiter.window_s))
