"""Signals, whatever a run is busy with: the right code, at once, and what was done stays done."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bulkcancel.models import CancelResult
from bulkcancel.results.codec import Format
from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import LATE_TIMER, Finished, Process, ended, running, write_ids
from tests.support.results import content, result
from tests.support.runs import make_ids
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
linux = pytest.mark.skipif(not Path("/proc/self/fdinfo").is_dir(), reason="needs /proc")
HANGUP = [signal.SIGHUP] if sys.platform != "win32" else []
EACH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, *HANGUP])
IDS = make_ids(60)
LONG_BACK_OFF = "import bulkcancel.engine.canceller as c; c.equal_jitter = lambda *_, **__: 60.0"


@dataclass(frozen=True)
class State:
    """What a run waits for after five successes."""

    answer: Answer | None
    """What every later request is answered; `None`: none is sent."""
    requests: int
    """How many the server has seen by then."""
    options: tuple[str, ...] = ("--rate", "500")
    grace_s: float = 30.0
    """Where nothing is in flight, no grace is waited for."""
    fault: str = ""


STATES = {
    "back-off": State(
        answers.problem(503), 6, ("--rate", "500", "--concurrency", "1"), fault=LONG_BACK_OFF
    ),
    "Retry-After": State(answers.limited("300"), 6),
    "silence": State(answers.silence(), 5 + 16, grace_s=0.4),
    "breaker": State(answers.problem(503), 5 + 10),
    "rate": State(None, 5, ("--rate", "0.2", "--burst", "5")),
}


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with running_in_thread(FaultyServer()) as started:
        yield started


def _after_five(server: FaultyServer, answer: Answer | None) -> None:
    def plan(instance_id: str, _nth: int) -> Answer:
        if answer is None or len(server.requests) <= 5:
            return answers.ok(instance_id)
        return answer

    server.plan = plan


def _stopped(done: Finished, number: signal.Signals, server: FaultyServer) -> None:
    """Stopped by that signal, with the rows of the five successes on disk and told how to go on.

    What the server has seen and what it has not are told apart.
    """
    assert done.code == 128 + number, done.stderr
    assert [row["outcome"] for row in done.rows()] == ["accepted"] * 5
    (finished,) = done.events("run.finished")
    assert finished["unanswered"] == len(server.times_seen) - 5
    assert finished["not_reached"] == len(IDS) - len(server.times_seen)
    assert "--resume" in str(finished["resume_command"])


@EACH
@pytest.mark.parametrize("name", STATES)
def test_a_signal_ends_each_kind_of_waiting(
    tmp_path: Path, server: FaultyServer, name: str, number: signal.Signals
) -> None:
    """It is woken at once, sends nothing more, and keeps the rows of the five successes."""
    state = STATES[name]
    write_ids(tmp_path / "ids.txt", IDS)
    _after_five(server, state.answer)
    target = ("--base-url", server.base_url, "--grace", f"{state.grace_s}", *state.options)
    fault = LATE_TIMER + state.fault
    with running(
        "ids.txt", *target, "--log-file", "log.jsonl", cwd=tmp_path, fault=fault
    ) as process:
        until(lambda: len(server.requests) >= state.requests)
        if name == "breaker":
            until(lambda: b"breaker.opened" in (tmp_path / "log.jsonl").read_bytes())
        time.sleep(0.15)
        assert process.poll() is None
        seen = len(server.requests)
        process.send_signal(number)
        in_flight_s = state.grace_s if name == "silence" else 0
        done = ended(process, tmp_path, within_s=in_flight_s + 2)
    _stopped(done, number, server)
    assert len(server.requests) == seen


LAST_SYNC_IS_SLOW = """
import os, time
from bulkcancel.results import results_file
real = results_file.ResultsFile.close
def close(self):
    if not self._closed:
        print("closing", flush=True)
        time.sleep({seconds})
    real(self)
