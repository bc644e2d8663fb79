"""One attempt against a server that does everything wrong, over a real socket."""

from __future__ import annotations

import ssl
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
import trustme

from bulkcancel.domo.answers import Answer as Read
from bulkcancel.domo.client import DomoClient
from bulkcancel.errors import StoppedError, UsageError
from bulkcancel.http import faults
from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.faulty_server import FaultyServer

TOKEN = "DDCI-canary-0123456789abcdef"
ID = "2052e10a-d142-4391-a731-2be1ab1c0188"


async def _attempt(answer: Answer, timeout_s: float = 5.0) -> Read:
    async with (
        FaultyServer(lambda _id, _nth: answer) as server,
        DomoClient(base_url=server.base_url, token=TOKEN, timeout_s=timeout_s) as client,
    ):
        return await client.cancel(ID)


def _fault(answer: Answer, timeout_s: float = 5.0) -> faults.AttemptError:
    async def attempt() -> faults.AttemptError:
        with pytest.raises(faults.AttemptError) as caught:
            await _attempt(answer, timeout_s)
        return caught.value

    fault = anyio.run(attempt)
    assert TOKEN not in str(fault)
    assert TOKEN not in repr(fault)
    return fault


def test_the_request_is_the_documented_one() -> None:
    """One POST, no body, the token in Domo's header, identity encoding, no cookies."""

    async def check() -> None:
        async with FaultyServer(lambda i, _n: answers.ok(i)) as server:
            async with DomoClient(base_url=server.base_url, token=TOKEN) as client:
                answer = await client.cancel(ID)
            (seen,) = server.requests
        headers = {name.lower(): value for name, value in seen.headers.items()}
        assert (seen.method, seen.path) == ("POST", f"/api/workflow/v1/instances/{ID}/cancel")
        assert headers["x-domo-developer-token"] == TOKEN
        assert headers["accept-encoding"] == "identity"
        assert headers["content-length"] == "0"
        assert not {"cookie", "authorization", "content-type"} & set(headers)
        assert answer.http_status == 200
        assert answer.instance is not None
        assert answer.latency_s > 0

    anyio.run(check)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (answers.gone(), faults.DisconnectedError),
        (answers.gone(reset=True), faults.DisconnectedError),
        (answers.cut(ID, 40), faults.DisconnectedError),
        (answers.cut(ID, 250), faults.DisconnectedError),
        (answers.cut(ID, 250, reset=True), faults.DisconnectedError),
        (answers.truncated(ID), faults.DisconnectedError),
        (answers.cut_chunk(), faults.DisconnectedError),
        (answers.bad_chunk(), faults.UnreadableAnswerError),
        (Answer(answers.GARBAGE_STATUS_LINE), faults.UnreadableAnswerError),
        (answers.long_header(ID), faults.UnreadableAnswerError),
        (answers.many_headers(ID), faults.UnreadableAnswerError),
        (answers.endless(), faults.UnreadableAnswerError),
    ],
)
def test_every_broken_answer_has_its_own_word(
    answer: Answer, kind: type[faults.AttemptError]
) -> None:
    """aiohttp's errors are told apart by what they mean for the ID; none becomes a status."""
    fault = _fault(answer)
    assert type(fault) is kind
    assert fault.ambiguous


@pytest.mark.parametrize("answer", [answers.silence(), answers.drip(ID)])
def test_an_attempt_ends_at_its_timeout_in_all(answer: Answer) -> None:
    """Neither silence nor one byte at a time holds an attempt beyond its timeout."""
    fault = _fault(answer, timeout_s=0.3)
    assert isinstance(fault, faults.AttemptTimeoutError)
    assert "0.3 s" in fault.message


