"""Where connections lead: names that move, and whom a proxy's login is told."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
import trustme
from aiohttp import TCPConnector

from bulkcancel.domo.client import DomoClient
from bulkcancel.http import dialer, faults
from tests.support import faulty_answers as answers
from tests.support.faulty_server import FaultyServer
from tests.support.moving_name import MovingName
from tests.support.tls import authority_file, certified, handshakes_may_fail

TOKEN = "DDCI-canary-0123456789abcdef"
ID = "2052e10a-d142-4391-a731-2be1ab1c0188"

needs_two_addresses = pytest.mark.skipif(
    sys.platform == "darwin", reason="127.0.0.2 is no address of a Mac until it is made one"
)


def _client(port: int) -> DomoClient:
    return DomoClient(base_url=f"http://localhost:{port}", token=TOKEN, timeout_s=5)


@asynccontextmanager
async def _at_both_addresses() -> AsyncIterator[tuple[FaultyServer, FaultyServer, DomoClient]]:
    """The server where a name led at first, the one where it leads later, and a client."""
    async with FaultyServer() as old, FaultyServer(host="127.0.0.2") as new:
        await new.refuse()
        new.port = old.port
        await new.listen()
        async with _client(old.port) as client:
            yield old, new, client


def test_a_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for every connection, nor for each of those made at the same time."""
    name = MovingName(monkeypatch)
    name.slow_s = 0.05

    async def check() -> None:
        async with FaultyServer() as server, _client(server.port) as client:
            await asyncio.gather(*(client.connect() for _ in range(5)))
            for _ in range(5):
                await client.connect()
            assert server.connections == 10

    anyio.run(check)
    assert name.looked_up == 1


@needs_two_addresses
def test_a_forgotten_address_is_used_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept connections that lead there are closed, and new ones lead where the name does now."""
    name = MovingName(monkeypatch)

    async def check() -> None:
        async with _at_both_addresses() as (old, new, client):
            await client.cancel(ID)
            name.address = "127.0.0.2"
            await client.cancel(ID)
            await client.cancel(ID, await client.connect())
            assert (len(old.requests), len(new.requests)) == (3, 0)
            client.forget_address()
            assert client.idle() is None
            await client.cancel(ID)
            assert (len(old.requests), len(new.requests)) == (3, 1)

    anyio.run(check)


@needs_two_addresses
def test_after_a_connection_that_failed_the_name_is_looked_up_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next one leads where the name does by then."""
    name = MovingName(monkeypatch)

    async def check() -> None:
        async with _at_both_addresses() as (old, new, client):
            await client.cancel(ID)
            await old.refuse()
            name.address = "127.0.0.2"
            with pytest.raises(faults.ConnectFailedError):
                await client.connect()
            await client.cancel(ID)
            assert len(new.requests) == 1

    anyio.run(check)


def test_an_address_may_be_forgotten_at_any_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the one in which a look-up ends for which several connections wait."""
    name = MovingName(monkeypatch)
    name.slow_s = 0.02

    async def forget(client: DomoClient) -> None:
        while True:
            client.forget_address()
            await asyncio.sleep(0)

    async def check() -> None:
        async with FaultyServer() as server, _client(server.port) as client:
            forgetting = asyncio.create_task(forget(client))
            await asyncio.gather(*(client.connect() for _ in range(3)))
            forgetting.cancel()
            assert server.connections == 3

    anyio.run(check)


def test_the_login_is_not_told_to_a_proxy_that_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even to find out whose certificate it has: no request reaches it."""
    monkeypatch.setenv("SSL_CERT_FILE", authority_file(trustme.CA(), tmp_path))
    fake = FaultyServer(lambda _i, _n: answers.page(502), ssl=certified(trustme.CA(), "127.0.0.1"))

    async def check() -> str:
        async with fake:
            proxy = f"https://someone:secret@127.0.0.1:{fake.port}"
            async with DomoClient("acme", token=TOKEN, proxy=proxy) as client:
                with pytest.raises(faults.TlsFailedError) as caught:
                    await client.cancel(ID)
        return caught.value.message

    with handshakes_may_fail():
        message = anyio.run(check)
    assert fake.requests == []
    assert f"through the proxy https://127.0.0.1:{fake.port}: " in message
    assert "unable to get local issuer certificate" in message


def test_whatever_is_odd_about_a_certificate_hides_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its issuer cannot be read: the fault is told without it."""
    monkeypatch.setenv("SSL_CERT_FILE", authority_file(trustme.CA(), tmp_path))

    def odd(_: bytes) -> str:
        raise ValueError("not DER")

    monkeypatch.setattr(dialer, "issuer_of", odd)

    async def check() -> str:
        context = certified(trustme.CA(), "localhost")
        async with (
            FaultyServer(ssl=context, host="localhost") as server,
            DomoClient(base_url=server.base_url, token=TOKEN) as client,
        ):
            with pytest.raises(faults.TlsFailedError) as caught:
                await client.cancel(ID)
        return caught.value.message

    with handshakes_may_fail():
        assert "issuer is" not in anyio.run(check)


SET_LATER = """
import os
import aiohttp
os.environ["SSL_CERT_FILE"] = "{path}"
from bulkcancel import DomoClient
print(len(DomoClient("acme", token="x")._tls.get_ca_certs()))
"""


def test_authorities_that_were_named_after_aiohttp_was_loaded_count(tmp_path: Path) -> None:
    """As in a notebook, where it may have been loaded long before."""
    path = authority_file(trustme.CA(), tmp_path)
    script = SET_LATER.format(path=path)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "1\n"


def test_a_stopped_process_is_no_slow_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """It connects once more, and its exchange has all of its time."""
    tried = 0

    async def connect(self: TCPConnector, *arguments: object) -> object:
        nonlocal tried
        tried += 1
        if tried == 1:
            time.sleep(2.5)  # noqa: ASYNC251 - that is what is tested: nothing runs
            raise TimeoutError
        return await real(self, *arguments)  # type: ignore[arg-type]

    real = TCPConnector.connect
    monkeypatch.setattr(TCPConnector, "connect", connect)

    async def check() -> float:
        async with FaultyServer() as server, _client(server.port) as client:
            return (await client.connect()).spent_s

    assert anyio.run(check) < 2
    assert tried == 2
