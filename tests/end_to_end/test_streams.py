"""Standard streams that are closed, full or left by their reader: the results do not suffer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import (
    Finished,
    assert_it_adds_up,
    assert_no_canary,
    command,
    environment,
    write_ids,
)
from tests.support.runs import make_ids
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
IDS = make_ids(40)


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with running_in_thread(FaultyServer()) as started:
        yield started


def _shell(script: str, *arguments: str | Path, cwd: Path) -> Finished:
    """Run a line of bash in which `run` is bulkcancel with these arguments."""
    done = subprocess.run(
        ["bash", "-c", f'run() {{ "${{command[@]}}"; }}; command=("$@"); {script}', "bash",
         *command("run", *arguments)],
        cwd=cwd, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False,
        timeout=60,
    )  # fmt: skip
    finished = Finished(done.returncode, done.stdout.decode(), done.stderr.decode(), cwd)
    assert_no_canary(finished)
    if "| head" not in script:  # it may have left with rows unread
        assert_it_adds_up(finished, resumed=False)
    assert "Traceback" not in finished.stdout + finished.stderr
    return finished


def _target(cwd: Path, server: FaultyServer, ids: list[str]) -> tuple[str, ...]:
    write_ids(cwd / "ids.txt", ids)
    return ("ids.txt", "--base-url", server.base_url, "--rate", "200")


def _complete(done: Finished, server: FaultyServer) -> None:
    """One good row for each ID, nothing but rows in the file, and each sent once."""
    assert sorted(server.times_seen.elements()) == sorted(IDS)
    assert sorted(row["instanceId"] for row in done.rows()) == sorted(IDS)
    assert {row["outcome"] for row in done.rows()} == {"accepted"}
    lines = (done.directory / "results.csv").read_text().splitlines()
    assert [line.count(",") for line in lines] == [12] * (1 + len(IDS))


@pytest.mark.parametrize(("look", "level"), [("json", "info"), ("console", "debug")])
def test_a_log_whose_reader_leaves(
    tmp_path: Path, server: FaultyServer, look: str, level: str
) -> None:
    """`2>&1 | head -1` sees its line; the run goes on to its end and says 0."""
    target = (*_target(tmp_path, server, IDS), "--log-format", look, "--log-level", level)
    done = _shell("run 2>&1 | head -1; exit ${PIPESTATUS[0]}", *target, cwd=tmp_path)
    assert done.code == 0
    assert len(done.stdout.splitlines()) == 1
    _complete(done, server)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_closed_and_full_streams(tmp_path: Path, server: FaultyServer, closed: str) -> None:
    """Without input, output or errors, or with a full disk behind them, the run is as ever."""
    done = _shell(f"run {closed}", *_target(tmp_path, server, IDS), cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert done.stdout == ""
    assert bool(done.events("run.finished")) is ("2>" not in closed)
    _complete(done, server)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_no_file_takes_the_place_of_a_closed_stream(tmp_path: Path, server: FaultyServer) -> None:
    """With 0, 1 and 2 closed, what writes to standard error does not write into the results."""
    target = _target(tmp_path, server, IDS)
    process = subprocess.Popen(
        ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", *command("run", *target)],
        cwd=tmp_path,
        env=environment(),
    )
    try:
        until(lambda: len(server.requests) >= 2)
        held = [Path(f"/proc/{process.pid}/fd/{each}").readlink() for each in range(3)]
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    assert held == [Path("/dev/null")] * 3
    _complete(Finished(0, "", "", tmp_path), server)


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("run <&-", ("-",), "standard input is closed"),
        ("run <&-", (), "no input"),
        ("run >&-", ("ids.txt", "-o", "-"), "standard output is closed"),
    ],
)
def test_a_closed_stream_that_is_needed(
    tmp_path: Path, server: FaultyServer, script: str, arguments: tuple[str, ...], said: str
) -> None:
    """Input from one, or results to one, is a mistake told before anything is sent: exit 2."""
    write_ids(tmp_path / "ids.txt", IDS)
    done = _shell(script, *arguments, "--base-url", server.base_url, cwd=tmp_path)
    assert done.code == 2
    assert said in done.stderr
    assert server.requests == []
    assert [path.name for path in tmp_path.iterdir()] == ["ids.txt"]


@pytest.mark.parametrize("script", ["run | head -1; exit ${PIPESTATUS[0]}", "run >/dev/full"])
def test_results_that_nobody_takes(tmp_path: Path, server: FaultyServer, script: str) -> None:
    """`-o - | head -1` and a full disk: nothing more is sent once it is noticed, exit 5."""
    target = _target(tmp_path, server, make_ids(600))
    done = _shell(script, *target, "-o", "-", cwd=tmp_path)
    assert done.code == 5
    assert done.stdout in {"", f"{','.join(_COLUMNS)}\n"}
    assert "cannot write the results to standard output" in done.stderr
    assert len(server.requests) < 300


_COLUMNS = (
    "instanceId", "outcome", "status", "modelName", "modelVersion", "modelId", "httpStatus",
    "attempts", "error", "latencyMs", "finishedAt", "host", "source",
)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "ending"),
    [("--help", ">&-"), ("--version", ">&-"), ("run --help", "| head -1 >/dev/null")],
)
def test_help_that_nobody_reads(tmp_path: Path, arguments: str, ending: str) -> None:
    """The reader of the help may leave early, or not be there at all: no traceback."""
    script = f'"$@" {arguments} {ending}'
    done = subprocess.run(
        ["bash", "-c", script, "bash", *command()],
        cwd=tmp_path, env=environment(), capture_output=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr == b""
