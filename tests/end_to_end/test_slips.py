"""Slips of people who type or schedule it: none turns into something worse."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import faulty_answers as answers
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import CANARY, bulkcancel, command, environment, write_ids
from tests.support.runs import make_ids

IDS = make_ids(6)


def test_an_instance_in_the_shell_does_not_undo_a_rehearsal(tmp_path: Path) -> None:
    """`sandbox = true` in the settings file beats a DOMO_INSTANCE that lies about."""
    write_ids(tmp_path / "ids.txt", IDS)
    (tmp_path / "c.toml").write_text("sandbox = true\n")
    env = environment(DOMO_INSTANCE="acme")
    options = ("--config", "c.toml", "--dry-run")
    done = bulkcancel("run", "ids.txt", *options, cwd=tmp_path, env=env)
    (planned,) = done.events("run.planned")
    assert planned["host"] == "sandbox (nothing is real)"
    off = environment(DOMO_INSTANCE="acme", BULKCANCEL_SANDBOX="false")
    done = bulkcancel("run", "ids.txt", "--dry-run", cwd=tmp_path, env=off)
    (planned,) = done.events("run.planned")
    assert planned["host"] == "acme.domo.com"


@pytest.mark.parametrize("arguments", [("run", "ids.txt"), ("run",), ()])
@pytest.mark.parametrize("flag", ["--token", "--tokenfile"])
def test_a_token_given_as_a_flag_is_not_repeated(
    tmp_path: Path, arguments: tuple[str, ...], flag: str
) -> None:
    """There is no such flag; what stood behind it stays out of logs."""
    write_ids(tmp_path / "ids.txt", IDS)
    before, after = (arguments, ()) if arguments else ((), ("run", "ids.txt"))
    done = bulkcancel(*before, f"{flag}={CANARY}", *after, cwd=tmp_path)
    assert done.code == 2  # that the token is nowhere is looked at for every command


def test_expect_count_counts_what_limit_leaves_out_once(tmp_path: Path) -> None:
    """Three distinct IDs, one of them twice, are three."""
    write_ids(tmp_path / "ids.txt", [*IDS[:3], IDS[2]])
    options = ("--sandbox", "--limit", "1", "--expect-count", "3")
    assert bulkcancel("run", "ids.txt", *options, cwd=tmp_path).code == 0


def test_a_dry_run_knows_what_is_done(tmp_path: Path) -> None:
    """With --resume it plans what the run would send, and leaves the results as they are."""
    write_ids(tmp_path / "ids.txt", IDS[:4])
    assert bulkcancel("run", "ids.txt", "--sandbox", "--rate", "100", cwd=tmp_path).code == 0
    before = (tmp_path / "results.csv").read_bytes()
    write_ids(tmp_path / "ids.txt", IDS)
    done = bulkcancel("run", "ids.txt", "--sandbox", "--resume", "--dry-run", cwd=tmp_path)
    (planned,) = done.events("run.planned")
    assert (planned["to_cancel"], planned["already_done"]) == (2, 4)
    assert (tmp_path / "results.csv").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids.txt", "results.csv"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_look_up_that_hangs_does_not_hold_a_stop(tmp_path: Path) -> None:
    """Out within two seconds beyond the grace, although its thread cannot be interrupted."""
    write_ids(tmp_path / "ids.txt", IDS)
    fault = """
import socket, sys, time
def hangs(*_, **__):
    print("looking up", flush=True)
    time.sleep(60)
socket.getaddrinfo = hangs
"""
    target = ("--instance", "acme", "--grace", "200ms", "--loop", "asyncio")
    with subprocess.Popen(
        command("run", "ids.txt", *target, fault=fault), cwd=tmp_path, env=environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"looking up\n"
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(4) == 143


def test_a_silent_pipe_is_no_outage(tmp_path: Path) -> None:
    """One ID fails for good and the pipe falls silent: the next one is still sent."""
    bad, good = IDS[:2]
    server = FaultyServer(lambda i, _n: answers.problem(500) if i == bad else answers.ok(i))
    with running_in_thread(server):
        target = ("--base-url", server.base_url, "--attempts", "1", "--max-outage", "1s")
        with subprocess.Popen(
            command("run", "-", *target), cwd=tmp_path, env=environment(),
            stdin=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stdin is not None
            process.stdin.write(f"{good}\n{bad}\n".encode())
            process.stdin.flush()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(3)
            _, said = process.communicate(f"{IDS[2]}\n".encode(), timeout=20)
        assert process.returncode == 1, said
        assert server.times_seen[IDS[2]] == 1
