"""The nginx of the tests answers and limits as it is told to."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.support.nginx_server import Limit, NginxOptions, nginx_server

if TYPE_CHECKING:
    from tests.support.nginx_server import NginxServer

pytestmark = [pytest.mark.slow, pytest.mark.alone]

ID = "2052e10a-d142-4391-a731-2be1ab1c0188"


def cancels(server: NginxServer, count: int) -> list[tuple[int, str | None, bytes]]:
    """Return status, `Retry-After` and body of so many cancels over one connection."""
    answers = []
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    with contextlib.closing(connection):
        for _ in range(count):
            connection.request("POST", f"/api/workflow/v1/instances/{ID}/cancel")
            response = connection.getresponse()
            answers.append((response.status, response.headers["Retry-After"], response.read()))
    return answers


def test_it_answers_the_documented_object() -> None:
    """About 400 bytes of JSON with the ID that was asked for; anything else is not found."""
    with nginx_server(NginxOptions(cpu=0)) as server:
        status, retry_after, body = cancels(server, 1)[0]
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("POST", f"/api/workflow/v1/instances/{ID}x/cancel")
            assert connection.getresponse().status == 404
    assert (status, retry_after, json.loads(body)["id"]) == (200, None, ID)
    assert 350 <= len(body) <= 450


def test_it_serves_tls_1_3_over_connections_that_are_kept() -> None:
    """As today's servers do; its certificate stands up to a client that verifies it."""
    with nginx_server(NginxOptions(tls=True)) as server:
        trust = ssl.create_default_context(cafile=str(server.ca_file))
        connection = http.client.HTTPSConnection(
            "127.0.0.1", server.port, timeout=20, context=trust
        )
        with contextlib.closing(connection):
            sockets = set()
            for _ in range(3):
                connection.request("POST", f"/api/workflow/v1/instances/{ID}/cancel")
                assert json.loads(connection.getresponse().read())["id"] == ID
                assert isinstance(connection.sock, ssl.SSLSocket)
                assert connection.sock.version() == "TLSv1.3"
                sockets.add(connection.sock)
    assert len(sockets) == 1


def test_it_limits_and_a_reload_changes_the_limit() -> None:
    """429 beyond the burst, with `Retry-After` if asked for; the log tells what nginx saw."""
    tight = Limit(1, burst=2, nodelay=True, retry_after_s=7)
    with nginx_server(NginxOptions(limit=tight, access_log=True)) as server:
        first = cancels(server, 50)
        server.reload(Limit(1_000_000, burst=100, nodelay=True))
        second = cancels(server, 50)
        logged = server.logged()
    refused = [answer for answer in first if answer[0] == 429]
    assert 40 <= len(refused) <= 47
    assert {retry_after for _, retry_after, _ in refused} == {"7"}
    assert [status for status, _, _ in second] == [200] * 50
    assert [each.status for each in logged] == [status for status, _, _ in first + second]
    assert {each.instance_id for each in logged} == {ID}
    assert logged[0].at <= logged[-1].at
