"""SIGHUP: a terminal that closes ends a run in order, `nohup` keeps it running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import (
    LATE_TIMER,
    Finished,
    Process,
    command,
    ended,
    environment,
    running,
    write_ids,
)
from tests.support.runs import make_ids
from tests.support.waiting import until

if sys.platform == "win32":
    pytest.skip("POSIX signals and terminals", allow_module_level=True)

import pty

pytestmark = pytest.mark.slow
IDS = make_ids(300)
RUN = ("ids.txt", "--yes", "--rate", "200", "--summary", "s.json")
TAKES_THE_TERMINAL = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)
"""Makes standard input the controlling terminal, as a login does."""

SECOND_AFTER = f"""{LATE_TIMER}
import os
class Clock:
    at_s = [0.0, {{seconds}}]
    def monotonic(self):
        return self.at_s.pop(0)
process.time = Clock()
real_handle = process.Signals._handle
def handle(self, number, frame):
    real_handle(self, number, frame)
    os.write(1, b"signal\\n")
process.Signals._handle = handle
"""
"""So long passes between two signals by their clock, however long it takes; each is told of."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    write_ids(tmp_path / "ids.txt", IDS)
    slow = FaultyServer(lambda i, _n: Answer(answers.ok(i).data, delay_s=0.3))
    with running_in_thread(slow) as started:
        yield started


def _all_recorded(cwd: Path, server: FaultyServer, number: signal.Signals = signal.SIGHUP) -> None:
    """Stopped by it in the middle; each request had its answer, and each answer its row."""
    rows = Finished(0, "", "", cwd).rows()
    assert sorted(row["instanceId"] for row in rows) == sorted(server.times_seen.elements())
    assert 20 <= len(rows) < len(IDS)
    summary = json.loads((cwd / "s.json").read_text())
    assert summary["exit_code"] == 128 + number
    assert summary["reason"] == f"interrupted by {number.name}"
    assert summary["not_reached"] == len(IDS) - len(rows)
    assert "--resume" in summary["resume_command"]


def _handled(process: Process, number: signal.Signals) -> None:
    """Send a signal; return once it has been handled."""
    process.send_signal(number)
    assert process.stdout is not None
    assert process.stdout.readline() == b"signal\n"


@pytest.mark.parametrize("first", [signal.SIGHUP, signal.SIGTERM])
def test_a_hang_up_drains(tmp_path: Path, server: FaultyServer, first: signal.Signals) -> None:
    """As SIGTERM does. One right behind it is the same event: a shell and the system send both."""
    fault = SECOND_AFTER.format(seconds=0.19)
    with running(*RUN, "--base-url", server.base_url, cwd=tmp_path, fault=fault) as process:
        until(lambda: len(server.requests) >= 20)
        _handled(process, first)
        _handled(process, signal.SIGHUP)
        done = ended(process, tmp_path, within_s=5)
    assert done.code == 128 + first, done.stderr
    _all_recorded(tmp_path, server, first)


def test_a_service_manager_sends_two_signals(tmp_path: Path, server: FaultyServer) -> None:
    """`SendSIGHUP=yes` and the end of a login session: SIGTERM, and SIGHUP right behind it."""
    with running(*RUN, "--base-url", server.base_url, cwd=tmp_path) as process:
        until(lambda: len(server.requests) >= 20)
        process.send_signal(signal.SIGSTOP)  # it sees both at once, however slow this test is
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGCONT)
        done = ended(process, tmp_path, within_s=5)
    assert done.code in {129, 143}, done.stderr  # the lower number may be handled first
    rows = Finished(0, "", "", tmp_path).rows()
    assert sorted(row["instanceId"] for row in rows) == sorted(server.times_seen.elements())


@pytest.mark.alone  # it measures how soon
@pytest.mark.parametrize("second", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_a_hang_up_cuts(
    tmp_path: Path, server: FaultyServer, second: signal.Signals
) -> None:
    """A while later it is somebody who does not want to wait."""
    server.plan = lambda _i, _n: answers.silence()
    target = ("--base-url", server.base_url, "--grace", "60")
    fault = SECOND_AFTER.format(seconds=0.21)
    with running(*RUN, *target, cwd=tmp_path, fault=fault) as process:
        until(lambda: len(server.requests) >= 16)
        _handled(process, signal.SIGHUP)
        assert process.poll() is None
        process.send_signal(second)
        done = ended(process, tmp_path, within_s=1.5)
    assert done.code == 129
    assert done.rows() == []
    assert (tmp_path / "s.json").exists()  # so no timer has ended it


@pytest.mark.parametrize("options", [(), ("--log-format", "json", "--log-level", "debug")])
@pytest.mark.parametrize("shell", [False, True])
def test_a_terminal_that_closes(
    tmp_path: Path, server: FaultyServer, shell: bool, options: tuple[str, ...]
) -> None:
    """Bar, log and summary have nowhere to go any more: the rows and the summary file do."""
    argv = command("run", *RUN, "--base-url", server.base_url, *options)
    if shell:
        argv = ["bash", "-c", '"$@"; echo $? > code; exit 129', "bash", *argv]
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TAKES_THE_TERMINAL, *argv],
        cwd=tmp_path, env=environment(TERM="xterm"), stdin=terminal, stdout=terminal,
        stderr=terminal,
    )  # fmt: skip
    os.close(terminal)
    try:
        until(lambda: len(server.requests) >= 20)
        os.close(master)
        assert process.wait(5) in {129, -signal.SIGHUP if shell else 129}
        until((tmp_path / "s.json").exists)
        until(lambda: not (tmp_path / ".results.csv.lock").exists())
    finally:
        process.kill()
        process.wait()
    _all_recorded(tmp_path, server)


def test_nohup_keeps_it_running(tmp_path: Path, server: FaultyServer) -> None:
    """It ignores SIGHUP on purpose, and every ID is cancelled."""
    write_ids(tmp_path / "ids.txt", IDS[:60])
    process = subprocess.Popen(
        ["nohup", *command("run", *RUN, "--base-url", server.base_url)],
        cwd=tmp_path, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: len(server.requests) >= 20)
        process.send_signal(signal.SIGHUP)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
    assert len(Finished(0, "", "", tmp_path).rows()) == 60
