"""Failures of the disk and bugs of bulkcancel itself: loud, rows whole, and a resume finishes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import Finished, bulkcancel, running, write_ids
from tests.support.runs import make_ids
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")
IDS = make_ids(300)

FSYNC_FAILS = """
import errno, os
calls, real = [], os.fsync
def fsync(descriptor):
    calls.append(descriptor)
    if len(calls) == {nth}:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    real(descriptor)
os.fsync = fsync
"""
"""Only once: after a failed fsync the next one succeeds, although the data may be gone."""

SLOW_FSYNC = """
import json, os, time
calls, real = [], os.fsync
def fsync(descriptor):
    calls.append(descriptor)
    time.sleep(0.6 if len(calls) > 2 else 0)  # not the new file and its directory
    real(descriptor)
    with open("syncs.jsonl", "a") as file:
        print(json.dumps([os.fstat(descriptor).st_size, time.monotonic()]), file=file)
os.fsync = fsync
"""

BUG = """
from importlib import import_module
module, _, path = "{place}".partition(":")
*owner, name = path.split(".")
place = import_module("bulkcancel." + module)
for each in owner:
    place = getattr(place, each)
real, calls = getattr(place, name), []
def broken(*arguments, **named):
    calls.append(1)
    if len(calls) > {calls}:
        raise ZeroDivisionError("a bug")
    return real(*arguments, **named)
