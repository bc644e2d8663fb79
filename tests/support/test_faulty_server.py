"""The faulty server does exactly the harm it is asked for; seen through bare sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import uuid
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.support import faulty_answers as answers
from tests.support.faulty_answers import FAULTS, Answer, End, mixed_faults
from tests.support.faulty_server import FaultyServer, running_in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

ID = "2052e10a-d142-4391-a731-2be1ab1c0188"
REQUEST = (
    f"POST /api/workflow/v1/instances/{ID}/cancel HTTP/1.1\r\nHost: h\r\nX-Token: t\r\n\r\n"
).encode()
ALL = 10_000_000


@contextlib.contextmanager
def connected(server: FaultyServer) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        yield client


def exchange(client: socket.socket, *, limit: int = ALL, quiet_s: float = 30) -> tuple[bytes, str]:
    """Send a request; return what comes back, and how the connection stands then.

    It is `open` if nothing comes for `quiet_s`, `more` if `limit` bytes have come.
    """
    client.sendall(REQUEST)
    client.settimeout(quiet_s)
    got = b""
    try:
        while len(got) < limit:
            more = client.recv(65536)
            if not more:
                return got, "closed"
            got += more
    except ConnectionResetError:
        return got, "reset"
    except TimeoutError:
        return got, "open"
    return got, "more"


GOOD = answers.ok(ID).data


@pytest.mark.parametrize(
    ("answer", "expected", "ending"),
    [
        (answers.ok(ID), GOOD, "open"),
        (answers.gone(), b"", "closed"),
        (answers.gone(reset=True), b"", "reset"),
        (answers.cut(ID, 100), GOOD[:100], "closed"),
        (answers.cut(ID, 100, reset=True), GOOD[:100], "reset"),
        (answers.bad_chunk(), answers.bad_chunk().data, "closed"),
        (answers.silence(), b"", "open"),
        (answers.closing_soon(ID), GOOD, "closed"),
        (answers.closing_on_next(ID), GOOD, "open"),
        (Answer(b"abc", drip_s=0.001, end=End.FIN), b"abc", "closed"),
        (Answer(b"abc", delay_s=0.01, end=End.RST), b"abc", "reset"),
    ],
)
def test_the_bytes_and_the_end_are_those_asked_for(
    answer: Answer, expected: bytes, ending: str
) -> None:
    """FIN, RST, an open and a silent connection each look like it to a bare socket."""
    with running_in_thread(FaultyServer(lambda *_: answer)) as server, connected(server) as client:
        quiet_s = 0.3 if ending == "open" else 30
        assert exchange(client, quiet_s=quiet_s) == (expected, ending)


def test_closing_on_the_next_request_leaves_it_unanswered() -> None:
    """The first request is answered; the second finds the connection closed and is not counted."""
    plan = lambda each, _: answers.closing_on_next(each)  # noqa: E731
    with running_in_thread(FaultyServer(plan)) as server, connected(server) as client:
        assert exchange(client, limit=len(GOOD))[0] == GOOD
        assert exchange(client) == (b"", "closed")
        assert (len(server.requests), server.unheard) == (1, 1)


def test_an_endless_body_does_not_end_and_a_leaving_client_ends_it() -> None:
    """It goes on past ten megabytes; once the client is gone nothing stays in flight."""
    with running_in_thread(FaultyServer(lambda *_: answers.endless())) as server:
        with connected(server) as client:
            got, ending = exchange(client)
            assert ending == "more"
            assert server.in_flight == 1
        assert b"Content-Length" not in got[:200]
    assert (server.in_flight, server.open_connections) == (0, 0)


def test_the_gzip_bomb_is_small_and_inflates() -> None:
    """A few kilobytes stand for megabytes of zeros, announced as gzip."""
    head, _, body = answers.gzip_bomb(3).data.partition(b"\r\n\r\n")
    assert b"Content-Encoding: gzip" in head
    assert len(body) < 10_000
    assert gzip.decompress(body) == bytes(3_000_000)


def test_what_was_seen_is_recorded() -> None:
    """Method, path, headers, body, connection and order of arrival; each ID counted."""
    with running_in_thread(FaultyServer()) as server:
        with connected(server) as first:
            exchange(first, limit=len(GOOD))
            first.sendall(b"PUT /x?y HTTP/1.1\r\nContent-Length: 3\r\n\r\na")
            first.sendall(b"bc")
            assert first.recv(1000)
        with connected(server) as second:
            exchange(second, limit=len(GOOD))
        one, two, three = server.requests
    assert (one.method, one.path, one.headers, one.body, one.instance_id) == (
        "POST",
        f"/api/workflow/v1/instances/{ID}/cancel",
        {"host": "h", "x-token": "t"},
        b"",
        ID,
    )
    assert (two.method, two.path, two.body) == ("PUT", "/x?y", b"abc")
    assert [each.connection for each in (one, two, three)] == [1, 1, 2]
    assert one.at <= two.at <= three.at
    assert server.connections == 2
    assert server.times_seen == {ID: 2, "/x?y": 1}


def test_the_plan_is_told_how_often_an_id_was_seen() -> None:
    """The second time can be answered otherwise than the first."""

    def plan(instance_id: str, nth: int) -> Answer:
        return answers.problem(503) if nth == 1 else answers.ok(instance_id)

    with running_in_thread(FaultyServer(plan)) as server, connected(server) as client:
        unwell = answers.problem(503).data
        assert unwell.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert exchange(client, limit=len(unwell))[0] == unwell
        assert exchange(client, limit=len(GOOD))[0] == GOOD


def test_a_refusing_server_refuses_and_comes_back_on_its_port() -> None:
    """Open connections are reset, new ones refused, until it listens again."""
    with running_in_thread(FaultyServer()) as server:
        with connected(server) as client:
            exchange(client, limit=len(GOOD))
            server.call(server.refuse())
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        with pytest.raises(ConnectionRefusedError), connected(server):
            pass
        server.call(server.listen())
        with connected(server) as client:
            assert exchange(client, limit=len(GOOD))[0] == GOOD


def test_a_bug_in_a_plan_is_raised() -> None:
    """A test whose plan fails must not pass for another reason."""

    def plan(instance_id: str, nth: int) -> Answer:
        raise KeyError(instance_id, nth)

    with (
        pytest.raises(KeyError, match=ID),
        running_in_thread(FaultyServer(plan)) as server,
        connected(server) as client,
    ):
        assert exchange(client) == (b"", "reset")


def test_it_speaks_tls() -> None:
    """With a context it is an https server, in the loop it is entered in."""
    authority = trustme.CA()
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)

    async def scenario() -> bytes:
        async with FaultyServer(ssl=server_side) as server:
            assert server.base_url.startswith("https://127.0.0.1:")
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.port, ssl=client_side
            )
            writer.write(REQUEST)
            got = await reader.readexactly(len(GOOD))
            writer.close()
            return got

    assert asyncio.run(scenario()) == GOOD


def test_mixed_faults_strike_their_share_once() -> None:
    """By seed and ID alone; every kind occurs; the second answer is always good."""
    ids = [str(uuid.UUID(int=place << 64, version=4)) for place in range(4000)]
    plan, other = mixed_faults(1, 0.25), mixed_faults(2, 0.25)
    struck = [each for each in ids if plan(each, 1) != answers.ok(each)]
    assert 900 <= len(struck) <= 1100
    assert struck != [each for each in ids if other(each, 1) != answers.ok(each)]
    assert all(plan(each, 2) == answers.ok(each) for each in struck)
    planned = {plan(each, 1) for each in struck}
    for fault in FAULTS.values():
        assert any(fault(each) in planned for each in struck)
