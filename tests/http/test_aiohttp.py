"""What `bulkcancel/http` uses of aiohttp beyond its documented surface is still there.

Where one of these fails, a new aiohttp has changed it: they must be mended, or the new version
excluded in `pyproject.toml`. The list is that of `http/transport`'s docstring.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from yarl import URL

CHANGED = f"aiohttp {aiohttp.__version__} has changed what bulkcancel/http uses"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nok"


def _untaken(function: Callable[..., object], *names: str) -> list[str]:
    """Return which of these arguments it does not take."""
    return [name for name in names if name not in inspect.signature(function).parameters]


def _missing(of: object, *names: str) -> list[str]:
    """Return which of these attributes it does not have."""
    return [name for name in names if not hasattr(of, name)]


def test_the_connector_connects_by_a_request() -> None:
    """`connect(request, traces, timeout)`, with a request that says where and through what."""
    connector, request = aiohttp.TCPConnector, aiohttp.ClientRequest
    assert not _untaken(connector.connect, "req", "traces", "timeout"), CHANGED
    assert not _untaken(connector, "limit", "ssl", "ttl_dns_cache", "resolver"), CHANGED
    assert not _untaken(request, "method", "url", "loop", "ssl", "proxy", "proxy_headers"), CHANGED
    assert not _missing(connector, "clear_dns_cache", "close"), CHANGED
    assert not _missing(Connection, "protocol", "transport", "close"), CHANGED


def test_the_protocol_reads_answers() -> None:
    """With a parser; a body is a stream that can be read at once."""
    parser, handler = ResponseHandler.set_response_params, ResponseHandler
    assert not _untaken(parser, "read_until_eof", "auto_decompress"), CHANGED
    assert not _missing(handler, "read", "should_close", "is_connected"), CHANGED
    assert not _missing(handler, "closed", "exception"), CHANGED
    assert not _missing(StreamReader, "is_eof", "at_eof", "read", "read_nowait"), CHANGED
    assert not _missing(StreamReader, "exception", "set_exception"), CHANGED
    assert EMPTY_PAYLOAD.is_eof(), CHANGED
    assert EMPTY_PAYLOAD.read_nowait() == b"", CHANGED


def test_what_ends_an_exchange_has_its_kind() -> None:
    """Faults are told apart by these."""
    assert not _missing(HttpProcessingError(code=400, message="why"), "message"), CHANGED
    assert not _missing(aiohttp.ServerDisconnectedError(), "message"), CHANGED
    for kind in (aiohttp.ClientConnectorError, aiohttp.ClientProxyConnectionError):
        assert issubclass(kind, OSError), CHANGED
    assert issubclass(aiohttp.ClientHttpProxyError, aiohttp.ClientResponseError), CHANGED
    assert issubclass(aiohttp.ServerTimeoutError, TimeoutError), CHANGED
    assert not issubclass(HttpProcessingError, aiohttp.ClientError), CHANGED


async def _body(protocol: ResponseHandler) -> bytes:
    _, payload = await protocol.read()
    return await payload.read()


def _with_a_connection(
    talk: Callable[[ResponseHandler], Coroutine[Any, Any, None]], *answers: bytes
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        writer.close()

    async def check() -> None:
        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = URL(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        async with listening, aiohttp.TCPConnector() as connector:
            request = aiohttp.ClientRequest("POST", url, loop=asyncio.get_running_loop())
            connection = await connector.connect(request, [], aiohttp.ClientTimeout())
            protocol = connection.protocol
            assert protocol is not None, CHANGED
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
            await talk(protocol)
            connection.close()

    anyio.run(check)


def test_a_connection_serves_many_exchanges() -> None:
    """Two of them: a message with `code` and `headers`, a body that is at its end with it."""

    async def talk(protocol: ResponseHandler) -> None:
        for _ in range(2):
            assert protocol.transport is not None, CHANGED
            assert not protocol.should_close, CHANGED
            protocol.transport.write(b"POST / HTTP/1.1\r\n\r\n")
            message, payload = await protocol.read()
            assert (message.code, message.headers["x"]) == (200, "y"), CHANGED
            assert payload.is_eof(), CHANGED
            assert payload.read_nowait() == b"ok", CHANGED

    _with_a_connection(talk, OK, OK)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"no HTTP\r\n\r\n", HttpProcessingError),
        (b"", aiohttp.ServerDisconnectedError),
        (OK[:-1], aiohttp.ClientPayloadError),
    ],
)
def test_what_is_no_answer_is_raised(answer: bytes, kind: type[Exception]) -> None:
    """Each as its own kind, and the connection is to be closed."""

    async def talk(protocol: ResponseHandler) -> None:
        assert protocol.transport is not None
        protocol.transport.write(b"POST / HTTP/1.1\r\n\r\n")
        with pytest.raises(kind):
            await _body(protocol)
        assert protocol.should_close, CHANGED

    _with_a_connection(talk, answer)


def test_bytes_that_nobody_asked_for_show() -> None:
    """After an answer, or before one: the connection is to be closed."""

    async def talk(protocol: ResponseHandler) -> None:
        assert protocol.transport is not None
        protocol.transport.write(b"POST / HTTP/1.1\r\n\r\n")
        await protocol.read()
        assert protocol.should_close, CHANGED

    _with_a_connection(talk, OK + OK)