results_file.ResultsFile.close = close
"""


def _closing(process: Process) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == b"closing\n"


def test_a_signal_when_all_is_done_changes_nothing(tmp_path: Path, server: FaultyServer) -> None:
    """While the last rows are synced there is nothing left to stop: the code is the run's."""
    write_ids(tmp_path / "ids.txt", IDS[:20])
    options = ("--base-url", server.base_url, "--rate", "500", "--summary", "s.json")
    fault = LAST_SYNC_IS_SLOW.format(seconds=1)
    with running("ids.txt", *options, cwd=tmp_path, fault=fault) as process:
        _closing(process)
        process.send_signal(signal.SIGINT)
        done = ended(process, tmp_path, within_s=3)
    assert done.code == 0
    assert len(done.rows()) == 20
    assert (tmp_path / "s.json").exists()


def test_a_second_signal_ends_even_a_disk_that_hangs(tmp_path: Path, server: FaultyServer) -> None:
    """Within a second; every row has long been handed to the system."""
    write_ids(tmp_path / "ids.txt", IDS[:20])
    options = ("--base-url", server.base_url, "--rate", "500")
    fault = LAST_SYNC_IS_SLOW.format(seconds=60)
    with running("ids.txt", *options, cwd=tmp_path, fault=fault) as process:
        _closing(process)
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        done = ended(process, tmp_path, within_s=1.5)
    assert done.code == 130
    assert len(done.rows()) == 20


@pytest.mark.parametrize(
    ("first", "second"), [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)]
)
def test_a_second_signal_keeps_the_rows(
    tmp_path: Path, server: FaultyServer, first: signal.Signals, second: signal.Signals
) -> None:
    """Out within about a second, by the first signal's code, with every answer received on disk."""
    write_ids(tmp_path / "ids.txt", IDS)
    _after_five(server, answers.silence())
    target = ("--base-url", server.base_url, "--grace", "60", "--rate", "500")
    with running("ids.txt", *target, cwd=tmp_path) as process:
        until(lambda: len(server.requests) >= 5 + 16)
        process.send_signal(first)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(second)
        done = ended(process, tmp_path, within_s=1.5)
    _stopped(done, first, server)


@pytest.mark.parametrize("written", [None, f"{IDS[0]}\n"])
def test_an_idle_fifo_as_a_file(tmp_path: Path, server: FaultyServer, written: str | None) -> None:
    """One that nobody opens and one that never ends: a signal ends the reading, nothing is sent."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = None if written is None else os.open(fifo, os.O_RDWR)
    target = ("--base-url", server.base_url, "--log-file", "log.jsonl")
    try:
        with running("fifo", *target, cwd=tmp_path) as process:
            if writer is not None and written is not None:
                os.write(writer, written.encode())
            until((tmp_path / "log.jsonl").exists)
            time.sleep(0.1)
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=1.5)
    finally:
        fifo.unlink()
        if writer is not None:
            os.close(writer)
    assert (process.returncode, out) == (130, b"")
    assert json.loads(err)["error"] == "interrupted by SIGINT: nothing was sent"
    assert server.requests == []
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_an_idle_fifo_as_standard_input(tmp_path: Path, server: FaultyServer) -> None:
    """The thread that waits for a first line does not hold the process."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    idle = os.open(fifo, os.O_RDWR)
    try:
        with running("-", "--base-url", server.base_url, cwd=tmp_path, stdin=idle) as process:
            until((tmp_path / "results.csv").exists)
            time.sleep(0.1)
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            done = ended(process, tmp_path, within_s=1.5)
    finally:
        os.close(idle)
        fifo.unlink()
    assert done.code == 143
    assert done.rows() == []
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]


def _many(count: int) -> Iterator[str]:
    return (f"{n:08x}-0000-4000-8000-{n:012x}" for n in range(count))


def _read_so_far(process: Process, path: Path) -> int:
    """How many bytes of a file the process has read, by its open descriptor."""
    assert process.poll() is None
    for each in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            if each.readlink() == path:
                info = Path(f"/proc/{process.pid}/fdinfo/{each.name}").read_text()
                return int(info.split()[1])
        except FileNotFoundError:
            continue
    return 0


