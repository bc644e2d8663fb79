"""Disks fill or turn read-only, people delete files: a real run stops at once and resumes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import faulty_answers as answers
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import (
    Finished,
    assert_no_canary,
    bulkcancel,
    command,
    environment,
    running,
    write_ids,
)
from tests.support.runs import make_ids
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")
LIMITED = "import os, resource, sys; n = int(sys.argv[1]); \
resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)); os.execv(sys.argv[2], sys.argv[2:])"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB, mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting is not permitted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _remount(place: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(place)], check=True)


@pytest.mark.parametrize("resume", [False, True])
def test_a_read_only_directory_is_refused(tmp_path: Path, disk: Path, resume: bool) -> None:
    """Exit 2 before the first request; an earlier run's file is as it was."""
    ids = write_ids(tmp_path / "ids.txt", make_ids(5))
    output = disk / "results.csv"
    if resume:
        assert bulkcancel("run", ids, "--sandbox", "-o", output, cwd=tmp_path).code == 0
    _remount(disk, "ro")
    with running_in_thread(FaultyServer()) as server:
        target = ("--base-url", server.base_url, "-o", output)
        options = ("--resume",) if resume else ()
        done = bulkcancel("run", ids, *target, *options, cwd=tmp_path)
        assert server.requests == []
    assert done.code == 2, done.stderr
    assert "read-only" in done.stderr
    assert "Traceback" not in done.stderr


def _check_stopped(done: Finished, server: FaultyServer, output: str) -> None:
    """Exit 5, whole rows only, one for nearly every request, and nothing sent afterwards."""
    assert done.code == 5, done.stderr
    assert "Traceback" not in done.stderr
    assert "--resume" in done.stderr
    assert (done.directory / output).read_bytes().endswith(b"\n")
    ids = [row["instanceId"] for row in done.rows(output)]
    assert len(set(ids)) == len(ids) > 0
    assert set(ids) < set(server.times_seen)
    # In flight, gathered, and sent while the write failed: a tenth of a second's worth at most.
    assert len(server.requests) <= len(ids) + 8 + 40


TARGET = ("--rate", "400", "--concurrency", "8", "--log-format", "json")


@pytest.mark.parametrize("output", ["results.csv", "results.jsonl"])
def test_a_file_size_limit(tmp_path: Path, output: str) -> None:
    """A short write, then an error: the run stops with whole rows, and resumes with room."""
    ids = make_ids(400)
    write_ids(tmp_path / "ids.txt", ids)
    with running_in_thread(FaultyServer(lambda i, _n: answers.ok(i))) as server:
        run = ("run", "ids.txt", "--base-url", server.base_url, "-o", output, *TARGET)
        limited = [sys.executable, "-c", LIMITED, "20000", *command(*run)]
        ended = subprocess.run(
            limited, cwd=tmp_path, env=environment(), capture_output=True, check=False, timeout=60
        )
        done = Finished(ended.returncode, ended.stdout.decode(), ended.stderr.decode(), tmp_path)
        assert_no_canary(done)
        _check_stopped(done, server, output)
        before = (tmp_path / output).read_bytes()
        assert len(before) <= 20000
        again = bulkcancel(*run, "--resume", cwd=tmp_path)
        assert len(server.requests) <= 400 + 48
    assert again.code == 0, again.stderr
    assert (tmp_path / output).read_bytes().startswith(before)
    assert sorted(row["instanceId"] for row in again.rows(output)) == sorted(ids)


def test_a_full_disk(tmp_path: Path, disk: Path) -> None:
    """A real one: exit 5, whole rows; once there is room the same command finishes."""
    ids = make_ids(700)
    write_ids(tmp_path / "ids.txt", ids)
    with running_in_thread(FaultyServer(lambda i, _n: answers.ok(i))) as server:
        run = ("run", "ids.txt", "--base-url", server.base_url, "-o", disk / "results.csv", *TARGET)
        done = bulkcancel(*run, cwd=tmp_path)
        _check_stopped(done, server, "disk/results.csv")
        full = bulkcancel(*run, "--resume", cwd=tmp_path)
        assert full.code == 5
        assert "Traceback" not in full.stderr
        _remount(disk, "size=1m")
        again = bulkcancel(*run, "--resume", cwd=tmp_path)
    assert again.code == 0, again.stderr
    assert sorted(r["instanceId"] for r in again.rows("disk/results.csv")) == sorted(ids)


def test_a_file_deleted_under_a_run(tmp_path: Path) -> None:
    """Noticed within a couple of seconds, and nothing is sent afterwards."""
    write_ids(tmp_path / "ids.txt", make_ids(4000))
    with running_in_thread(FaultyServer(lambda i, _n: answers.ok(i))) as server:
        target = ("--base-url", server.base_url, "--rate", "100")
        with running("ids.txt", *target, cwd=tmp_path) as process:
            until(lambda: len(server.requests) >= 20)
            (tmp_path / "results.csv").unlink()
            deleted = time.monotonic()
            _, err = process.communicate(timeout=20)
        assert process.returncode == 5
        assert b"deleted" in err
        assert b"Traceback" not in err
        assert server.requests[-1].at - deleted < 4
    assert [path.name for path in tmp_path.iterdir()] == ["ids.txt"]
