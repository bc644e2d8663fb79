"""The command that finishes a stopped run: it works as printed, or says what is missing."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkcancel.reporting.finish import finish_command
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import Finished, bulkcancel, command, environment, write_ids
from tests.support.runs import make_ids

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX shells and descriptors")
IDS = make_ids(30)
PIPE = "pipe the same IDs into"
REDIRECT = "redirect the same file into"
PROXY_LOGIN = "with the proxy's user:password in place of LOGIN"
STAND_IN = "with a file of the same content in place of FILE"


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with running_in_thread(FaultyServer()) as running:
        yield running


@pytest.mark.parametrize(
    ("line", "inputs", "command", "needs"),
    [
        ("run a.csv -o r.csv", "a.csv", "run --resume a.csv -o r.csv", ""),
        ("run a.csv --resume --again failed", "a.csv", "run --resume a.csv --again failed", ""),
        ("run --overwrite=true a.csv", "a.csv", "run --resume a.csv", ""),
        (
            "run 'my runs.csv' --where 'Team=A B' --limit 5 --expect-count 30 --sandbox",
            "'my runs.csv'",
            "run --resume 'my runs.csv' --where 'Team=A B' --limit 5 --expect-count 30 --sandbox",
            "",
        ),
        ("run a.csv --shard 3/8", "a.csv", "run --resume a.csv --shard 3/8", ""),
        (f"run {IDS[0]} --yes", IDS[0], f"run --resume {IDS[0]} --yes", ""),
        ("run - --yes", "-", "run --resume - --yes", PIPE),
        ("run --yes", "-", "run --resume - --yes", PIPE),
        ("run a.csv -", "a.csv -", "run --resume a.csv -", PIPE),
        ("run /dev/stdin", "/dev/stdin", "run --resume /dev/stdin", PIPE),
        ("run /dev/fd/63", "/dev/fd/63", "run --resume FILE", STAND_IN),
        ("run -- /proc/self/fd/12", "/proc/self/fd/12", "run --resume -- FILE", STAND_IN),
        ("run fifo", "fifo", "run --resume FILE", STAND_IN),
        ("run - /dev/fd/9", "- /dev/fd/9", "run --resume - FILE", f"{PIPE}, {STAND_IN}"),
        (
            "run a.csv --token-file /dev/fd/63 --config=/dev/fd/62",
            "a.csv",
            "run --resume a.csv --token-file FILE --config=FILE",
            STAND_IN,
        ),
        ("run a.csv --proxy gate:8", "a.csv", "run --resume a.csv --proxy gate:8", ""),
        ("run --proxy u:p@gate:8 a", "a", "run --resume --proxy LOGIN@gate:8 a", PROXY_LOGIN),
        (
            "run a.csv --proxy http://u:p%40@gate:8 --rate 5",
            "a.csv",
            "run --resume a.csv --proxy http://LOGIN@gate:8 --rate 5",
            PROXY_LOGIN,
        ),
        (
            "run a.csv --proxy=HTTP://u:p@q@gate:8",
            "a.csv",
            "run --resume a.csv --proxy=HTTP://LOGIN@gate:8",
            PROXY_LOGIN,
        ),
        ("run a@b.csv --rate 5", "a@b.csv", "run --resume a@b.csv --rate 5", ""),
        ("run a/dev/fd/63.csv", "a/dev/fd/63.csv", "run --resume a/dev/fd/63.csv", ""),
        ("run a.csv --where x=a/dev/fd/1", "a.csv", "run --resume a.csv --where x=a/dev/fd/1", ""),
    ],
)
def test_what_is_kept_and_what_is_missing(
    *, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, inputs: str, command: str,
    needs: str,
) -> None:  # fmt: skip
    """All that was typed stays; names that only the dead process had are never printed."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    reading, writing = os.pipe()
    kept = os.dup(0)
    try:
        os.dup2(reading, 0)
        finish = finish_command(shlex.split(line), shlex.split(inputs), ())
    finally:
        os.dup2(kept, 0)
        for each in (kept, reading, writing):
            os.close(each)
    assert finish.command == f"bulkcancel {command}"
    assert finish.needs == needs


def _stopped(cwd: Path, line: str, **variables: str) -> Finished:
    """Run a shell's line in which `{run}` is a run that its deadline stops."""
    run = shlex.join(command("run"))
    env = environment(BULKCANCEL_RATE="20", **variables)
    done = subprocess.run(
        ["bash", "-c", line.format(run=f"{run} --deadline 400ms")],
        cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    return Finished(4, done.stdout, done.stderr, cwd)


@pytest.mark.parametrize(
    ("line", "needs", "typed"),
    [
        ("cat ids.txt | {run}", PIPE, "run --resume - --deadline 400ms"),
        ("{run} < ids.txt", REDIRECT, "run --resume - --deadline 400ms"),
        ("{run} <(cat ids.txt)", STAND_IN, "run --resume --deadline 400ms FILE"),
    ],
)
def test_ids_that_are_gone(
    tmp_path: Path, server: FaultyServer, line: str, needs: str, typed: str
) -> None:
    """A pipe, a redirected file, a process substitution: with what is missing the rest is done."""
    write_ids(tmp_path / "ids.txt", IDS)
    done = _stopped(tmp_path, line, BULKCANCEL_BASE_URL=server.base_url)
    (finished,) = done.events("run.finished")
    assert finished["resume_command"] == f"bulkcancel {typed}"
    variables = "with BULKCANCEL_BASE_URL and BULKCANCEL_RATE set as for this run"
    assert finished["resume_needs"] == f"{variables}, {needs}"
    again = typed.replace("400ms", "1h").replace("FILE", "ids.txt").split()
    stdin = (tmp_path / "ids.txt").read_bytes() if "-" in again else None
    env = environment(BULKCANCEL_BASE_URL=server.base_url, BULKCANCEL_RATE="10000")
    assert bulkcancel(*again, cwd=tmp_path, stdin=stdin, env=env).code == 0
    assert sorted(seen.instance_id for seen in server.requests) == sorted(IDS)


def test_the_words_on_a_screen(tmp_path: Path, server: FaultyServer) -> None:
    """What is missing stands before the command."""
    write_ids(tmp_path / "ids.txt", IDS)
    line = "cat ids.txt | {run} --log-format console"
    done = _stopped(tmp_path, line, BULKCANCEL_BASE_URL=server.base_url)
    typed = "bulkcancel run --resume - --deadline 400ms --log-format console"
    assert f" set as for this run, {PIPE}: {typed}\n" in done.stderr


def test_a_run_resumed_with_again(tmp_path: Path, server: FaultyServer) -> None:
    """What `--again` asked for is asked for again."""
    write_ids(tmp_path / "ids.txt", IDS)
    first = _stopped(tmp_path, "{run} ids.txt", BULKCANCEL_BASE_URL=server.base_url)
    done = _stopped(
        tmp_path, "{run} ids.txt --resume --again accepted", BULKCANCEL_BASE_URL=server.base_url
    )
    assert len(first.rows()) > 0
    (finished,) = done.events("run.finished")
    assert finished["resume_command"] == (
        "bulkcancel run --resume --deadline 400ms ids.txt --again accepted"
    )
