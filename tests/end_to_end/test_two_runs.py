"""Two runs on one results file, in step by pipes instead of luck with the clock."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import Finished, Process, bulkcancel, environment, running
from tests.support.runs import make_ids
from tests.support.waiting import until

RACES = 3
FOUR = 4
TAKE_TURNS = """
import os, sys
from pathlib import Path
from bulkcancel.errors import BusyError
from bulkcancel.results.lock import FileLock
inside, held = Path("inside"), 0
while held < 150:
    try:
        lock = FileLock(Path("results.csv"))
    except BusyError:
        continue
    inside.touch(exist_ok=False)
    inside.unlink()
    lock.release()
    held += 1
"""


@contextmanager
def _fed(cwd: Path, server: FaultyServer, *options: str) -> Iterator[Process]:
    """A run that lasts as long as its standard input is open."""
    target = ("-", "--base-url", server.base_url)
    with running(*target, *options, cwd=cwd, stdin=subprocess.PIPE) as process:
        yield process


def _feed(process: Process, instance_id: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{instance_id}\n".encode())
    process.stdin.flush()


@pytest.mark.parametrize("race", range(RACES))
def test_of_two_started_together_one_runs(tmp_path: Path, race: int) -> None:
    """A schedule that overlaps: one is refused with exit 6, the other does the work alone."""
    (each,) = make_ids(1, race + 1)
    with running_in_thread(FaultyServer()) as server, ExitStack() as stack:
        both = [stack.enter_context(_fed(tmp_path, server)) for _ in range(2)]
        until(lambda: any(process.poll() is not None for process in both), 30)
        (refused,) = [process for process in both if process.poll() is not None]
        (winner,) = [process for process in both if process is not refused]
        assert server.requests == []
        _, said = refused.communicate()
        assert refused.returncode == 6, said
        # The winner locks first and signs then: in between nobody can say who it is.
        assert f"process {winner.pid} on " in said.decode() or b"another run holds" in said
        out, err = winner.communicate(f"{each}\n".encode(), timeout=30)
        assert winner.returncode == 0, err
        assert [row["instanceId"] for row in Finished(0, "", "", tmp_path).rows()] == [each]
        assert out == b""
        assert len(server.requests) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_end_of_a_process_frees_the_file(tmp_path: Path, number: int) -> None:
    """While it lives its number is given; however it dies, the next run takes over."""
    first, second = make_ids(2)
    with running_in_thread(FaultyServer()) as server:
        with _fed(tmp_path, server, "--resume") as process:
            _feed(process, first)
            until(lambda: server.times_seen[first] == 1)
            again = ("run", "-", "--base-url", server.base_url, "--resume")
            refused = bulkcancel(*again, cwd=tmp_path, stdin=b"")
            assert refused.code == 6
            assert f"process {process.pid} on " in refused.stderr
            process.send_signal(number)
            process.wait(5)
        done = bulkcancel(*again, cwd=tmp_path, stdin=f"{first}\n{second}\n".encode())
        assert done.code == 0, done.stderr
    assert sorted(row["instanceId"] for row in done.rows()) == sorted([first, second])
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]


def test_the_lock_is_never_held_twice(tmp_path: Path) -> None:
    """Removing its file on release lets no two in, however fast they come and go."""
    (tmp_path / "results.csv").touch()
    root = str(Path(__file__).parents[2])
    crowd = [
        subprocess.Popen(
            [sys.executable, "-c", TAKE_TURNS], cwd=tmp_path,
            env=environment(PYTHONPATH=root), stderr=subprocess.PIPE,
        )
        for _ in range(FOUR)
    ]  # fmt: skip
    errors = [process.communicate(timeout=100)[1].decode() for process in crowd]
    assert errors == [""] * FOUR
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]
