"""A slow disk, a reader that has stopped: a signal still ends the run, and no answer is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import (
    LATE_TIMER,
    Finished,
    Process,
    bulkcancel,
    command,
    ended,
    environment,
    running,
    write_ids,
)
from tests.support.runs import make_ids
from tests.support.waiting import until

if sys.platform != "win32":
    import fcntl

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
IDS = make_ids(200)
CONCURRENCY = 16
ENDING_S = 1.8
"""What a run may take beyond its grace to write and sync its rows."""
HANG_S = 300

NOTED = """
import os
from bulkcancel.domo.client import DomoClient
real_cancel = DomoClient.cancel
noted = os.open("received.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
async def cancel(self, instance_id, connection):
    answer = await real_cancel(self, instance_id, connection)
    os.write(noted, instance_id.encode() + b"\\n")
    return answer
DomoClient.cancel = cancel
"""
"""Notes each ID whose answer has reached the client."""

TAKES_NOTHING = """
import anyio, pathlib
from bulkcancel.results import ResultsWriter
real_collect = ResultsWriter.collect
async def collect(self, results):
    with anyio.CancelScope(shield=True), anyio.fail_after(20):
        while results.statistics().tasks_waiting_send < {waiting}:
            await anyio.sleep(0.01)
        print("full", flush=True)
        while not pathlib.Path("go-on").exists():
            await anyio.sleep(0.01)
    await real_collect(self, results)
ResultsWriter.collect = collect
"""
"""The writer takes nothing until the stream is full, so many wait to send and it may go on."""

WRITES_SLOWLY = """
import time
from bulkcancel.results import results_file
real_write = results_file.ResultsFile.write
writes = 0
def write(self, results):
    global writes
    writes += 1
    if writes == 3:
        print("writing", flush=True)
        time.sleep({seconds})
    real_write(self, results)
results_file.ResultsFile.write = write
"""
"""The third write waits for the disk."""

SYNC_HANGS = """
import os, stat, time
real_sync, syncs = os.fsync, 0
def fsync(descriptor):
    global syncs
    real_sync(descriptor)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        syncs += 1
    if syncs == 2:
        print("syncing", flush=True)
    if syncs >= 2:
        time.sleep({seconds})
os.fsync = fsync
"""
"""The first sync after the file is there, and each that follows, waits for the disk."""

CLOSE_HANGS = """
import time
from bulkcancel.results import results_file
def close(self):
    print("closing", flush=True)
    time.sleep({seconds})
results_file.ResultsFile.close = close
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    write_ids(tmp_path / "ids.txt", IDS)
    with running_in_thread(FaultyServer()) as started:
        yield started


def _target(server: FaultyServer, *, rate: int = 400, grace: str = "60") -> tuple[str, ...]:
    return ("--base-url", server.base_url, "--rate", f"{rate}", "--grace", grace,
            "--concurrency", f"{CONCURRENCY}")  # fmt: skip


def _says(process: Process, word: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().decode() == f"{word}\n"


def _received(cwd: Path) -> list[str]:
    return sorted((cwd / "received.txt").read_text().split())


def _accepted(done: Finished) -> list[str]:
    return sorted(row["instanceId"] for row in done.rows() if row["outcome"] == "accepted")


def _send_two(process: Process) -> None:
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)


def test_results_that_wait_for_the_writer_are_written_after_a_second_signal(
    tmp_path: Path, server: FaultyServer
) -> None:
    """The stream of results is full: answers that wait for a place in it are not cut off."""
    rows = [*IDS[:CONCURRENCY], *(f"no ID {n}" for n in range(3000))]
    server.plan = lambda i, _n: Answer(answers.ok(i).data, delay_s=0.3)
    fault = LATE_TIMER + NOTED + TAKES_NOTHING.format(waiting=CONCURRENCY)
    with running(
        "-", *_target(server), cwd=tmp_path, stdin=subprocess.PIPE, fault=fault
    ) as process:
        assert process.stdin is not None
        process.stdin.write("".join(f"{each}\n" for each in rows).encode())
        process.stdin.flush()
        _says(process, "full")
        _send_two(process)
        time.sleep(0.2)
        assert process.poll() is None
        (tmp_path / "go-on").touch()
        done = ended(process, tmp_path, within_s=10)
    assert done.code == 130
    assert len(done.events("run.finished")) == 1
    assert _accepted(done) == _received(tmp_path) == sorted(IDS[:CONCURRENCY])


def test_answers_that_come_during_a_slow_write_are_written_after_a_second_signal(
    tmp_path: Path, server: FaultyServer
) -> None:
    """Both signals come while it waits for the disk, and so do the answers to all in flight."""
    server.plan = lambda i, _n: Answer(answers.ok(i).data, delay_s=0.05)
    fault = LATE_TIMER + NOTED + WRITES_SLOWLY.format(seconds=0.6)
    with running("ids.txt", *_target(server), cwd=tmp_path, fault=fault) as process:
        _says(process, "writing")
        time.sleep(0.2)
        _send_two(process)
        done = ended(process, tmp_path, within_s=10)
    assert done.code == 130
    assert len(done.events("run.finished")) == 1
    assert _accepted(done) == _received(tmp_path)
    assert CONCURRENCY < len(server.requests) < len(IDS)


PIPE_BYTES = 4096


@contextmanager
def _into_a_pipe(
    server: FaultyServer, cwd: Path, *options: str, stream: int, fault: str = "", full: int = 0
) -> Iterator[tuple[Process, int]]:
    """Run with this standard stream into a pipe of one page; yields its other end.

    `full` is how many of its bytes are taken already.
    """
    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        pytest.skip("pipes have one size here")
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.write(write, b" " * full)
    elsewhere = (cwd / "elsewhere").open("wb")
    with elsewhere, subprocess.Popen(
        command("run", "ids.txt", *_target(server, grace="200ms"), *options, fault=fault),
        cwd=cwd, env=environment(), stdin=subprocess.DEVNULL,
        stdout=write if stream == 1 else elsewhere, stderr=write if stream == 2 else elsewhere,
    ) as process:  # fmt: skip
        os.close(write)
        try:
            yield process, read
        finally:
            process.kill()
            os.close(read)


def _read_to_the_end(pipe: int) -> bytes:
    return b"".join(iter(lambda: os.read(pipe, 65536), b""))


def _stuck(server: FaultyServer) -> None:
    """Return once nothing has been sent for a while: it waits for its reader."""
    until(lambda: bool(server.requests) and time.monotonic() - server.requests[-1].at > 0.5)
    assert len(server.requests) < len(IDS)


def test_a_slow_reader_gets_every_row_after_a_second_signal(
    tmp_path: Path, server: FaultyServer
) -> None:
    """It reads on within a moment: nothing received is missing, no row is torn."""
    fault = LATE_TIMER + NOTED
    with _into_a_pipe(server, tmp_path, "-o", "-", stream=1, fault=fault) as (process, rows):
        _stuck(server)
        _send_two(process)
        time.sleep(0.1)
        (tmp_path / "rows.csv").write_bytes(_read_to_the_end(rows))
        assert process.wait(10) == 130
    said = (tmp_path / "elsewhere").read_text()
    done = Finished(130, (tmp_path / "rows.csv").read_text(), said, tmp_path)
    assert len(done.events("run.finished")) == 1
    assert sorted(row["instanceId"] for row in done.rows("rows.csv")) == _received(tmp_path)
    assert len(_received(tmp_path)) >= CONCURRENCY


@pytest.mark.parametrize(
    ("fault", "moment"),
    [
        pytest.param(SYNC_HANGS, "syncing", id="a sync"),
        pytest.param(WRITES_SLOWLY, "writing", id="a write"),
        pytest.param(CLOSE_HANGS, "closing", id="the end"),
    ],
)
def test_a_disk_that_hangs_does_not_hold_a_stop(
    tmp_path: Path, server: FaultyServer, fault: str, moment: str
) -> None:
    """Out about two seconds after the grace, by the signal's code; the rest is resumed."""
    ids = IDS[:40] if moment == "closing" else IDS
    write_ids(tmp_path / "ids.txt", ids)
    target = _target(server, grace="200ms")
    hangs = fault.format(seconds=HANG_S)
    with running("ids.txt", *target, cwd=tmp_path, fault=hangs) as process:
        _says(process, moment)
        process.send_signal(signal.SIGTERM)
        done = ended(process, tmp_path, within_s=ENDING_S + 4)
    assert done.code == 143
    assert done.events("run.finished") == []  # so it did hang
    again = bulkcancel("run", "ids.txt", *target, "--resume", cwd=tmp_path)
    assert again.code == 0, again.stderr
    assert _accepted(again) == sorted(ids)
    assert len(server.requests) <= len(ids) + 2 * CONCURRENCY


@pytest.mark.parametrize(
    ("options", "stream"), [(("-o", "-"), 1), (("--log-level", "debug"), 2)], ids=["rows", "log"]
)
def test_a_reader_that_has_stopped_does_not_hold_a_stop(
    tmp_path: Path, server: FaultyServer, options: tuple[str, ...], stream: int
) -> None:
    """A pipe that is full and stays so: out about two seconds after the grace all the same."""
    fails = set(IDS[::3])
    server.plan = lambda i, n: answers.problem(500) if i in fails and n == 1 else answers.ok(i)
    with _into_a_pipe(server, tmp_path, *options, stream=stream) as (process, said):
        _stuck(server)
        process.send_signal(signal.SIGTERM)
        assert process.wait(ENDING_S + 4) == 143
        log = os.read(said, 65536) if stream == 2 else (tmp_path / "elsewhere").read_bytes()
    assert b"run.planned" in log
    assert b"run.finished" not in log  # so it did hang


@pytest.mark.parametrize(
    ("room", "requests"), [(0, 0), (500, 20)], ids=["before the run", "after the run"]
)
def test_a_log_that_nobody_reads_does_not_hold_a_signal(
    tmp_path: Path, server: FaultyServer, room: int, requests: int
) -> None:
    """Where there is no room for the plan, or for the summary, one signal is enough as well."""
    write_ids(tmp_path / "ids.txt", IDS[:20])
    full = PIPE_BYTES - room
    with _into_a_pipe(server, tmp_path, stream=2, full=full) as (process, said):
        until((tmp_path / ".results.csv.lock").exists)
        until(lambda: len(server.requests) == requests)
        time.sleep(0.5)
        assert len(server.requests) == requests
        process.send_signal(signal.SIGTERM)
        assert process.wait(5 + 4) == 143
        assert b"run.finished" not in os.read(said, 65536)  # so it did hang