def test_refused_and_unknown_hosts_are_told_from_sent_requests(unused_port: int) -> None:
    """Nothing was sent, so nothing is ambiguous."""

    async def check(url: str) -> faults.AttemptError:
        async with DomoClient(base_url=url, token=TOKEN) as client:
            with pytest.raises(faults.ConnectFailedError) as caught:
                await client.cancel(ID)
            return caught.value

    refused = anyio.run(check, f"http://127.0.0.1:{unused_port}")
    assert not refused.ambiguous
    assert str(unused_port) in refused.message
    unknown = anyio.run(check, "https://no-such-host.invalid")
    assert "no-such-host.invalid" in unknown.message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(status: int) -> None:
    """The other host sees nothing: no request, not even a connection."""

    async def check() -> None:
        async with FaultyServer(lambda i, _n: answers.ok(i)) as other:
            answer = await _attempt(answers.redirect(status, f"{other.base_url}/elsewhere"))
            assert answer.http_status == status
            assert answer.instance is None
            assert other.requests == []
            assert other.connections == 0

    anyio.run(check)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"5",
        b"{}",
        b"<html>",
        b"{",
        b'{"error": "x"}',
        b'{"status": "error"}',
        b'{"id": null, "success": false}',
        b'{"modelName": "x", "status": null}',
        answers.instance("2052e10a-d142-4391-a731-2be1ab1c0189"),
        answers.instance(ID[:-1]),
        answers.instance(f" {ID}"),
        answers.instance(f"{{{ID}}}"),
        answers.instance(ID, id=[ID]),
        f'{{"data": {{"id": "{ID}"}}}}'.encode(),
        f'[{{"id": "{ID}"}}]'.encode(),
        f'"{ID}"'.encode(),
    ],
)
def test_a_200_without_this_instance_is_no_success(body: bytes) -> None:
    """Only an object whose `id` is the one asked for says that this one is being cancelled."""
    answer = anyio.run(_attempt, answers.http(200, body))
    assert answer.http_status == 200
    assert answer.instance is None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('"id": "%s"', None),
        ('"status": null, "id": "%s"', None),
        ('"id": "%s", "status": "CANCELLED", "new": [1]', "CANCELLED"),
        ('"id": "%s", "status": "PAUSED", "modelVersion": 3', "PAUSED"),
        ('"id": "%s", "status": 5, "modelName": ["x"]', None),
        ('"id": "%s", "status": "COMPLETED", "modelVersion": {"major": 1}', "COMPLETED"),
        ('"id": "%s", "status": "COMPLETED", "modelName": "a\\ud83d"', "COMPLETED"),
        ('"id": "%s", "status": null, "new": ' + "[" * 300 + "]" * 300, None),
    ],
)
@pytest.mark.parametrize("spelt", [ID, ID.upper()])
def test_missing_and_new_fields_are_tolerated(body: str, spelt: str, status: str | None) -> None:
    """The ID alone makes an answer count, in capitals as well; its status is kept as said."""
    answer = anyio.run(_attempt, answers.http(200, f"{{{body % spelt}}}".encode()))
    assert answer.instance is not None
    assert answer.instance.status == status


def test_a_gzip_bomb_is_neither_inflated_nor_kept() -> None:
    """200 MB of zeros, compressed, cost less than 5 MB."""
    bomb = answers.gzip_bomb()

    async def check() -> int:
        async with (
            FaultyServer(lambda _i, _n: bomb) as server,
            DomoClient(base_url=server.base_url, token=TOKEN) as client,
        ):
            tracemalloc.start()
            with pytest.raises(faults.UnreadableAnswerError):
                await client.cancel(ID)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return peak

    assert anyio.run(check) < 5_000_000


def _packed(extra: str = "") -> bytes:
    return answers.packed(answers.instance(ID, extra=extra)).data.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("encoding", "window_bits"),
    [("gzip", 31), ("GZIP ", 31), ("x-gzip", 31), ("deflate", 15), ("deflate", -15)],
)
def test_compression_nobody_asked_for_is_read(encoding: str, window_bits: int) -> None:
    """gzip and deflate, with zlib's frame and without, give the same answer as plain text."""
    body = answers.instance(ID, "COMPLETED", modelName="x" * 60_000)
    packed = answers.packed(body, encoding=encoding, window_bits=window_bits)
    answer = anyio.run(_attempt, packed)
    assert answer.instance is not None
    assert answer.instance.modelName == "x" * 60_000


