"""Memory: so many bytes an ID for files, flat for a pipe however long it is."""

from __future__ import annotations

import os
import subprocess
import time
import tracemalloc
from pathlib import Path

import pytest

from bulkcancel.ids import IdSet
from bulkcancel.inputs import InputOptions, check_files
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import Process, ended, running
from tests.support.runs import make_ids
from tests.support.waiting import until

pytestmark = pytest.mark.slow

linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
MANY = 120_000
FIRST, LAST = make_ids(2)


def _peak_mb(process: Process) -> float:
    """The most memory the process has ever held (`VmHWM`)."""
    (line,) = [
        line
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    ]
    return int(line.split()[1]) / 1024


def test_a_checked_file_costs_a_hundred_bytes_an_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The IDs, their lines and the set that finds duplicates: all that is kept of 120,000 rows.

    Here there are half as many, in half as many buckets.
    """
    monkeypatch.setattr(IdSet, "_MASK", 0x7FFF)
    count = 60_000
    path = tmp_path / "ids.csv"
    rows = (f"{n},{n:08x}-0000-4000-8000-{n * n:012x},IN_PROGRESS\n" for n in range(count))
    path.write_text("n,instanceId,status\n" + "".join(rows))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        checked = check_files([str(path)], InputOptions())
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(checked) == count
    assert (after - before) / count <= 100
    assert (peak - before) / count <= 125


@linux
def test_a_pipe_of_duplicates(tmp_path: Path) -> None:
    """120,000 times the same ID: sent once, counted, and nothing kept of it."""
    with running_in_thread(FaultyServer()) as server:
        target = ("-", "--base-url", server.base_url, "--rate", "1000")
        with running(*target, cwd=tmp_path, stdin=subprocess.PIPE, cold=True) as process:
            assert process.stdin is not None
            process.stdin.write(f"{FIRST}\n".encode())
            process.stdin.flush()
            until(lambda: server.times_seen[FIRST] == 1)
            time.sleep(0.2)
            before = _peak_mb(process)
            process.stdin.write(f"{FIRST}\n".encode() * MANY)
            process.stdin.write(f"{LAST}\n".encode())
            process.stdin.flush()
            until(lambda: server.times_seen[LAST] == 1, within_s=30)
            after = _peak_mb(process)
            done = ended(process, tmp_path, within_s=10)
        assert server.times_seen == {FIRST: 1, LAST: 1}
    assert done.code == 0, done.stderr
    (finished,) = done.events("run.finished")
    assert finished["duplicates"] == MANY
    assert len(done.rows()) == 2
    assert after < 150
    assert after - before < 8


@linux
def test_a_pipe_is_read_no_faster_than_it_is_cancelled(tmp_path: Path) -> None:
    """An endless one is held back by the pace, so it needs no room however much it would give."""
    endless = "".join(f"{n:08x}-0000-4000-8000-000000000aaa\n" for n in range(MANY)).encode()
    with running_in_thread(FaultyServer()) as server:
        target = ("-", "--base-url", server.base_url, "--rate", "50", "--concurrency", "4")
        with running(*target, cwd=tmp_path, stdin=subprocess.PIPE, cold=True) as process:
            assert process.stdin is not None
            pipe = process.stdin.fileno()
            os.set_blocking(pipe, False)
            taken, began = 0, time.monotonic()
            while time.monotonic() - began < 1.5 or len(server.requests) < 20:
                assert time.monotonic() - began < 30
                try:
                    taken += os.write(pipe, endless[taken : taken + 4096])
                except BlockingIOError:
                    time.sleep(0.01)
            peak_mb = _peak_mb(process)
    # What the pipe itself holds, and a chunk or two that are being worked on.
    assert taken <= 4 * 64 * 1024
    assert peak_mb < 150
