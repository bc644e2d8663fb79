"""Runs through a proxy: what it sees, every way it says no, and what is said of that."""

from __future__ import annotations

import base64
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer, End
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import CANARY, Finished, bulkcancel, environment, write_ids
from tests.support.proxy_server import RecordingProxy, TinyProxy, recording_proxy, tiny_proxy
from tests.support.runs import make_ids
from tests.support.tls import certified, trusting

IDS = make_ids(40)
USER, PASSWORD = "someone", "s3cret-canary-word"
LOGIN = f"{USER}:{PASSWORD}"
SECRETS = [CANARY, PASSWORD, base64.b64encode(LOGIN.encode()).decode()]
ADVICE = "check the proxy, and that it can reach the host"

QUICK_PROBES = """
from bulkcancel.pacing import breaker
breaker._FIRST_WAIT_S = 0.1
"""


@dataclass
class _Place:
    """A TLS server on `localhost` that cancels, and a folder with IDs for it."""

    server: FaultyServer
    folder: Path
    trust: dict[str, str]

    def run(
        self, *options: str, rate: int = 400, timeout_s: int = 5, fault: str = "", **env: str
    ) -> Finished:
        """Run the command to its end; no secret may be in anything that it leaves behind."""
        done = bulkcancel(
            "run", "ids.txt", "--base-url", f"https://localhost:{self.server.port}",
            "--rate", str(rate), "--timeout", str(timeout_s), "--log-file", "log.jsonl",
            "--summary", "summary.json", *options,
            cwd=self.folder, env=environment(**self.trust, **env), fault=fault,
        )  # fmt: skip
        written = [path.read_text() for path in self.folder.iterdir() if path.is_file()]
        for secret in SECRETS:
            assert not any(secret in text for text in (done.stdout, done.stderr, *written))
        assert all(line.startswith("{") for line in done.stderr.splitlines()), done.stderr
        return done


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def place(authority: trustme.CA, tmp_path: Path) -> Iterator[_Place]:
    write_ids(tmp_path / "ids.txt", IDS)
    server = FaultyServer(
        lambda i, _n: answers.ok(i, "CANCELED"), ssl=certified(authority, "localhost")
    )
    with running_in_thread(server):
        yield _Place(server, tmp_path, trusting(authority, tmp_path))


def _check_all_canceled(done: Finished, place: _Place) -> None:
    assert done.code == 0, done.stderr
    rows = done.rows()
    assert sorted(row["instanceId"] for row in rows) == sorted(IDS)
    assert {row["outcome"] for row in rows} == {"canceled"}
    for seen in place.server.requests:
        assert not {"proxy-authorization", "proxy-connection", "via"} & set(seen.headers)


def _check_log(proxy: TinyProxy, port: int) -> None:
    log = proxy.log()
    asked = re.findall(r"Request \(file descriptor \d+\): (.*)", log)
    assert set(asked) == {f"CONNECT localhost:{port} HTTP/1.1"}
    assert not any(text in log for text in (*SECRETS, *IDS))


# ------------------------------------------------------------------ a way through


@pytest.mark.parametrize("told", ["in HTTPS_PROXY", "in https_proxy", "in ALL_PROXY", "by --proxy"])
def test_a_run_through_a_real_proxy_with_a_login(place: _Place, told: str) -> None:
    """Every ID is canceled; the proxy logs CONNECT alone, and the plan names it without login."""
    with tiny_proxy(login=(USER, PASSWORD)) as proxy:
        address = f"http://{LOGIN}@{proxy.address}"
        if told == "by --proxy":
            done = place.run("--proxy", address, HTTPS_PROXY="http://127.0.0.1:1", NO_PROXY="*")
        else:
            variable: dict[str, Any] = {told.removeprefix("in "): address}
            done = place.run(**variable)
        _check_log(proxy, place.server.port)
    _check_all_canceled(done, place)
    (planned,) = done.events("run.planned")
    assert planned["proxy"] == f"http://{proxy.address}"