_GZIP = {"Content-Encoding": "gzip"}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(answers.http(200, _packed("x" * 65536), _GZIP), id="over 64 KiB"),
        pytest.param(answers.http(200, _packed(), {"Content-Encoding": "br"}), id="brotli"),
        pytest.param(answers.http(200, _packed(), {"Content-Encoding": "gzip, gzip"}), id="twice"),
        pytest.param(answers.http(200, answers.instance(ID), _GZIP), id="not packed"),
        pytest.param(answers.http(200, _packed()[:-9], _GZIP), id="cut"),
    ],
)
def test_compression_that_cannot_be_read_is_a_fault(answer: Answer) -> None:
    """Too long, broken, or of a kind that is not read: no success, and nothing binary is shown."""
    fault = _fault(answer)
    assert type(fault) is faults.UnreadableAnswerError
    assert fault.message.isascii()
    assert fault.message.isprintable()
    assert fault.latency_s > 0


@pytest.mark.parametrize("other", [ID, ID.upper(), "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"])
def test_a_message_is_shown_whatever_id_is_beside_it(other: str) -> None:
    """The instance's own or that of a trace; whom it is about is said where there is no message."""
    body = f'{{"id": "{other}", "message": "already completed"}}'.encode()
    assert anyio.run(_attempt, answers.http(409, body)).message == "already completed"
    said = anyio.run(_attempt, answers.http(409, f'{{"id": "{other}"}}'.encode())).message
    assert said.startswith("an answer about another instance") == (other.lower() != ID)


def test_what_is_no_text_is_not_shown() -> None:
    """A packed body that does not say so is told by its size; old encodings stay readable."""
    answer = anyio.run(_attempt, answers.http(502, _packed()))
    assert answer.message == f"{len(_packed())} bytes that are no text"
    answer = anyio.run(_attempt, answers.http(502, "Zugriff für Sie verweigert".encode("latin-1")))
    assert answer.message.startswith("Zugriff f")


def test_a_token_echoed_by_the_server_is_redacted() -> None:
    """What the server says is shown, but never the token, an escape sequence or a bidi mark."""
    body = f'{{"message": "bad \\u001b[31m {TOKEN} \\u202e"}}'.encode()
    answer = anyio.run(_attempt, answers.http(400, body))
    assert TOKEN not in answer.message
    assert "\x1b" not in answer.message
    assert "\u202e" not in answer.message
    assert "[token]" in answer.message
    escaped = "".join(f"\\u{ord(c):04x}" for c in TOKEN)
    answer = anyio.run(_attempt, answers.http(404, f'{{"foo": "{escaped}"}}'.encode()))
    assert answer.message == '{"foo": "[token]"}'