@linux
@EACH
def test_a_signal_while_a_large_input_is_read(
    tmp_path: Path, server: FaultyServer, number: signal.Signals
) -> None:
    """Half of 400,000 rows is no list to begin with: nothing is sent, no file is made."""
    path = tmp_path / "ids.txt"
    path.write_text("\n".join(_many(400_000)))
    with running("ids.txt", "--base-url", server.base_url, cwd=tmp_path) as process:
        until(lambda: _read_so_far(process, path) > 1_000_000)
        process.send_signal(number)
        done = ended(process, tmp_path, within_s=1.5)
    assert done.code == 128 + number
    assert "nothing was sent" in done.stderr
    assert server.requests == []
    assert [each.name for each in tmp_path.iterdir()] == ["ids.txt"]


@pytest.fixture(scope="module")
def large() -> bytes:
    """A results file of 200,001 rows, the first of which a resume takes out: it is broken."""
    row: CancelResult = result(IDS[0], host="HOST")
    first = content(Format.CSV) + b"broken\n"
    line = content(Format.CSV, row).removeprefix(Format.CSV.header).decode()
    return first + "".join(line.replace(IDS[0], each) for each in _many(200_000)).encode()


@linux
@pytest.mark.parametrize(
    ("moment", "number"), [("reading", signal.SIGINT), ("rewriting", signal.SIGTERM)]
)
def test_a_signal_while_results_are_read_back(
    tmp_path: Path, server: FaultyServer, large: bytes, moment: str, number: signal.Signals
) -> None:
    """200,001 rows being resumed or rewritten are all still there, and nothing is left beside."""
    write_ids(tmp_path / "ids.txt", IDS)
    path, rewritten = tmp_path / "results.csv", tmp_path / ".results.csv.rewrite"
    large = large.replace(b"HOST", server.host.encode())
    path.write_bytes(large)
    with running("ids.txt", "--base-url", server.base_url, "--resume", cwd=tmp_path) as process:
        if moment == "reading":
            until(lambda: _read_so_far(process, path) > 1_000_000)
        else:
            quarter = len(large) // 4
            for part in (quarter, 2 * quarter, 3 * quarter):  # slow beside others, but going on
                until(lambda: _read_so_far(process, path) >= part)  # noqa: B023 - called at once
            until(rewritten.exists)
        process.send_signal(number)
        done = ended(process, tmp_path, within_s=3)
    assert done.code == 128 + number
    assert server.requests == []
    assert sorted(each.name for each in tmp_path.iterdir()) == ["ids.txt", "results.csv"]
    assert path.read_bytes() == large


def test_a_stopped_process_goes_on_as_if_nothing_had_been(
    tmp_path: Path, server: FaultyServer
) -> None:
    """After 2.5 s of SIGSTOP no request counts as timed out and none is made up for in a burst."""
    rate = 50
    ids = make_ids(5 * rate // 2)
    write_ids(tmp_path / "ids.txt", ids)
    server.plan = lambda i, _n: Answer(answers.ok(i).data, delay_s=0.3)
    target = ("--base-url", server.base_url, "--rate", f"{rate}", "--concurrency", "64")
    with running("ids.txt", *target, "--timeout", "1", cwd=tmp_path) as process:
        until(lambda: len(server.requests) >= rate)
        process.send_signal(signal.SIGSTOP)
        in_flight = server.in_flight
        time.sleep(2.5)
        process.send_signal(signal.SIGCONT)
        went_on = time.monotonic()
        done = ended(process, tmp_path, within_s=10)
    assert in_flight >= 5
    assert done.code == 0, done.stderr
    assert sorted(row["instanceId"] for row in done.rows()) == sorted(ids)
    assert {row["attempts"] for row in done.rows()} == {"1"}
    after = [seen.at for seen in server.requests if seen.at >= went_on]
    assert len(after) >= rate
    assert max(sum(at <= other < at + 1 for other in after) for at in after) <= rate + 2