def test_a_proxy_without_a_login(place: _Place) -> None:
    """None is sent to one that wants none."""
    with recording_proxy() as proxy:
        done = place.run(HTTPS_PROXY=f"127.0.0.1:{proxy.port}")
    _check_all_canceled(done, place)
    assert b"authorization" not in b"".join(proxy.asked).lower()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_proxy_never_sees_token_or_id(
    place: _Place, authority: trustme.CA, scheme: str, loop: str
) -> None:
    """In all bytes that it gets and sends there is the login, and else nothing that is secret."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    tls = certified(authority, "127.0.0.1") if scheme == "https" else None
    with recording_proxy(tls) as proxy:
        address = f"{scheme}://{LOGIN}@127.0.0.1:{proxy.port}"
        done = place.run("--loop", loop, HTTPS_PROXY=address)
    _check_all_canceled(done, place)
    _check_raw_bytes(proxy, place.server.port)


def _check_raw_bytes(proxy: RecordingProxy, port: int) -> None:
    assert proxy.asked
    login = base64.b64encode(LOGIN.encode())
    for head in proxy.asked:
        assert head.startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % port)
        assert b"\r\nProxy-Authorization: Basic %s\r\n" % login in head
        assert b"\r\nUser-Agent: bulkcancel/" in head
    assert len(proxy.through) > 100 * len(IDS)
    seen = b"".join(proxy.asked) + bytes(proxy.through)
    assert not any(text.encode() in seen for text in (CANARY, *IDS))
    assert login not in proxy.through
    assert b"/instances/" not in seen


def test_no_proxy_goes_straight(place: _Place) -> None:
    """No connection is made to the proxy, and the plan names none."""
    with running_in_thread(FaultyServer()) as proxy:
        done = place.run(HTTPS_PROXY=proxy.base_url, NO_PROXY="localhost")
        assert proxy.connections == 0
    _check_all_canceled(done, place)
    (planned,) = done.events("run.planned")
    assert planned["proxy"] == ""


def test_none_goes_straight(place: _Place) -> None:
    """`--proxy none` beats the environment."""
    with running_in_thread(FaultyServer()) as proxy:
        done = place.run("--proxy", "none", HTTPS_PROXY=proxy.base_url)
        assert proxy.connections == 0
    _check_all_canceled(done, place)


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_dry_run_names_the_proxy(tmp_path: Path, form: str) -> None:
    """Without its login, and without a connection to it."""
    write_ids(tmp_path / "ids.txt", IDS)
    with running_in_thread(FaultyServer()) as proxy:
        done = bulkcancel(
            "run", "ids.txt", "--instance", "acme", "--dry-run", "--log-format", form,
            "--proxy", f"http://{LOGIN}@{proxy.host}", cwd=tmp_path,
        )  # fmt: skip
        assert proxy.connections == 0
    assert done.code == 0, done.stderr
    assert f"http://{proxy.host}" in done.stdout + done.stderr
    assert PASSWORD not in done.stdout + done.stderr


# ------------------------------------------------------------------ no way through


def _check_stopped(done: Finished, place: _Place, reason: str) -> None:
    """Exit 4 with that reason; the run goes on with the same results where the way is free."""
    assert done.code == 4, done.stderr
    (finished,) = done.events("run.finished")
    assert re.fullmatch(reason, str(finished["reason"])), finished["reason"]
    assert "--resume" in str(finished["resume_command"])
    assert place.server.requests == []
    assert done.rows() == []
    resumed = place.run("--resume", HTTPS_PROXY="http://127.0.0.1:1", NO_PROXY="localhost")
    _check_all_canceled(resumed, place)
    assert place.server.times_seen == dict.fromkeys(IDS, 1)


@pytest.mark.parametrize("by_flag", [False, True])
@pytest.mark.parametrize(
    ("given", "status", "advice"),
    [
        (f"{PASSWORD}:{PASSWORD}@", "401|407", "it does not take the login in its address"),
        ("", "407", "it wants a login: put it in its address, http://user:password@host:port"),
    ],
)
def test_a_login_that_a_real_proxy_does_not_take(
    place: _Place, given: str, status: str, advice: str, by_flag: bool
) -> None:
    """It is told from one that is missing; what was given is in nothing that is left behind."""
    with tiny_proxy(login=(USER, PASSWORD)) as proxy:
        address = f"http://{given}{proxy.address}"
        done = place.run("--proxy", address) if by_flag else place.run(HTTPS_PROXY=address)
        assert not any(text in proxy.log() for text in (*SECRETS, *IDS))
    said = f"the proxy http://{proxy.address} lets no connection through "
    _check_stopped(done, place, rf"{re.escape(said)}\(HTTP ({status})\): {advice}")


def test_a_port_that_a_real_proxy_does_not_allow(place: _Place) -> None:
    """Its 403 is about the way, not about an ID."""
    with tiny_proxy(allow_port=443) as proxy:
        done = place.run(HTTPS_PROXY=f"http://{proxy.address}")
    said = f"the proxy http://{proxy.address} lets no connection through (HTTP 403): "
    said += "it does not allow this host or this port"
    _check_stopped(done, place, re.escape(said))


def test_a_host_that_a_real_proxy_does_not_reach(place: _Place) -> None:
    """The proxy is named, and its status."""
    place.server.call(place.server.refuse())
    with tiny_proxy() as proxy:
        done = place.run(HTTPS_PROXY=f"http://{proxy.address}")
    place.server.call(place.server.listen())
    said = rf"the proxy http://{proxy.address} lets no connection through \(HTTP 50\d\): {ADVICE}"
    _check_stopped(done, place, said)


@contextmanager
def _answers_in_clear() -> Iterator[int]:
    """Say yes to every CONNECT, and answer the TLS hello with a page."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed at the end
                return
            with connection:
                connection.settimeout(5)
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                connection.recv(65536)
                connection.sendall(answers.page(400).data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


THROUGH = "through the proxy {proxy}: "
NOT_THROUGH = "the proxy {proxy} lets no connection through "
NO_TLS = r"no trusted TLS connection to localhost:\d+ \(tls: through the proxy {proxy}: "


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(
            # Closed once the handshake has begun: before that, the system may as well say "reset".
            Answer(answers.page(200).data, end=End.FIN, end_after_s=0.4),
            rf"{THROUGH}cannot connect to localhost:\d+: the server hung up: {ADVICE}",
            id="a page with 200, closed",
        ),
        pytest.param(
            answers.page(200),
            f"{THROUGH}no connection within the connect timeout: {ADVICE}",
            id="a page with 200, kept",
        ),
        pytest.param(answers.page(502), rf"{NOT_THROUGH}\(HTTP 502\): {ADVICE}", id="502"),
        pytest.param(
            answers.redirect(302, "http://login.example/"),
            rf"{NOT_THROUGH}\(HTTP 302\): {ADVICE}",
            id="302",
        ),
        pytest.param(
            answers.silence(),
            f"{THROUGH}no connection within the connect timeout: {ADVICE}",
            id="hangs",
        ),
        pytest.param(answers.gone(), f"{THROUGH}the connection was closed: {ADVICE}", id="closes"),
        pytest.param(
            answers.gone(reset=True), f"{THROUGH}Connection reset by peer: {ADVICE}", id="resets"
        ),
        pytest.param(
            Answer(answers.GARBAGE_STATUS_LINE),
            f"{THROUGH}it does not answer in HTTP: {ADVICE}",
            id="garbage",
        ),
    ],
)
def test_a_proxy_that_does_not_work(place: _Place, answer: Answer, reason: str) -> None:
    """The run ends at once, or with the timeout; the sentence names the proxy and what to do."""
    with running_in_thread(FaultyServer(lambda _i, _n: answer)) as fake:
        done = place.run(timeout_s=1, HTTPS_PROXY=f"http://{LOGIN}@{fake.host}")
        assert {seen.method for seen in fake.requests} == {"CONNECT"}
        assert all(CANARY not in str(seen) for seen in fake.requests)
    _check_stopped(done, place, reason.format(proxy=fake.base_url))


