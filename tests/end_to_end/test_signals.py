"""Stopping: whenever a signal comes, whatever the run is waiting for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import (
    LATE_TIMER,
    Finished,
    bulkcancel,
    command,
    ended,
    environment,
    running,
    write_ids,
)
from tests.support.runs import make_ids
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
HANGUP = [signal.SIGHUP] if sys.platform != "win32" else []
STARTING, MOMENTS = [signal.SIGINT, signal.SIGTERM, *HANGUP], 12


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_drains(tmp_path: Path, number: signal.Signals) -> None:
    """No new ID is taken, what is in flight is answered and recorded, the rest is resumable."""
    ids = make_ids(400)
    write_ids(tmp_path / "ids.txt", ids)
    server = FaultyServer(lambda i, _n: Answer(answers.ok(i).data, delay_s=0.05))
    with running_in_thread(server):
        target = ("--base-url", server.base_url, "--rate", "1000", "--concurrency", "8")
        with running("ids.txt", *target, "--grace", "60", cwd=tmp_path) as process:
            until(lambda: len(server.requests) >= 20)
            process.send_signal(number)
            done = ended(process, tmp_path, within_s=10)
        assert done.code == 128 + number
        rows = done.rows()
        assert {row["instanceId"] for row in rows} == set(server.times_seen)
        assert len(rows) == len(server.requests) < 400
        (finished,) = done.events("run.finished")
        assert finished["not_reached"] == 400 - len(rows)
        assert "--resume" in str(finished["resume_command"])
        again = bulkcancel("run", "ids.txt", *target, "--resume", cwd=tmp_path)
        assert again.code == 0, again.stderr
        assert sorted(row["instanceId"] for row in again.rows()) == sorted(ids)
        assert len(server.requests) == 400


def _silent(_instance_id: str, _nth: int) -> Answer:
    return answers.silence()


def _throttled(_instance_id: str, _nth: int) -> Answer:
    return answers.limited("300")


def _down(_instance_id: str, _nth: int) -> Answer:
    return answers.problem(503)


@pytest.mark.parametrize("plan", [_silent, _throttled, _down])
def test_a_signal_ends_every_kind_of_waiting(
    tmp_path: Path, plan: Callable[[str, int], Answer]
) -> None:
    """A silent server, a 300 s Retry-After and an open breaker do not hold the process."""
    write_ids(tmp_path / "ids.txt", make_ids(60))
    server = FaultyServer(plan)
    with running_in_thread(server):
        target = ("--base-url", server.base_url, "--rate", "500", "--grace", "500ms")
        with running("ids.txt", *target, cwd=tmp_path, fault=LATE_TIMER) as process:
            until(lambda: len(server.requests) >= 1)
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            done = ended(process, tmp_path, within_s=10)
    assert done.code == 143
    assert done.rows() == []
    assert len(done.events("run.finished")) == 1


def test_the_second_signal_cuts(tmp_path: Path) -> None:
    """Requests in flight are abandoned: out at once, without a row for them."""
    write_ids(tmp_path / "ids.txt", make_ids(60))
    server = FaultyServer(_silent)
    with running_in_thread(server):
        target = ("--base-url", server.base_url, "--rate", "500", "--grace", "60")
        with running("ids.txt", *target, cwd=tmp_path) as process:
            until(lambda: len(server.requests) >= 10)
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            done = ended(process, tmp_path, within_s=2)
    assert done.code == 130
    assert done.rows() == []
    assert len(done.events("run.finished")) == 1  # no timer has ended it


def test_an_idle_pipe_does_not_hold_the_process(tmp_path: Path) -> None:
    """Nobody types, the FIFO stays open: a signal still ends the run."""
    (each,) = make_ids(1)
    with running_in_thread(FaultyServer(lambda i, _n: answers.ok(i))) as server:
        target = ("-", "--base-url", server.base_url)
        with running(*target, cwd=tmp_path, stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            process.stdin.write(f"{each}\n".encode())
            process.stdin.flush()
            until(lambda: server.times_seen[each] == 1)
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            assert process.wait(3) == 130
            assert process.stderr is not None
            assert b"Traceback" not in process.stderr.read()
        rows = Finished(0, "", "", tmp_path).rows()
        assert [row["instanceId"] for row in rows] == [each]


TELLS_OF_HANDLERS = """
from bulkcancel.cli import SIGNALS
install = SIGNALS.install
def installed():
    install()
    print("installed", flush=True)
