"""Networks that fail in the middle of a run, and what must never leave for anywhere else."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

from bulkcancel.engine import limits
from bulkcancel.engine.engine import Policy
from bulkcancel.engine.stats import Stats
from bulkcancel.errors import StoppedError
from bulkcancel.models import Outcome
from bulkcancel.pacing import breaker
from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import (
    CANARY,
    Finished,
    assert_no_canary,
    bulkcancel,
    command,
    environment,
    write_ids,
)
from tests.support.runs import Observed, Run, make_ids
from tests.support.tls import certified, trusting

LIMITED = "import os, resource, sys; n = int(sys.argv[1]); \
resource.setrlimit(resource.RLIMIT_NOFILE, (n, n)); os.execv(sys.argv[2], sys.argv[2:])"


def _run(server: FaultyServer, ids: list[str], policy: Policy, *, timeout_s: float = 5.0) -> Run:
    async def work() -> Run:
        async with server:
            run = Run(server.base_url, policy, timeout_s=timeout_s)
            await run.work(ids)
            return run

    return anyio.run(work)


def _run_while(
    something: Callable[[], Coroutine[Any, Any, None]],
    server: FaultyServer,
    ids: list[str],
    policy: Policy,
) -> Run:
    """Run the engine while something happens to the server."""

    async def work() -> Run:
        async with server:
            run = Run(server.base_url, policy)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(something)
                await run.work(ids)
            return run

    return anyio.run(work)


def _delayed(answer: Answer, delay_s: float) -> Answer:
    return Answer(answer.data, delay_s=delay_s, end=answer.end)


# ------------------------------------------------------------------ connections that fail


def test_connections_refused_in_mid_run_fail_nobody() -> None:
    """A server that restarts for 1.5 s: the breaker waits for it, and every ID is accepted."""
    ids = make_ids(300)
    server = FaultyServer()

    async def restart() -> None:
        while len(server.requests) < 50:  # noqa: ASYNC110 - the server has no event for it
            await anyio.sleep(0.002)
        await server.refuse()
        await anyio.sleep(1.5)
        assert len(server.requests) < len(ids)
        await server.listen()

    run = _run_while(restart, server, ids, Policy(rate_per_s=400, concurrency=16))
    assert run.outcomes() == {Outcome.ACCEPTED: len(ids)}
    assert run.observed.breaker == [True, False]
    assert any("cannot connect" in error for error in run.observed.retries)
    assert run.stop.reason is None


def test_a_host_that_accepts_and_never_answers_stops_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A black hole as the first server ends the run long before the timeouts would."""
    monkeypatch.setattr(limits, "_NEVER_ANSWERED_S", 1.0)
    server = FaultyServer(lambda _i, _n: answers.silence())
    began = time.monotonic()
    run = _run(server, make_ids(100), Policy(rate_per_s=1000, concurrency=8), timeout_s=25)
    assert time.monotonic() - began < 10
    assert isinstance(run.stop.reason, StoppedError)
    assert "never answered" in str(run.stop.reason)
    assert run.results == []
    assert len(server.requests) == 8


