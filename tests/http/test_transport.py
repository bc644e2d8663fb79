"""One exchange on one connection, against a server that says byte by byte what a test wants."""

from __future__ import annotations

import asyncio
import asyncio.trsock
import gc
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace

import anyio
import pytest
import trustme
from yarl import URL

from bulkcancel.http import transport
from bulkcancel.http.dialer import Connection
from bulkcancel.http.faults import (
    AttemptTimeoutError,
    DisconnectedError,
    IdleConnectionClosedError,
    UnreadableAnswerError,
)
from bulkcancel.http.transport import Transport
from tests.support.tls import certified

REQUEST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """What a test has to say on each connection, one after the other; the last one again."""

    def __init__(self, *talks: Talk) -> None:
        self.talks = list(talks)
        self.connections = 0
        self.open = 0
        self.base_url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Have one of the talks."""
        talk = self.talks[min(self.connections, len(self.talks) - 1)]
        self.connections += 1
        self.open += 1
        try:
            await talk(reader, writer)
            while await reader.read(1000):
                pass
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def talking(*talks: Talk, timeout_s: float = 10.0) -> AsyncIterator[tuple[Server, Transport]]:
    """A server that talks so, and the transport to it."""
    server = Server(*talks)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    url = URL(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    async with listening, Transport(url, tls=True, proxy=None, timeout_s=timeout_s) as client:
        yield server, client


def says(*answers: bytes) -> Talk:
    """Answer each request with the next of these; then listen."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)

    return talk


def says_and_ends(*answers: bytes) -> Talk:
    """Answer so, and then send no more."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(*answers)(reader, writer)
        writer.write_eof()

    return talk


async def asked(client: Transport) -> tuple[int, bytes]:
    """Make one exchange, on whatever connection is there."""
    connection = client.idle() or await client.connect()
    status, _, body, _ = await client.exchange(connection, REQUEST)
    return status, body


async def until(condition: Callable[[], bool]) -> None:
    """Return once it holds."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - nobody tells when a socket has closed
            await asyncio.sleep(0.001)


def on_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test."""

    def run(**arguments: object) -> None:
        anyio.run(lambda: test(**arguments))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    run.pytestmark = getattr(test, "pytestmark", [])  # type: ignore[attr-defined]
    run.__wrapped__ = test  # type: ignore[attr-defined] # for the names of its arguments
    return run


@on_a_loop
async def test_a_connection_is_used_again() -> None:
    """Each answer belongs to its request, and is read whole."""
    chunks = b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"
    second = b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    third = b"HTTP/1.1 204 No Content\r\n\r\n"
    async with talking(says(OK, second, third)) as (server, client):
        assert [await asked(client) for _ in range(3)] == [(200, b"ok"), (404, b"abcd"), (204, b"")]
        assert server.connections == 1


@on_a_loop
async def test_answers_in_progress_are_no_answer() -> None:
    """Any number of 1xx may come before it; 101 is the end of HTTP, and so the answer."""
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    changed = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    async with talking(says(early + OK, changed), says(OK)) as (server, client):
        assert await asked(client) == (200, b"ok")
        assert (await asked(client))[0] == 101
        assert await asked(client) == (200, b"ok")
        assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), id="close"),
        pytest.param(OK.replace(b"1.1", b"1.0"), id="HTTP 1.0"),
        pytest.param(OK + OK, id="two answers"),
        pytest.param(OK + b"more", id="bytes after the body"),
    ],
)
@on_a_loop
async def test_some_answers_are_the_last_on_their_connection(answer: bytes) -> None:
    """They count; what comes after them is never taken for the next one."""
    async with talking(says(answer), says(OK.replace(b"ok", b"no"))) as (server, client):
        first = await asked(client) if b"more" not in answer else None
        if b"more" in answer:  # the parser refuses both: then it was no answer
            with pytest.raises(UnreadableAnswerError):
                await asked(client)
        assert first in {None, (200, b"ok")}
        assert await asked(client) == (200, b"no")
        assert server.connections == 2


@pytest.mark.parametrize("more", [1, 100_000, 300_000])
@on_a_loop
async def test_a_body_that_is_too_long_is_no_answer(more: int) -> None:
    """Also where all of it has come by the time that it is looked at."""
    length = 64 * 1024 + more
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + b"x" * length

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(answer)(reader, writer)
        await writer.drain()

    async with talking(talk) as (_, client):
        with pytest.raises(UnreadableAnswerError, match="more than 64 KiB"):
            await asked(client)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@on_a_loop
async def test_a_body_may_end_with_its_connection(version: bytes) -> None:
    """It is whole then, and there is no other exchange on it."""
    answer = b"HTTP/" + version + b" 200 OK\r\n\r\nall of it"
    async with talking(says_and_ends(answer)) as (server, client):
        assert await asked(client) == (200, b"all of it")
        assert await asked(client) == (200, b"all of it")
        assert server.connections == 2


@on_a_loop
async def test_a_body_that_is_cut_off_by_the_timeout_is_no_answer() -> None:
    """Its connection ends because we end it."""
    answer = b"HTTP/1.1 200 OK\r\n\r\nsome of it"
    async with talking(says(answer), timeout_s=0.1) as (_, client):
        with pytest.raises(AttemptTimeoutError, match=r"no whole answer within 0\.1 s"):
            await asked(client)


@on_a_loop
async def test_connecting_is_part_of_the_time() -> None:
    """What it took is gone from that of the first exchange, not of the second."""
    async with talking(says(OK, OK), says(OK), timeout_s=60.0) as (_, client):
        connection = await client.connect()
        connection.spent_s = 59.9
        with pytest.raises(AttemptTimeoutError):
            await client.exchange(connection, REQUEST.removesuffix(b"\r\n"))
        connection = await client.connect()
        await client.exchange(connection, REQUEST)
        assert connection.spent_s == 0


@pytest.mark.parametrize(
    "early", [b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", OK, b"?"]
)
@on_a_loop
async def test_what_is_said_on_an_idle_connection_is_nobodys_answer(early: bytes) -> None:
    """It is closed, and costs nothing: the next request goes out on a new one."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(OK)(reader, writer)
        await asyncio.sleep(0.01)
        writer.write(early)

    async with talking(talk, says(OK.replace(b"ok", b"no"))) as (server, client):
        assert await asked(client) == (200, b"ok")
        await asyncio.sleep(0.05)
        assert await asked(client) == (200, b"no")
        await until(lambda: server.open == 1)


