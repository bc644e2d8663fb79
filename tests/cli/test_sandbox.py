"""`bulkcancel sandbox` as a process: what it prints, answers, and how it ends."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bulkcancel.cli.commands.sandbox import app
from bulkcancel.sandbox import Options
from tests.support.processes import LATE_TIMER, bulkcancel, command, environment, write_ids
from tests.support.runs import make_ids

IDS = make_ids(6)
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


class Served:
    """A sandbox process that has said where it listens."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.said = process.stdout.readline()
        self.port = int(self.said.rpartition(":")[2])
        assert process.stderr is not None
        self.hint = process.stderr.readline()

    def post(self, instance_id: str, token: str | None = "any-token") -> tuple[int, Any]:
        """Send one cancel; return status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {} if token is None else {"X-DOMO-Developer-Token": token}
        try:
            path = f"/api/workflow/v1/instances/{instance_id}/cancel"
            connection.request("POST", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def end(self, number: signal.Signals) -> int:
        """Send a signal; return the exit code. Nothing more may have been printed."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=10)
        assert (out, err) == ("", "")
        return self.process.returncode


@contextmanager
def _serving(cwd: Path, *options: str) -> Iterator[Served]:
    process = subprocess.Popen(
        command("sandbox", "--port", "0", "--latency", "1ms", "--jitter", "0", *options,
                fault=LATE_TIMER),
        cwd=cwd, env=environment(), text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Served(process)
    finally:
        process.kill()
        process.communicate()


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_it_says_where_it_listens_answers_and_ends_by_a_signal(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """Once it is ready: a line for scripts, and one for people; the code names the signal."""
    with _serving(tmp_path) as sandbox:
        assert sandbox.said == f"listening on http://127.0.0.1:{sandbox.port}\n"
        assert sandbox.hint == (
            f"try: bulkcancel run FILE --base-url http://127.0.0.1:{sandbox.port} (any token)\n"
        )
        assert sandbox.port > 0
        status, body = sandbox.post(IDS[0])
        assert (status, body["id"]) == (200, IDS[0])
        status, body = sandbox.post(IDS[0], token=None)
        assert status == 401
        assert "id" not in body
        assert sandbox.end(number) == code
        with pytest.raises(ConnectionRefusedError):
            sandbox.post(IDS[0])


def test_the_rule_of_the_last_digits(tmp_path: Path) -> None:
    """What its help states is what it answers; with `--token` no other token will do."""
    with _serving(tmp_path, "--token", "the-one") as sandbox:
        assert sandbox.hint.endswith(" (the token of --token)\n")
        assert sandbox.post(IDS[0], token="another")[0] == 401
        said = {end: sandbox.post(IDS[0][:-3] + end, "the-one") for end in ENDS}
    assert {end: status for end, (status, _) in said.items()} == {
        "d0e": 200, "ca0": 200, "fa1": 200, "404": 404, "403": 403,
    }  # fmt: skip
    assert said["d0e"][1]["status"] == "COMPLETED"
    assert said["ca0"][1]["status"] == "CANCELED"


ENDS = ("d0e", "ca0", "fa1", "404", "403")


def test_help_states_the_rule_and_every_option(tmp_path: Path) -> None:
    """Who rehearses must know which IDs fail, and how to make trouble."""
    done = bulkcancel("sandbox", "--help", cwd=tmp_path)
    assert (done.code, done.stderr) == (0, "")
    words = " ".join(done.stdout.split())
    assert "Every well-formed instance ID exists and is running, except by its last three" in words
    meanings = ("200, COMPLETED", "200, CANCELED", "200, IN_PROGRESS", "404", "403")
    for end, meaning in zip(ENDS, meanings, strict=True):
        (line,) = [each for each in done.stdout.splitlines() if f"...{end} " in each]
        assert line.endswith(f" {meaning}")
    options = (
        "--port", "--token", "--latency", "--jitter", "--rate-limit", "--error-rate",
        "--reset-rate", "--settle", "--never-settle", "--no-v2", "--no-readback",
        "--executions", "--list-needs-model", "--seed",
    )  # fmt: skip
    helped = words.partition(" Examples: ")[0]
    assert set(options) == {word for word in helped.split() if word.startswith("--")}
    assert "[default: False]" not in words


def test_options_mean_what_their_text_says() -> None:
    """Durations as people write them; without any option all defaults are accepted."""

    def parsed(*tokens: str) -> Options:
        _, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
        bound.apply_defaults()
        options = bound.arguments["options"]
        assert isinstance(options, Options)
        return options

    given = ("--latency", "1m30s", "--jitter", "5ms", "--rate-limit", "2.5", "--settle", "1h")
    assert parsed(*given) == Options(
        latency_s=90, jitter_s=0.005, rate_limit_per_s=2.5, settle_s=3600
    )
    switches = ("--never-settle", "0.2", "--no-v2", "--no-readback", "--list-needs-model")
    assert parsed(*switches, "--executions", "9") == Options(
        never_settle=0.2, no_v2=True, no_readback=True, list_needs_model=True, executions=9
    )
    assert parsed() == Options(latency_s=0.05, jitter_s=0.02, settle_s=1)


def test_a_taken_port_is_a_sentence(tmp_path: Path) -> None:
    """Exit 2, naming the port, without a traceback and without a claim to listen."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = bulkcancel("sandbox", "--port", str(port), cwd=tmp_path)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith("bulkcancel: ")
    assert f" port {port} " in done.stderr
    assert "choose another port" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--latency", "soon", "500ms"),
        ("--error-rate", "2", "0 to 1"),
        ("--rate-limit", "many", "--rate-limit needs a number"),
        ("--never-settle", "20%", "--never-settle needs a number"),
        ("--executions", "-1", "0 to 100000"),
        ("--port", "any", "--port needs a whole number"),
    ],
)
def test_an_option_that_makes_no_sense_is_a_sentence(
    tmp_path: Path, option: str, value: str, said: str
) -> None:
    """Exit 2, saying what it may be; nothing is served."""
    done = bulkcancel("sandbox", option, value, cwd=tmp_path)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith("bulkcancel: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_run_against_it(tmp_path: Path) -> None:
    """Its address is a `--base-url`: a rehearsal in two processes, with the trouble asked for."""
    ids = write_ids(tmp_path / "ids.txt", [*IDS, IDS[0][:-3] + "404"])
    options = ("--error-rate", "0.3", "--seed", "4", "--settle", "1h")
    with _serving(tmp_path, *options) as sandbox:
        target = (
            "--base-url",
            f"http://127.0.0.1:{sandbox.port}",
            "--rate",
            "200",
            "--attempts",
            "20",
        )
        done = bulkcancel("run", ids, *target, cwd=tmp_path)
    assert done.code == 1, done.stderr
    outcomes = {row["instanceId"]: row["outcome"] for row in done.rows()}
    assert outcomes == dict.fromkeys(IDS, "accepted") | {IDS[0][:-3] + "404": "not_found"}
    (finished,) = done.events("run.finished")
    assert int(str(finished["retries"])) > 0