class _AtOpening(Observed):
    """Records how many requests had been sent when the breaker opened."""

    def __init__(self, stats: Stats) -> None:
        super().__init__()
        self._stats = stats
        self.sent: int | None = None

    def breaker_changed(self, *, opened: bool) -> None:
        super().breaker_changed(opened=opened)
        if opened:
            self.sent = self._stats.requests


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(answers.problem(500), id="500"),
        pytest.param(answers.page(502), id="502"),
        pytest.param(answers.problem(504), id="504"),
        pytest.param(answers.gone(), id="closed"),
        pytest.param(answers.gone(reset=True), id="reset"),
    ],
)
def test_an_outage_of_any_kind_is_probed_by_one_request_at_a_time(
    trouble: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the breaker open, probes go one by one; the first that is answered lets all go on."""
    monkeypatch.setattr(breaker, "_FIRST_WAIT_S", 0.15)
    ids = make_ids(200)
    failed_probes = 2
    others_in_flight: list[int] = []

    def plan(instance_id: str, _nth: int) -> Answer:
        others_in_flight.append(server.in_flight)
        number = len(others_in_flight)
        sent = observed.sent
        if number <= 50:
            return answers.ok(instance_id)
        if sent is None or number <= sent + failed_probes:
            return _delayed(trouble, 0.05)
        if number == sent + failed_probes + 1:
            return _delayed(answers.ok(instance_id), 0.1)
        return answers.ok(instance_id)

    server = FaultyServer(plan)

    async def work() -> Run:
        async with server:
            run.base_url = server.base_url
            await run.work(ids)
            return run

    run = Run("", Policy(rate_per_s=400, concurrency=16))
    run.observed = observed = _AtOpening(run.stats)
    anyio.run(work)
    assert run.outcomes() == {Outcome.ACCEPTED: len(ids)}
    assert observed.breaker == [True, False]
    assert observed.sent is not None
    assert max(others_in_flight[:50]) <= max(others_in_flight[50 : observed.sent]) <= 15
    assert max(others_in_flight[50 : observed.sent]) > 0
    assert others_in_flight[observed.sent :][: failed_probes + 1] == [0] * (failed_probes + 1)


def test_an_outage_beyond_its_limit_is_resumed_with_the_command_that_is_told(
    tmp_path: Path,
) -> None:
    """Exit 4 with the reason; what is printed to finish it does, with one row for each ID."""
    ids = make_ids(150)
    write_ids(tmp_path / "ids.txt", ids)
    server = FaultyServer(
        lambda i, _n: answers.ok(i) if len(server.requests) <= 20 else answers.problem(503)
    )
    with running_in_thread(server):
        target = ("--base-url", server.base_url, "--rate", "400", "--max-outage", "1s")
        done = bulkcancel("run", "ids.txt", *target, cwd=tmp_path)
        assert done.code == 4, done.stderr
        assert "Traceback" not in done.stderr
        (finished,) = done.events("run.finished")
        assert "an outage of 1 s, the limit of --max-outage" in str(finished["reason"])
        assert "HTTP 503" in str(finished["reason"])
        assert [row["outcome"] for row in done.rows()] == ["accepted"] * 20
        assert len(server.requests) < 20 + 40
        server.plan = lambda i, _n: answers.ok(i)
        name, *arguments = shlex.split(str(finished["resume_command"]))
        assert name == "bulkcancel"
        assert sorted(arguments) == sorted(["run", "ids.txt", *target, "--resume"])
        again = bulkcancel(*arguments, cwd=tmp_path)
    assert again.code == 0, again.stderr
    assert sorted(row["instanceId"] for row in again.rows()) == sorted(ids)
    assert {row["outcome"] for row in again.rows()} == {"accepted"}


def test_answers_that_grow_slower_are_waited_for() -> None:
    """From 20 ms to a second: no retry, no timeout, never more in flight than asked for."""
    ids = make_ids(90)

    def plan(instance_id: str, _nth: int) -> Answer:
        grown = min(len(server.requests) / 70, 1.0)
        return _delayed(answers.ok(instance_id), 0.02 + 0.98 * grown)

    server = FaultyServer(plan)
    run = _run(server, ids, Policy(rate_per_s=1000, concurrency=16), timeout_s=3)
    assert run.outcomes() == {Outcome.ACCEPTED: len(ids)}
    assert run.observed.retries == []
    assert run.observed.breaker == []
    assert len(server.requests) == len(ids)
    assert server.peak_in_flight == 16
    assert max(result.latency_ms or 0 for result in run.results) >= 1000


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_few_file_descriptors_limit_the_concurrency(tmp_path: Path) -> None:
    """With `ulimit -n 64` and 128 asked for: as many as fit, said once, and nothing fails."""
    ids = make_ids(200)
    write_ids(tmp_path / "ids.txt", ids)
    with running_in_thread(FaultyServer(lambda i, _n: _delayed(answers.ok(i), 0.3))) as server:
        run = command(
            "run", "ids.txt", "--base-url", server.base_url, "--rate", "10000",
            "--concurrency", "128",
        )  # fmt: skip
        ended = subprocess.run(
            [sys.executable, "-c", LIMITED, "64", *run],
            cwd=tmp_path, env=environment(), capture_output=True, check=False, timeout=60,
        )  # fmt: skip
    done = Finished(ended.returncode, ended.stdout.decode(), ended.stderr.decode(), tmp_path)
    assert_no_canary(done)
    assert done.code == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.events("concurrency.limited")) == 1
    (finished,) = done.events("run.finished")
    assert finished["retries"] == 0
    assert sorted(row["instanceId"] for row in done.rows()) == sorted(ids)
    assert {row["outcome"] for row in done.rows()} == {"accepted"}
    assert 20 <= server.peak_in_flight < 64


# ------------------------------------------------------------------ answers that mean something


def test_every_kind_of_200_in_mid_run() -> None:
    """What does not name the ID is its failure; what does counts, in the server's own words."""
    bad = {
        "page": answers.page(),
        "empty": answers.http(200),
        "list": answers.http(200, b"[]"),
        "null": answers.http(200, b"null"),
        "number": answers.http(200, b"5"),
        "nothing in it": answers.http(200, b"{}"),
        "wrong types": answers.http(200, b'{"id": {}, "status": [1]}'),
    }
    good: dict[str, tuple[dict[str, Any], Outcome, str | None]] = {
        "missing": ({"modelName": ..., "createdOn": ...}, Outcome.ACCEPTED, None),
        "CANCELED": ({"status": "CANCELED"}, Outcome.CANCELED, "CANCELED"),
        "CANCELLED": ({"status": "CANCELLED"}, Outcome.CANCELED, "CANCELLED"),
        "COMPLETED": ({"status": "COMPLETED"}, Outcome.COMPLETED, "COMPLETED"),
        "completed": ({"status": "completed"}, Outcome.COMPLETED, "completed"),
        "PAUSED": ({"status": "PAUSED"}, Outcome.ACCEPTED, "PAUSED"),
        "new": ({"status": "IN_PROGRESS", "news": [1]}, Outcome.ACCEPTED, "IN_PROGRESS"),
    }
    ids = make_ids(2 * (len(bad) + len(good)))
    special = dict(zip(ids[1::2], [*bad, *good], strict=True))  # every other one; a plain 200 first

    def plan(instance_id: str, _nth: int) -> Answer:
        word = special.get(instance_id, "")
        if word in bad:
            return bad[word]
        fields = good[word][0] if word else {}
        return answers.http(200, answers.instance(instance_id, **fields))

    server = FaultyServer(plan)
    run = _run(server, ids, Policy(rate_per_s=1000, concurrency=1, attempts=2))
    assert run.stop.reason is None
    assert len(run.results) == len(ids)
    for instance_id in ids[::2]:
        assert run.of(instance_id).outcome is Outcome.ACCEPTED
    for instance_id, word in special.items():
        result = run.of(instance_id)
        assert result.http_status == 200, word
        if word in bad:
            assert result.outcome is Outcome.FAILED, word
            assert result.error.startswith("bad_response: HTTP 200: "), word
            assert result.attempts == server.times_seen[instance_id] == 2, word
        else:
            assert (result.outcome, result.status, result.error) == (*good[word][1:], ""), word
            assert result.attempts == 1, word


def test_redirects_in_mid_run_are_those_ids_failures() -> None:
    """Each ID that stays redirected is `failed`, the run goes on, the other host sees nothing."""
    ids = make_ids(60)
    statuses = dict(zip(ids[20:45:5], [301, 302, 303, 307, 308], strict=True))

    async def work() -> Run:
        async with FaultyServer() as other:

            def plan(instance_id: str, _nth: int) -> Answer:
                if instance_id in statuses:
                    path = f"/api/workflow/v1/instances/{instance_id}/cancel"
                    return answers.redirect(statuses[instance_id], other.base_url + path)
                return answers.ok(instance_id)

            async with FaultyServer(plan) as server:
                run = Run(server.base_url, Policy(rate_per_s=1000, concurrency=4, attempts=2))
                await run.work(ids)
                assert {server.times_seen[each] for each in statuses} == {2}
            assert other.connections == 0
            return run

    run = anyio.run(work)
    assert run.stop.reason is None
    assert run.outcomes() == {Outcome.ACCEPTED: 55, Outcome.FAILED: 5}
    for instance_id, status in statuses.items():
        result = run.of(instance_id)
        assert result.error.startswith(f"unexpected_redirect: HTTP {status}: ")
        assert result.http_status == status


def _in_two_seconds() -> str:
    return formatdate(time.time() + 2, usegmt=True)  # whole seconds: more than one from now


@pytest.mark.parametrize(
    ("status", "retry_after"),
    [
        pytest.param(429, lambda: "1", id="429, seconds"),
        pytest.param(503, lambda: "1", id="503, seconds"),
        pytest.param(429, _in_two_seconds, id="429, date"),
    ],
)
def test_retry_after_pauses_every_consumer(status: int, retry_after: Callable[[], str]) -> None:
    """For as long as the server asks, only the requests that were under way are seen."""
    ids = make_ids(40)
    consumers = 8

    def plan(instance_id: str, _nth: int) -> Answer:
        if len(server.requests) == 1:  # answered once all the others are under way
            return _delayed(answers.problem(status, **{"Retry-After": retry_after()}), 0.1)
        if len(server.requests) <= consumers:
            return _delayed(answers.ok(instance_id), 0.4)
        return answers.ok(instance_id)

    server = FaultyServer(plan)
    run = _run(server, ids, Policy(rate_per_s=1000, concurrency=consumers))
    first, *later = (seen.at for seen in server.requests)
    assert sum(at < first + 1 for at in later) == consumers - 1
    assert run.outcomes() == {Outcome.ACCEPTED: len(ids)}
    assert len(server.requests) == len(ids) + 1
    assert run.stats.throttled == 1
    assert run.observed.breaker == []


def test_a_token_revoked_in_mid_run(tmp_path: Path) -> None:
    """Exit 3 and but one probe sent; answers still under way get their rows."""
    ids = make_ids(100)
    write_ids(tmp_path / "ids.txt", ids)

    def plan(instance_id: str, _nth: int) -> Answer:
        number = len(server.requests)
        if number <= 5:
            return answers.ok(instance_id)
        if number <= 11:
            return _delayed(answers.ok(instance_id), 0.5)
        return answers.problem(401, "revoked")

    server = FaultyServer(plan)
    with running_in_thread(server):
        target = ("--base-url", server.base_url, "--rate", "400", "--concurrency", "7")
        done = bulkcancel("run", "ids.txt", *target, cwd=tmp_path)
    assert done.code == 3, done.stderr
    assert "Traceback" not in done.stderr
    seen = [request.instance_id for request in server.requests]
    assert len(seen) == 13
    rows = {row["instanceId"]: row for row in done.rows()}
    assert len(done.rows()) == len(rows)
    assert set(rows) == set(seen)
    assert {rows[each]["outcome"] for each in seen[:11]} == {"accepted"}
    for refused in seen[11:]:
        assert rows[refused]["outcome"] == "failed"
        assert rows[refused]["error"].startswith("unauthorized: HTTP 401: revoked")
    (finished,) = done.events("run.finished")
    assert "refused the token" in str(finished["reason"])
    assert finished["not_reached"] == 87


# ------------------------------------------------------------------ where the token may go


@contextlib.contextmanager
def _plain_http() -> Iterator[tuple[int, bytearray]]:
    """Answer every connection as a plain HTTP server does that is sent TLS; keep what came."""
    received = bytearray()

    def serve() -> None:
        with contextlib.suppress(OSError):  # closed at the end
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(5)
                    received.extend(connection.recv(65536))
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                    connection.shutdown(socket.SHUT_WR)
                    while data := connection.recv(65536):
                        received.extend(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, name="plain-http", daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1], received
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def _check_no_tls(done: Finished, word: str) -> None:
    assert done.code == 4, done.stderr
    assert "Traceback" not in done.stderr
    (finished,) = done.events("run.finished")
    assert "no trusted TLS connection to localhost:" in str(finished["reason"])
    assert " (tls: " in str(finished["reason"])
    assert word in str(finished["reason"]).lower()
    assert "--resume" in str(finished["resume_command"])
    assert not {"accepted", "canceled", "completed"} & {row["outcome"] for row in done.rows()}


@pytest.mark.parametrize("proven", ["by nobody known", "for another host"])
def test_a_certificate_that_proves_nothing_stops_the_run(tmp_path: Path, proven: str) -> None:
    """Exit 4 and `tls` is said; no request is sent, in TLS or in clear."""
    write_ids(tmp_path / "ids.txt", make_ids(30))
    authority = trustme.CA()
    known = proven == "for another host"
    server = FaultyServer(ssl=certified(authority, "other.example" if known else "localhost"))
    trust = trusting(authority, tmp_path) if known else {}
    with running_in_thread(server):
        done = bulkcancel(
            "run", "ids.txt", "--base-url", f"https://localhost:{server.port}",
            "--concurrency", "1", cwd=tmp_path, env=environment(**trust),
        )  # fmt: skip
    assert server.requests == []
    _check_no_tls(done, "hostname mismatch" if known else "unable to get local issuer")


def test_a_plain_http_server_is_not_spoken_to_in_clear(tmp_path: Path) -> None:
    """An https address that answers in plain HTTP stops the run; only TLS hellos reach it."""
    write_ids(tmp_path / "ids.txt", make_ids(30))
    with _plain_http() as (port, received):
        done = bulkcancel(
            "run", "ids.txt", "--base-url", f"https://localhost:{port}", "--concurrency", "1",
            cwd=tmp_path,
        )  # fmt: skip
    assert received.startswith(b"\x16\x03")  # a TLS handshake record
    assert CANARY.encode() not in received
    assert b"POST" not in received
    _check_no_tls(done, "ssl")


def test_a_handshake_that_breaks_off_in_mid_run_is_no_reason_to_stop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A TLS server that restarts says nothing of whom to trust: the run waits and goes on."""
    monkeypatch.setattr(breaker, "_FIRST_WAIT_S", 0.1)
    authority = trustme.CA()
    monkeypatch.setenv("SSL_CERT_FILE", trusting(authority, tmp_path)["SSL_CERT_FILE"])
    ids = make_ids(60)
    server = FaultyServer(
        lambda i, _n: answers.http(200, answers.instance(i), end=answers.End.FIN),
        host="localhost",
        ssl=certified(authority, "localhost"),
    )
    hung_up = 0

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal hung_up
        hung_up += 1
        writer.close()

    async def restart() -> None:
        while len(server.requests) < 20:  # noqa: ASYNC110 - the server has no event for it
            await anyio.sleep(0.002)
        await server.refuse()
        async with await asyncio.start_server(hang_up, "localhost", server.port):
            while hung_up < 12:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        await server.listen()

    run = _run_while(restart, server, ids, Policy(rate_per_s=200, concurrency=4))
    assert run.stop.reason is None
    assert run.outcomes() == {Outcome.ACCEPTED: len(ids)}
    assert run.observed.breaker[0] is True


def test_an_authority_of_ones_own_is_trusted(tmp_path: Path) -> None:
    """With `SSL_CERT_FILE` a private authority's certificate is as good as any."""
    ids = make_ids(30)
    write_ids(tmp_path / "ids.txt", ids)
    authority = trustme.CA()
    server = FaultyServer(ssl=certified(authority, "localhost"))
    with running_in_thread(server):
        done = bulkcancel(
            "run", "ids.txt", "--base-url", f"https://localhost:{server.port}", "--rate", "400",
            cwd=tmp_path, env=environment(**trusting(authority, tmp_path)),
        )  # fmt: skip
    assert done.code == 0, done.stderr
    assert sorted(row["instanceId"] for row in done.rows()) == sorted(ids)
    assert server.times_seen == dict.fromkeys(ids, 1)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxies_netrc_and_cookies_are_not_used(tmp_path: Path, scheme: str) -> None:
    """Plain http, which stays on this machine, goes straight; no request has a login or cookie."""
    (tmp_path / ".netrc").write_text("machine localhost login someone password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    write_ids(tmp_path / "ids.txt", make_ids(3))
    authority = trustme.CA()
    server = FaultyServer(
        lambda i, _n: answers.http(200, answers.instance(i), {"Set-Cookie": "sid=1; Path=/"}),
        ssl=certified(authority, "localhost") if scheme == "https" else None,
    )
    with running_in_thread(FaultyServer()) as proxy, running_in_thread(server):
        env = environment(HOME=str(tmp_path), **trusting(authority, tmp_path))
        if scheme == "http":
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
                env[name] = env[name.lower()] = proxy.base_url
        env.pop("NETRC", None)
        # A name, not an address: aiohttp's cookie jar would refuse the cookies of an address.
        address = f"{scheme}://localhost:{server.port}"
        done = bulkcancel(
            "run", "ids.txt", "--base-url", address, "--concurrency", "1", "--rate", "100",
            cwd=tmp_path, env=env,
        )  # fmt: skip
    assert done.code == 0, done.stderr
    assert proxy.connections == 0
    assert len(server.requests) == 3
    for request in server.requests:
        assert request.path.startswith("/api/")
        assert request.headers["x-domo-developer-token"] == CANARY
        assert not {"authorization", "proxy-authorization", "cookie"} & set(request.headers)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_mixed_faults_lose_nothing() -> None:
    """30 % of first answers faulty in every way there is: a true row for each of 1,500 IDs."""
    ids = make_ids(1500)
    # A 429 may pause everything for seconds: once in a while is enough.
    others = tuple(kind for kind in answers.FAULTS if kind != "429")
    server = FaultyServer(answers.mixed_faults(7, 0.3, (*others, *others, *answers.FAULTS)))
    run = _run(server, ids, Policy(rate_per_s=100_000, concurrency=64), timeout_s=1.0)
    assert Counter(r.instance_id for r in run.results) == Counter(ids)
    assert run.outcomes()[Outcome.ACCEPTED] >= 1498
    assert {seen.path for seen in server.requests} == {
        f"/api/workflow/v1/instances/{each}/cancel" for each in ids
    }
    assert run.stop.reason is None


def test_a_host_that_refuses_connections_is_an_error_at_once(unused_port: int) -> None:
    """Before the first answer a refused connection ends the run: nothing was sent."""
    run = Run(f"http://127.0.0.1:{unused_port}", Policy(rate_per_s=100_000))
    anyio.run(run.work, make_ids(100))
    assert isinstance(run.stop.reason, StoppedError)
    assert f"cannot connect to 127.0.0.1:{unused_port}: Connection refused" in str(run.stop.reason)
    assert run.results == []
    assert run.stats.unanswered == 0