@on_a_loop
async def test_what_is_said_on_a_new_connection_is_no_answer() -> None:
    """Nothing was asked, so nothing is sent."""
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        heard.append(await reader.read(1000))

    async with talking(talk) as (_, client):
        connection = await client.connect()
        await asyncio.sleep(0.05)
        with pytest.raises(UnreadableAnswerError, match="spoke before it was asked"):
            await client.exchange(connection, REQUEST)
        await until(lambda: bool(heard))
    assert heard == [b""]


@on_a_loop
async def test_a_peer_that_ends_is_told_by_when_it_does() -> None:
    """While idle it costs nothing; instead of an answer it may, if the connection is new."""

    async def listens(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(OK)(reader, writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with talking(says_and_ends(OK), listens, ends) as (server, client):
        assert await asked(client) == (200, b"ok")
        await asyncio.sleep(0.05)  # it is half-closed now
        assert await asked(client) == (200, b"ok")
        with pytest.raises(IdleConnectionClosedError):
            await asked(client)
        with pytest.raises(DisconnectedError):
            await asked(client)
        assert server.connections == 3


@on_a_loop
async def test_what_has_lain_idle_for_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server, or what is in between, may have forgotten it."""
    now = 1000.0
    monkeypatch.setattr(transport, "time", SimpleNamespace(monotonic=lambda: now))
    async with talking(says(OK, OK, OK)) as (server, client):
        first, second = await client.connect(), await client.connect()
        for each in (first, second):
            await client.exchange(each, REQUEST)
        now += 14.9
        assert client.idle() is second
        await client.exchange(second, REQUEST)
        now += 0.2
        assert client.idle() is second
        await client.exchange(second, REQUEST)  # as it goes back, the other is too old
        await until(lambda: server.open == 1)
        now += 15.1
        assert client.idle() is None
        await until(lambda: server.open == 0)


@on_a_loop
async def test_there_are_never_more_connections_than_exchanges_at_a_time() -> None:
    """Also where each needs a new one though others are idle."""
    most = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        most = max(most, server.open)
        await says(*[OK] * 1000)(reader, writer)

    async with talking(talk) as (server, client):

        async def work(number: int) -> None:
            for n in range(60):
                fresh = (n + number) % 7 == 0
                connection = (None if fresh else client.idle()) or await client.connect()
                assert (await client.exchange(connection, REQUEST))[2] == b"ok"

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(work, number)
        await until(lambda: server.open <= 8)
        assert server.connections > 60
        assert most <= 8 + 8  # a closed one may not have been seen to close yet
        assert len(client._open) <= 8


@on_a_loop
async def test_an_exchange_that_is_cancelled_closes_its_connection() -> None:
    """Its answer would be taken for the next one's."""
    async with talking(says(), says(OK)) as (server, client):
        with anyio.move_on_after(0.05):
            await asked(client)
        await until(lambda: server.open == 0)
        assert await asked(client) == (200, b"ok")


@on_a_loop
async def test_a_connection_may_be_given_back_unused() -> None:
    """The next request has it, and knows that it may have been closed meanwhile."""
    async with talking(says(OK)) as (server, client):
        connection = await client.connect()
        client.give_back(connection)
        assert client.idle() is connection
        assert connection.kept
        assert (await client.exchange(connection, REQUEST))[0] == 200
        assert server.connections == 1


@on_a_loop
async def test_all_connections_are_closed_at_the_end() -> None:
    """Idle ones, and those that somebody holds: nothing is left to the collector."""
    kept: list[Connection] = []
    async with talking(says(OK)) as (server, client):
        kept.append(await client.connect())
        kept.append(await client.connect())
        await asked(client)
        assert len(client._open) == 3
    assert client._open == set()
    await until(lambda: server.open == 0)
    assert all(each.protocol.transport is None for each in kept)
    kept.clear()
    gc.collect()  # warnings are errors here


@on_a_loop
async def test_what_is_forgotten_is_closed() -> None:
    """Connections to where the name led before are not used again."""
    async with talking(says(OK)) as (server, client):
        await asked(client)
        client.forget_address()
        assert client.idle() is None
        await until(lambda: server.open == 0)


@pytest.mark.parametrize("bad", [b"zz\r\n", b"3\r\nabcXX"])
@on_a_loop
async def test_a_body_that_turns_bad_after_its_head_is_told_at_once(bad: bytes) -> None:
    """The parser lets go of it: nobody may wait for the rest."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        await says(head)(reader, writer)
        await asyncio.sleep(0.02)
        writer.write(bad)

    async with talking(talk, timeout_s=60.0) as (_, client):
        with anyio.fail_after(10), pytest.raises(UnreadableAnswerError):
            await asked(client)


@on_a_loop
async def test_leaving_ends_what_reads_a_body() -> None:
    """It would wait for ever: nothing is timed any more."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
    async with anyio.create_task_group() as tasks:

        async def ask(client: Transport) -> None:
            with pytest.raises(DisconnectedError):
                await asked(client)

        with anyio.fail_after(10):
            async with talking(says(head)) as (_, client):
                tasks.start_soon(ask, client)
                await asyncio.sleep(0.05)


@on_a_loop
async def test_what_is_left_of_something_else_is_no_part_of_the_next_answer() -> None:
    """An answer that nobody asked for, of which one half comes with the last one."""
    other = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(OK + other[:12], other[12:])(reader, writer)

    async with talking(talk) as (_, client):
        assert await asked(client) == (200, b"ok")
        with pytest.raises(UnreadableAnswerError):
            await asked(client)


@on_a_loop
async def test_what_leads_where_the_name_led_before_is_not_kept() -> None:
    """Nor one that was in use, or being made, when the address was forgotten."""
    async with talking(says(OK, OK)) as (server, client):
        connection = await client.connect()
        client.forget_address()
        await client.exchange(connection, REQUEST)
        assert client.idle() is None
        await until(lambda: server.open == 0)


@on_a_loop
async def test_nothing_was_sent_to_a_server_that_spoke_first() -> None:
    """So nothing may have been done."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")

    async with talking(talk) as (_, client):
        connection = await client.connect()
        await asyncio.sleep(0.05)
        with pytest.raises(UnreadableAnswerError) as caught:
            await client.exchange(connection, REQUEST)
    assert not caught.value.ambiguous


@on_a_loop
async def test_a_server_that_never_says_goodbye_holds_no_connection_open() -> None:
    """Over TLS as well: its end is not waited for."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(tls)
    sockets: list[asyncio.trsock.TransportSocket] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        held.append(writer)

    held: list[asyncio.StreamWriter] = []
    context = certified(authority, "localhost")
    listening = await asyncio.start_server(serve, "localhost", 0, ssl=context)
    url = URL(f"https://localhost:{listening.sockets[0].getsockname()[1]}")
    async with listening, Transport(url, tls=tls, proxy=None, timeout_s=10.0) as client:
        for _ in range(3):
            connection = await client.connect()
            assert connection.protocol.transport is not None
            sockets.append(connection.protocol.transport.get_extra_info("socket"))
            assert (await client.exchange(connection, REQUEST))[2] == b"ok"
        await until(lambda: all(each.fileno() == -1 for each in sockets))
        for each in held:
            each.transport.abort()