@contextmanager
def _trusting(path: Path | None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if path is not None:
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
    yield


@pytest.mark.parametrize("trusted", [True, False])
def test_an_untrusted_certificate_sends_nothing(
    trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an unknown authority the request is not sent; with a known one it is."""
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_context)
    pem = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(pem))

    async def check() -> None:
        async with FaultyServer(
            lambda i, _n: answers.ok(i), ssl=server_context, host="localhost"
        ) as server:
            async with DomoClient(base_url=server.base_url, token=TOKEN) as client:
                if trusted:
                    assert (await client.cancel(ID)).instance is not None
                else:
                    with pytest.raises(faults.TlsFailedError):
                        await client.cancel(ID)
            assert len(server.requests) == int(trusted)

    with _trusting(pem if trusted else None, monkeypatch):
        anyio.run(check)


def test_an_idle_connection_closed_by_the_server_is_told_apart() -> None:
    """A kept-alive connection that is dead before any byte means: this was never read."""

    async def check() -> None:
        async with (
            FaultyServer(lambda i, _n: answers.closing_on_next(i)) as server,
            DomoClient(base_url=server.base_url, token=TOKEN) as client,
        ):
            assert (await client.cancel(ID)).instance is not None
            with pytest.raises(faults.IdleConnectionClosedError):
                await client.cancel(ID)
            answer = await client.cancel(ID, await client.connect())
            assert answer.instance is not None

    anyio.run(check)


def test_proxies_and_netrc_of_the_environment_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A proxy variable or a netrc must not send the token, or add another secret, elsewhere."""

    async def check() -> None:
        async with FaultyServer(lambda i, _n: answers.ok(i)) as proxy:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, proxy.base_url)
            netrc = tmp_path / "netrc"
            netrc.write_text("machine 127.0.0.1 login someone password secret\n")
            monkeypatch.setenv("NETRC", str(netrc))
            async with FaultyServer(lambda i, _n: answers.ok(i)) as server:
                async with DomoClient(base_url=server.base_url, token=TOKEN) as client:
                    await client.cancel(ID)
                (seen,) = server.requests
            assert proxy.connections == 0
            assert "authorization" not in {name.lower() for name in seen.headers}

    anyio.run(check)


@pytest.mark.parametrize("text", ["", "x HTTP/1.1\r\nEvil: 1\r\n", "../x", f"{{{ID}}}"])
def test_only_an_id_is_put_into_a_request(text: str) -> None:
    """Whoever calls it by hand gets an error; capitals and an address around it are fine."""

    async def check() -> None:
        async with FaultyServer() as server:
            async with DomoClient(base_url=server.base_url, token=TOKEN) as client:
                with pytest.raises(UsageError, match="is no instance ID"):
                    await client.cancel(text)
                assert (await client.cancel(f" {ID.upper()}")).instance is not None
            assert [seen.path.split("/")[-2] for seen in server.requests] == [ID]

    anyio.run(check)


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "tök", "x\x00"])
def test_a_token_that_cannot_be_a_header_is_refused(token: str) -> None:
    """It is refused before anything is opened, and never repeated in the message."""
    with pytest.raises(UsageError) as caught:
        DomoClient(instance="acme", token=token)
    assert not token.strip() or token not in str(caught.value)


def test_a_token_in_the_place_of_the_instance_is_refused() -> None:
    """Before a name server, a plan or a summary hears of it."""
    with pytest.raises(UsageError, match="the instance is the token itself") as caught:
        DomoClient(instance="ddci0123abcd", token="DDCI0123abcd")
    assert "0123" not in str(caught.value)


def test_the_client_never_shows_its_token() -> None:
    """Its repr, which ends up in tracebacks and logs, names the server alone."""
    assert TOKEN not in repr(DomoClient(instance="acme", token=TOKEN))


def test_a_client_is_told_one_server() -> None:
    """What is missing, or too much, is called by its name in Python."""
    with pytest.raises(UsageError) as caught:
        DomoClient(token=TOKEN)
    missing = "no Domo instance given: pass instance='acme' (for acme.domo.com) or base_url"
    assert str(caught.value) == missing
    with pytest.raises(UsageError, match=r"^give instance or base_url, not both$"):
        DomoClient("acme", token=TOKEN, base_url="https://gateway.example")


def test_the_token_is_never_part_of_an_address() -> None:
    """A server that names its next page by the token does not get it logged on the way."""

    async def ask(server: FaultyServer) -> None:
        async with DomoClient(base_url=server.base_url, token=TOKEN) as client:
            with pytest.raises(StoppedError, match="by the token itself"):
                await client.read(f"/api/workflow/v2/executions?nextToken={TOKEN}")
        assert server.requests == []

    async def run() -> None:
        async with FaultyServer() as server:
            await ask(server)

    anyio.run(run)