setattr(place, name, broken)
"""


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with running_in_thread(FaultyServer()) as started:
        yield started


def _target(server: FaultyServer) -> tuple[str, ...]:
    return ("ids.txt", "--base-url", server.base_url)


def _whole(done: Finished) -> list[str]:
    """The IDs of the rows on disk: whole, good, one each."""
    assert (done.directory / "results.csv").read_bytes().endswith(b"\n")
    ids = [row["instanceId"] for row in done.rows()]
    assert len(set(ids)) == len(ids)
    assert {row["outcome"] for row in done.rows()} <= {"accepted"}
    return ids


def _resumes(tmp_path: Path, server: FaultyServer, ids: list[str]) -> None:
    """The same command with --resume, on a sound machine, sends the rest and nothing more."""
    path, seen = tmp_path / "results.csv", len(server.requests)
    before = path.read_bytes() if path.exists() else b""
    recorded = _whole(Finished(0, "", "", tmp_path)) if before else []
    done = bulkcancel("run", *_target(server), "--rate", "10000", "--resume", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert path.read_bytes().startswith(before)
    assert sorted(_whole(done)) == sorted(ids)
    assert len(server.requests) - seen == len(ids) - len(recorded)


@pytest.mark.parametrize(
    ("nth", "count", "sent"),
    [
        (2, 300, range(1)),  # of the new file's name: the first was of the file
        (3, 300, range(50, 250)),  # after the first second
        (3, 20, range(20, 21)),  # at the end of a run of less than a second
    ],
)
def test_a_failing_fsync(
    tmp_path: Path, server: FaultyServer, nth: int, count: int, sent: range
) -> None:
    """One is enough: exit 5 with the reason, nothing more is sent, and the run can be resumed."""
    write_ids(tmp_path / "ids.txt", IDS[:count])
    fault = FSYNC_FAILS.format(nth=nth)
    done = bulkcancel("run", *_target(server), "--rate", "100", cwd=tmp_path, fault=fault)
    assert done.code == 5, done.stderr
    assert "Input/output error" in done.stderr
    assert "--resume" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(server.requests) in sent
    assert len(server.requests) - 16 - 10 <= len(_whole(done)) <= len(server.requests)
    _resumes(tmp_path, server, IDS[:count])


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_gone_under_a_run(tmp_path: Path, server: FaultyServer, replaced: bool) -> None:
    """Deleted, or moved away with another in its place: exit 5, and a resume goes on from there."""
    write_ids(tmp_path / "ids.txt", IDS)
    path, away = tmp_path / "results.csv", tmp_path / "moved.csv"
    with running(*_target(server), "--rate", "100", cwd=tmp_path) as process:
        until(lambda: path.exists() and path.read_bytes().count(b"\n") > 20)
        others = b"".join(path.read_bytes().splitlines(keepends=True)[:20])
        path.rename(away)
        if replaced:
            path.write_bytes(others)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 5
    assert b"Traceback" not in err
    assert (b"replaced" if replaced else b"deleted") in err
    assert len(server.requests) < len(IDS) - 50
    if replaced:
        assert path.read_bytes() == others
    else:
        assert not path.exists()
    _resumes(tmp_path, server, IDS)


@pytest.mark.parametrize(
    ("place", "calls"),
    [
        ("engine.stats:Stats.count", 5),  # called by the collector, after each group of rows
        ("engine.canceller:Canceller.attempt", 40),
        ("engine.pipeline:Pipeline._place", 80),  # 48 are queued or in flight at the start
    ],
)
def test_a_bug_of_its_own(tmp_path: Path, server: FaultyServer, place: str, calls: int) -> None:
    """In collector, consumer or producer: loud, never 0, rows whole, and a resume does the rest."""
    write_ids(tmp_path / "ids.txt", IDS)
    fault = BUG.format(place=place, calls=calls)
    done = bulkcancel("run", *_target(server), "--rate", "200", cwd=tmp_path, fault=fault)
    assert done.code == 4
    assert "ZeroDivisionError: a bug" in done.stderr
    (finished,) = done.events("run.finished")
    assert "--resume" in str(finished["resume_command"])
    recorded = _whole(done)
    assert 5 <= len(recorded) <= len(server.requests) <= 60
    assert len(server.requests) - len(recorded) <= 16 + 10  # in flight, gathered
    assert [path.name for path in tmp_path.glob(".*")] == []
    _resumes(tmp_path, server, IDS)


def test_a_bug_with_single_ids(tmp_path: Path, server: FaultyServer) -> None:
    """Each ID it happens to is a failed row and an event, the others are done, exit 1."""
    write_ids(tmp_path / "ids.txt", IDS[:60])
    fault = BUG.format(place="engine.canceller:outcome_of", calls=50)
    done = bulkcancel("run", *_target(server), "--rate", "10000", cwd=tmp_path, fault=fault)
    assert done.code == 1
    assert "Traceback" not in done.stderr
    failed = {row["instanceId"] for row in done.rows() if row["outcome"] == "failed"}
    assert len(done.rows()) == len(server.requests) == 60
    assert {event["instance_id"] for event in done.events("bug")} == failed
    assert len(failed) == 10
    again = bulkcancel("run", *_target(server), "--resume", "--rate", "10000", cwd=tmp_path)
    assert again.code == 0, again.stderr
    assert sorted(_whole(again)) == sorted(IDS[:60])
    assert {each for each, times in server.times_seen.items() if times == 2} == failed


@pytest.mark.alone
def test_a_slow_disk_holds_nothing_up(tmp_path: Path, server: FaultyServer) -> None:
    """While an fsync takes 0.6 s answers are taken as fast as ever; it comes every second or so."""
    write_ids(tmp_path / "ids.txt", IDS)
    server.plan = lambda i, _n: Answer(answers.ok(i).data, delay_s=0.05)
    target = (*_target(server), "--rate", "150", "--concurrency", "64")
    done = bulkcancel("run", *target, cwd=tmp_path, fault=SLOW_FSYNC)
    assert done.code == 0, done.stderr
    assert sorted(_whole(done)) == sorted(IDS)
    assert max(float(row["latencyMs"]) for row in done.rows()) < 400
    syncs = [json.loads(line) for line in (tmp_path / "syncs.jsonl").read_text().splitlines()]
    assert len(syncs) >= 4  # the header, the directory, once or twice on the way, the end
    assert max(b - a for a, b in pairwise(at for _, at in syncs[1:])) < 2.5
    assert syncs[-1][0] == (tmp_path / "results.csv").stat().st_size
