"""kill -9 at any moment, and a torn tail: nothing recorded is lost, hardly anything sent twice.

`python -m tests.end_to_end.test_kill 200 20000 [DIRECTORY]` does it at length, with figures.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from bulkcancel.results.codec import Format
from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import bulkcancel, command, environment, write_ids
from tests.support.runs import make_ids
from tests.support.waiting import until

pytestmark = pytest.mark.slow

KILLS, IDS = 6, 2000
CONCURRENCY = 64
TARGET = ("--rate", "1000", "--concurrency", str(CONCURRENCY), "--resume", "--log-level", "error")
FORBIDDEN = "0"
"""IDs that begin like this are forbidden when first seen: each resume rewrites the file."""


@dataclass
class Figures:
    """What a loop of kills came to."""

    ids: int
    kills: int = 0
    kills_before_the_first_request: int = 0
    tears: int = 0
    torn_rows: int = 0
    forbidden_sent_again: int = 0
    requests: int = 0
    sent_again: int = 0
    """Requests beyond one for each ID."""
    unrecorded: int = 0
    """IDs that a kill left sent and without a row: in flight, or answered just before."""
    unrecorded_by_one_kill: int = 0
    """At most."""
    rows: int = 0
    seconds: float = 0.0

    @property
    def allowed_again(self) -> int:
        """What may be sent again: what was in flight at a kill, torn off, or forbidden."""
        return self.kills * CONCURRENCY + self.torn_rows + self.forbidden_sent_again


def kill_loop(directory: Path, kills: int, count: int, *, seed: int, output: str) -> Figures:
    """Kill a run so many times, resume it each time, then let it finish; check all the way."""
    rng, began, figures = random.Random(seed), time.monotonic(), Figures(ids=count)
    ids = make_ids(count, seed)
    write_ids(directory / "ids.txt", ids)
    path = directory / output

    def plan(instance_id: str, nth: int) -> Answer:
        if instance_id.startswith(FORBIDDEN) and nth == 1:
            return answers.problem(403)
        return Answer(answers.ok(instance_id).data, delay_s=0.005)

    with running_in_thread(FaultyServer(plan)) as server:
        run = ("run", "ids.txt", "--base-url", server.base_url, "-o", output, *TARGET)
        recorded: dict[str, bytes] = {}
        for kill in range(kills):
            left, seen_before = len(ids) - len(recorded), len(server.requests)
            _kill_once(directory, run, server, figures, rng, aim=2 * left // (kills - kill + 1))
            before, recorded = recorded, _whole_rows(path)
            assert before.items() <= recorded.items(), "a row is gone or changed"
            sent = {seen.instance_id for seen in server.requests[seen_before:]}
            unrecorded = len(sent - recorded.keys() - _forbidden(path))
            figures.unrecorded += unrecorded
            figures.unrecorded_by_one_kill = max(figures.unrecorded_by_one_kill, unrecorded)
            if kill % 3 == 2:
                kept = _tear(path, rng)
                figures.tears += 1
                figures.torn_rows += len(recorded) - len(kept)
                recorded = kept
        for _ in range(3):  # an ID that is forbidden in the last run makes one more necessary
            done = bulkcancel(*run, cwd=directory, timeout_s=600)
            assert done.code in {0, 1}, done.stderr
            if done.code == 0:
                break
        figures.requests = len(server.requests)
        figures.sent_again = figures.requests - len(server.times_seen)
        figures.forbidden_sent_again = sum(each.startswith(FORBIDDEN) for each in ids)
    rows = done.rows(output)
    figures.rows, figures.seconds = len(rows), round(time.monotonic() - began, 1)
    assert done.code == 0, done.stderr
    assert sorted(row["instanceId"] for row in rows) == sorted(ids)
    assert {row["outcome"] for row in rows} == {"accepted"}
    assert recorded.items() <= _whole_rows(path).items()
    explained = figures.unrecorded + figures.torn_rows + figures.forbidden_sent_again
    assert figures.sent_again <= min(explained, figures.allowed_again), figures
    return figures


def _kill_once(
    directory: Path,
    run: tuple[str, ...],
    server: FaultyServer,
    figures: Figures,
    rng: random.Random,
    *,
    aim: int,
) -> None:
    """Start a run and kill it: a quarter while it starts, the others after up to `aim` requests."""
    seen = len(server.requests)
    target = 0 if rng.random() < 0.25 else rng.randint(1, max(1, aim))
    with subprocess.Popen(
        command(*run), cwd=directory, env=environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        if target:
            until(lambda: len(server.requests) >= seen + target or process.poll() is not None, 60)
            time.sleep(rng.uniform(0, 0.03))
        else:
            time.sleep(rng.uniform(0, 0.8))
        alive = process.poll() is None
        process.kill()
        said = process.stderr.read().decode()
    assert "Traceback" not in said
    assert not alive or process.returncode in {-9, 0, 1}, said
    assert alive or process.returncode in {0, 1}, said
    until(lambda: server.open_connections == 0)
    figures.kills += process.returncode == -9
    figures.kills_before_the_first_request += len(server.requests) == seen


def _whole_rows(path: Path) -> dict[str, bytes]:
    """Each recorded ID with its row as stored; forbidden ones, which are sent again, are not."""
    rows: dict[str, bytes] = {}
    if path.exists():
        for line in _lines(path):
            each = _id_of(line)
            if b"forbidden" not in line:
                assert each not in rows, "a second row"
                rows[each] = line
    return rows


def _forbidden(path: Path) -> set[str]:
    lines = _lines(path) if path.exists() else []
    return {_id_of(line) for line in lines if b"forbidden" in line}


def _id_of(line: bytes) -> str:
    return line.removeprefix(b'{"instanceId": "')[:36].decode()


def _lines(path: Path) -> list[bytes]:
    """The whole lines but the header."""
    lines = path.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    return lines[1:] if Format(path.suffix[1:]).header else lines


def _tear(path: Path, rng: random.Random) -> dict[str, bytes]:
    """Cut the file at some byte of its last rows, as a power cut does; return what is whole."""
    if path.exists():
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.truncate(rng.randint(max(0, size - 3000), size))
    return _whole_rows(path)


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
@pytest.mark.parametrize("output", ["results.csv", "results.jsonl"])
def test_kill_9_at_any_moment(tmp_path: Path, output: str) -> None:
    """However often it is killed: one row for each ID at the end, none recorded is lost."""
    figures = kill_loop(tmp_path, KILLS, IDS, seed=11, output=output)
    assert figures.kills >= KILLS - 2
    assert figures.tears == KILLS // 3


def main(kills: int, count: int, *directory: str) -> None:
    """Run the loop for both formats and print what it came to."""
    for output in ("results.csv", "results.jsonl"):
        with tempfile.TemporaryDirectory(dir=directory[0] if directory else None) as place:
            figures = kill_loop(Path(place), kills, count, seed=kills, output=output)
        print(json.dumps({"output": output, **asdict(figures), "allowed": figures.allowed_again}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