SIGNALS.install = installed
"""


@pytest.mark.parametrize("number", STARTING)
def test_a_signal_during_start_up(tmp_path: Path, number: signal.Signals) -> None:
    """At any moment of the first half second: out at once by the right code, and it resumes.

    Neither a timer nor the end of the input can be what ended it. One handler serves all these
    signals, so they share the moments out among them.
    """
    ids = make_ids(40)
    write_ids(tmp_path / "ids.txt", ids)
    with running_in_thread(FaultyServer(lambda i, _n: answers.ok(i))) as server:
        target = ("--base-url", server.base_url, "--resume")
        for step in range(STARTING.index(number), MOMENTS, len(STARTING)):
            slowly = ("--rate", "1", "--grace", "60")
            # Every other start is a real one; the others have come to their handlers.
            fault = LATE_TIMER + TELLS_OF_HANDLERS if step % 2 else ""
            started = running("ids.txt", *target, *slowly, cwd=tmp_path, fault=fault, cold=True)
            with started as process:
                if fault:
                    assert process.stdout is not None
                    assert process.stdout.readline() == b"installed\n"
                time.sleep(0.05 * step)
                process.send_signal(number)
                out, err = process.communicate(timeout=20)
            if b"Could not import runpy module" in err:  # Python's own, before it has ours in sight
                assert (number, process.returncode, out) == (signal.SIGINT, 1, b"")
                continue
            # A signal before the interpreter has loaded bulkcancel kills the process.
            assert process.returncode in {128 + number, 128 + number if fault else -number}, err
            if process.returncode > 0:
                assert b"Traceback" not in err
            assert out == b""
        done = bulkcancel("run", "ids.txt", *target, "--rate", "1000", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert sorted(row["instanceId"] for row in done.rows()) == sorted(ids)


LOST = """
import os, signal, sys
class Loud:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000): pass  # the handler runs in here, where no exception gets out
"""
WHILE_LOADING = """
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "bulkcancel.{module}": Loud()
sys.meta_path.insert(0, Finder())
"""
BEFORE_THE_RUN = """
from bulkcancel.cli.commands import run as run_command
plan_of = run_command.plan_of
def loudly(*arguments, **options):
    Loud()
    return plan_of(*arguments, **options)
run_command.plan_of = loudly
"""


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(WHILE_LOADING.format(module="cli.app"), id="loading"),
        pytest.param(WHILE_LOADING.format(module="engine"), id="loading the command"),
        pytest.param(WHILE_LOADING.format(module="sandbox"), id="loading the sandbox"),
        pytest.param(BEFORE_THE_RUN, id="before the run"),
    ],
)
def test_a_signal_is_not_lost_where_exceptions_are(tmp_path: Path, moment: str) -> None:
    """In a finalizer, or a callback of the import system, Python drops what the handler raises."""
    write_ids(tmp_path / "ids.txt", make_ids(40))
    fault = LOST + moment
    done = bulkcancel("run", "ids.txt", "--sandbox", cwd=tmp_path, fault=fault, cold=True)
    assert done.code == 143, done.stderr
    assert "accepted" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs unshare")
def test_as_pid_1(tmp_path: Path) -> None:
    """In a container's first process signals have no default: bulkcancel still stops."""
    ids = make_ids(200)
    write_ids(tmp_path / "ids.txt", ids)
    with running_in_thread(FaultyServer(lambda i, _n: answers.ok(i))) as server:
        process = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child=SIGKILL",
             *command("run", "ids.txt", "--base-url", server.base_url, "--rate", "50",
                      "--grace", "60")],
            cwd=tmp_path, env=environment(), stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            try:
                until(lambda: len(server.requests) >= 10)
            except AssertionError:
                pytest.skip("unshare --pid is not permitted here")
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            os.kill(int(children.split()[0]), signal.SIGTERM)
            assert process.wait(10) == 143
        finally:
            process.kill()
            process.communicate()
    assert len(Finished(0, "", "", tmp_path).rows()) == len(server.requests) < 200