def test_a_proxy_that_answers_in_clear(place: _Place) -> None:
    """What it says in place of the server is not taken for the server's TLS."""
    with _answers_in_clear() as port:
        done = place.run("--concurrency", "1", HTTPS_PROXY=f"http://{LOGIN}@127.0.0.1:{port}")
    assert done.code == 4, done.stderr
    (finished,) = done.events("run.finished")
    said = NO_TLS.format(proxy=f"http://127.0.0.1:{port}")
    assert re.match(said, str(finished["reason"])), finished["reason"]
    assert place.server.requests == []
    resumed = place.run("--resume", NO_PROXY="localhost")
    _check_all_canceled(resumed, place)


@pytest.mark.parametrize("by_flag", [False, True])
def test_a_proxy_that_is_not_there(place: _Place, unused_port: int, by_flag: bool) -> None:
    """It is told from a server that is not there; the command to go on has no login in it."""
    shown = f"http://127.0.0.1:{unused_port}"
    address = f"http://{LOGIN}@127.0.0.1:{unused_port}"
    done = place.run("--proxy", address) if by_flag else place.run(HTTPS_PROXY=address)
    (finished,) = done.events("run.finished")
    assert ("--proxy http://LOGIN@127.0.0.1" in str(finished["resume_command"])) == by_flag
    said = f"cannot connect to the proxy {shown}: Connection refused: {ADVICE}"
    _check_stopped(done, place, re.escape(said))


def test_a_proxy_that_nobody_knows(place: _Place) -> None:
    """A misspelt name is told with the proxy that has it."""
    done = place.run(HTTPS_PROXY="http://no-such-host.invalid:3128")
    said = r"through the proxy http://no-such-host\.invalid:3128: cannot connect to "
    _check_stopped(done, place, rf"{said}no-such-host\.invalid:3128: .*: {ADVICE}")


@pytest.mark.parametrize(
    ("address", "word"),
    [
        (f"socks5://{LOGIN}@127.0.0.1:1080", "SOCKS"),
        (f"http://{LOGIN}@:3128", "is not what a proxy's address looks like"),
    ],
)
@pytest.mark.parametrize("by_flag", [False, True])
def test_what_is_no_http_proxy_is_refused(
    place: _Place, address: str, word: str, by_flag: bool
) -> None:
    """Exit 2 before anything is sent, with the variable or the flag's own word."""
    done = place.run("--proxy", address) if by_flag else place.run(HTTPS_PROXY=address)
    assert done.code == 2
    (refused,) = done.events("run.refused")
    assert word in str(refused["error"])
    assert ("HTTPS_PROXY" in str(refused["error"])) != by_flag
    assert place.server.connections == 0
    assert not (place.folder / "results.csv").exists()


# ------------------------------------------------------------------ in mid-run


@pytest.mark.slow
def test_a_proxy_that_dies_in_mid_run_and_comes_back(place: _Place) -> None:
    """The run waits for it and goes on: one row for each ID, and each is canceled."""
    server = place.server
    server.plan = lambda i, _n: answers.http(200, answers.instance(i, "CANCELED"), delay_s=0.02)

    with tiny_proxy(login=(USER, PASSWORD)) as proxy:

        def restart() -> None:
            _wait_until(lambda: len(server.requests) >= 12)
            proxy.stop()
            _wait_until(lambda: server.open_connections == 0)
            time.sleep(0.3)
            proxy.start()

        thread = threading.Thread(target=restart)
        thread.start()
        done = place.run(rate=50, HTTPS_PROXY=f"http://{LOGIN}@{proxy.address}", fault=QUICK_PROBES)
        thread.join()
        _check_log(proxy, server.port)
    _check_all_canceled(done, place)
    (finished,) = done.events("run.finished")
    assert isinstance(finished["retries"], int)
    assert finished["retries"] > 0


def _wait_until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not so() and time.monotonic() < deadline:
        time.sleep(0.005)
