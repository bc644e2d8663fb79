"""`--resume`, end to end: keyed by ID, exactly what is missing is sent, nothing twice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkcancel.models import CancelResult, Outcome
from bulkcancel.quantities import Shard
from bulkcancel.results.codec import Format
from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import Finished, bulkcancel, write_ids
from tests.support.results import content, result
from tests.support.runs import make_ids

OUTPUTS = ("results.csv", "results.jsonl")
IDS = make_ids(60)
BAD = ["../../x", "=1+1", "\x1b[31m", "abc", "abc", "é" * 300, "'=1+1"]


def _plan(instance_id: str, _nth: int) -> Answer:
    return answers.problem(404) if instance_id in GONE else answers.ok(instance_id)


GONE: set[str] = set()


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    GONE.clear()
    with running_in_thread(FaultyServer(_plan)) as running:
        yield running


def _run(cwd: Path, server: FaultyServer, output: str, *options: str) -> Finished:
    target = ("--base-url", server.base_url, "-o", output, "--rate", "10000")
    done = bulkcancel("run", "ids.txt", *target, *options, cwd=cwd)
    assert "Traceback" not in done.stderr
    return done


def _stored(path: Path, server: FaultyServer, *results: CancelResult) -> bytes:
    """Leave a results file of an earlier run against the test server."""
    ours = [each._replace(host=server.host) for each in results]
    path.write_bytes(content(Format(path.suffix[1:]), *ours))
    return path.read_bytes()


def _sent(server: FaultyServer) -> list[str]:
    """The IDs of all requests, sorted; forgets them."""
    ids = sorted(seen.instance_id for seen in server.requests)
    server.requests.clear()
    return ids


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("piped", [False, True])
def test_the_results_of_another_shard_resumed_by_mistake_stay(
    tmp_path: Path, server: FaultyServer, output: str, piped: bool
) -> None:
    """Nothing is lost or sent twice: its rows stay, and this shard's come after them."""
    ours = [each for each in IDS if Shard(1, 2).holds(each)]
    theirs = [each for each in IDS if each not in ours]
    again = result(theirs[1], Outcome.FAILED)
    _stored(tmp_path / output, server, result(theirs[0]), again, result(ours[0], Outcome.FAILED))
    kept = (tmp_path / output).read_bytes().splitlines()[:-1]
    write_ids(tmp_path / "ids.txt", [*IDS, IDS[0], *BAD])
    done = bulkcancel(
        "run", "--resume", "--shard", "1/2", "-o", output, "--base-url", server.base_url,
        "--rate", "10000", *(() if piped else ("ids.txt",)),
        cwd=tmp_path, stdin=(tmp_path / "ids.txt").read_bytes() if piped else None,
    )  # fmt: skip
    assert done.code == 1, done.stderr  # some rows hold no ID
    assert _sent(server) == sorted(ours)
    assert (tmp_path / output).read_bytes().splitlines()[: len(kept)] == kept
    rows = [row["instanceId"] for row in done.rows(output) if row["outcome"] != "invalid"]
    assert sorted(rows) == sorted([*ours, *theirs[:2]])
    (finished,) = done.events("run.finished")
    assert (finished["shard"], finished["duplicates"]) == ("1/2", 1)
    assert (finished["already_done"], finished["not_reached"]) == (0, 0)
    shares = [sum(Shard(n, 2).holds(text) for text in BAD) for n in (0, 1)]
    assert len(done.rows(output)) == len(rows) + shares[1]
    assert finished["filtered"] == finished["other_shards"] == len(theirs) + shares[0]


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_reordered_and_extended_input(tmp_path: Path, server: FaultyServer, output: str) -> None:
    """Shuffled, in upper case, some gone, some new: only the new ones are sent."""
    write_ids(tmp_path / "ids.txt", IDS[:40])
    assert _run(tmp_path, server, output).code == 0
    before = (tmp_path / output).read_bytes()
    assert _sent(server) == sorted(IDS[:40])
    listed = [each.upper() for each in IDS[10:]]
    random.Random(3).shuffle(listed)
    write_ids(tmp_path / "ids.txt", listed)
    done = _run(tmp_path, server, output, "--resume")
    assert done.code == 0, done.stderr
    assert _sent(server) == sorted(IDS[40:])
    assert (tmp_path / output).read_bytes().startswith(before)
    assert sorted(row["instanceId"] for row in done.rows(output)) == sorted(IDS)


@pytest.mark.parametrize("output", OUTPUTS)
def test_invalid_rows_are_not_doubled(tmp_path: Path, server: FaultyServer, output: str) -> None:
    """Each row without an ID has one row in the results, wherever it stands in the input now."""
    write_ids(tmp_path / "ids.txt", [*BAD[:5], *IDS[:3]])
    first = _run(tmp_path, server, output)
    assert first.code == 1
    assert len(first.rows(output)) == 8
    write_ids(tmp_path / "ids.txt", [*IDS[:4], *reversed(BAD)])
    done = _run(tmp_path, server, output, "--resume")
    assert done.code == 1, done.stderr
    rows = done.rows(output)
    assert len(rows) == 4 + len(BAD)
    assert [row["outcome"] for row in rows].count("invalid") == len(BAD)
    once_more = _run(tmp_path, server, output, "--resume")
    assert once_more.rows(output) == rows
    assert _sent(server) == sorted(IDS[:4])


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.FORBIDDEN, Outcome.UNCONFIRMED])
def test_failures_that_may_pass_are_sent_again(
    tmp_path: Path, server: FaultyServer, output: str, outcome: Outcome
) -> None:
    """Their new row takes the place of the old one; every other row stays as it was."""
    write_ids(tmp_path / "ids.txt", IDS[:6])
    path = tmp_path / output
    _stored(
        path, server, result(IDS[0]), result(IDS[1], outcome), result(IDS[2], Outcome.NOT_FOUND)
    )
    kept = path.read_bytes().splitlines(keepends=True)
    done = _run(tmp_path, server, output, "--resume")
    assert done.code == 1, done.stderr  # the ID that was not found stays a failure
    assert _sent(server) == sorted([IDS[1], *IDS[3:6]])
    assert path.read_bytes().startswith(b"".join([*kept[:-2], kept[-1]]))
    outcomes = {row["instanceId"]: row["outcome"] for row in done.rows(output)}
    assert len(done.rows(output)) == len(outcomes) == 6
    assert outcomes[IDS[1]] == "accepted"


def test_what_failed_before_is_sent_last(tmp_path: Path, server: FaultyServer) -> None:
    """So that IDs at the top that fail every time cannot keep a run from getting further."""
    write_ids(tmp_path / "ids.txt", IDS[:6])
    _stored(
        tmp_path / "results.csv", server, *(result(each, Outcome.FORBIDDEN) for each in IDS[:2])
    )
    assert _run(tmp_path, server, "results.csv", "--resume", "--concurrency", "1").code == 0
    assert [seen.instance_id for seen in server.requests] == [*IDS[2:6], *IDS[:2]]


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize(("gone", "code"), [(0, 0), (2, 1)])
def test_a_finished_run_resumed_sends_nothing(
    tmp_path: Path, server: FaultyServer, output: str, gone: int, code: int
) -> None:
    """A scheduler may repeat it: no request, no new byte, and the same exit code as before."""
    GONE.update(IDS[:gone])
    write_ids(tmp_path / "ids.txt", IDS[:8])
    assert _run(tmp_path, server, output).code == code
    before = (tmp_path / output).read_bytes()
    assert len(_sent(server)) == 8
    assert _run(tmp_path, server, output, "--resume").code == code
    assert _sent(server) == []
    assert (tmp_path / output).read_bytes() == before


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("left", [None, b"", b"half"])
def test_resume_is_right_from_the_start(
    tmp_path: Path, server: FaultyServer, output: str, left: bytes | None
) -> None:
    """No file yet, an empty one, one torn in its first line: a schedule needs one command only."""
    write_ids(tmp_path / "ids.txt", IDS[:5])
    if left is not None:
        form = Format(output.split(".")[1])
        torn = form.header[:20] or b'{"instanceId": "12'
        (tmp_path / output).write_bytes(torn if left else b"")
    done = _run(tmp_path, server, output, "--resume")
    assert done.code == 0, done.stderr
    assert _sent(server) == sorted(IDS[:5])
    assert sorted(row["instanceId"] for row in done.rows(output)) == sorted(IDS[:5])


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_broken_row_is_told_and_its_id_sent_again(
    tmp_path: Path, server: FaultyServer, output: str
) -> None:
    """The file and the line are named; the rows around it stay byte for byte."""
    write_ids(tmp_path / "ids.txt", IDS[:5])
    path = tmp_path / output
    _stored(path, server, *(result(each) for each in IDS[:5]))
    lines = path.read_bytes().splitlines(keepends=True)
    broken = len(lines) - 2
    path.write_bytes(b"".join([*lines[:broken], lines[broken][7:], *lines[broken + 1 :]]))
    done = _run(tmp_path, server, output, "--resume")
    assert done.code == 0, done.stderr
    assert f"{output}:{broken + 1} " in done.stderr
    assert _sent(server) == [IDS[3]]
    assert path.read_bytes().startswith(b"".join([*lines[:broken], *lines[broken + 1 :]]))
    assert sorted(row["instanceId"] for row in done.rows(output)) == sorted(IDS[:5])


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        ("results.csv", "other host"),
        ("results.jsonl", "other host"),
        ("results.csv", "other columns"),
        ("results.csv", "the input itself"),
        ("results.jsonl", "the input itself"),
    ],
)
def test_the_wrong_file_is_refused_before_anything_is_sent(
    tmp_path: Path, server: FaultyServer, output: str, fault: str
) -> None:
    """Exit 2, not a byte changed, no lock left."""
    write_ids(tmp_path / "ids.txt", IDS[:5])
    path = tmp_path / output
    _stored(path, server, result(IDS[0]), result(IDS[1]))
    match fault:
        case "other host":
            path.write_bytes(path.read_bytes().replace(b"127.0.0.1", b"127.0.0.2"))
        case "other columns":
            path.write_bytes(path.read_bytes().replace(b"modelName", b"model"))
        case _:
            write_ids(path, IDS[:5])
    before = path.read_bytes()
    done = _run(tmp_path, server, output, "--resume")
    assert done.code == 2, done.stderr
    assert output in done.stderr
    assert _sent(server) == []
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["ids.txt", output]


def test_a_pipe_resumed(tmp_path: Path, server: FaultyServer) -> None:
    """Standard input, too, is compared by ID as it comes."""
    target = ("--base-url", server.base_url, "--rate", "10000", "--resume")
    for listed in (IDS[:30], IDS[::-1]):
        lines = "".join(f"{each}\n" for each in [*listed, *BAD]).encode()
        done = bulkcancel("run", "-", *target, cwd=tmp_path, stdin=lines)
        assert done.code == 1, done.stderr
    assert _sent(server) == sorted(IDS)
    assert len(done.rows()) == len(IDS) + len(BAD)


def test_a_pipe_that_does_not_bring_all(tmp_path: Path, server: FaultyServer) -> None:
    """A row stays whose ID does not come: it is counted, and makes the exit code 1."""
    path = tmp_path / "results.csv"
    again = [result(IDS[1], Outcome.FAILED), result(IDS[2], Outcome.UNCONFIRMED)]
    _stored(path, server, result(IDS[0]), *again)
    kept = path.read_bytes().splitlines(keepends=True)
    lines = "".join(f"{each}\n" for each in (IDS[3], IDS[0], IDS[1])).encode()
    target = ("--base-url", server.base_url, "--rate", "10000", "--resume")
    done = bulkcancel("run", "-", *target, cwd=tmp_path, stdin=lines)
    assert done.code == 1, done.stderr
    assert _sent(server) == sorted((IDS[1], IDS[3]))
    assert path.read_bytes().startswith(b"".join((*kept[:2], kept[3])))
    rows = {row["instanceId"]: row["outcome"] for row in done.rows()}
    assert rows == dict.fromkeys(IDS[:4], "accepted") | {IDS[2]: "unconfirmed"}
    assert len(done.rows()) == 4
    (finished,) = done.events("run.finished")
    assert (finished["kept_failures"], finished["already_done"], finished["not_reached"]) == (
        1,
        1,
        0,
    )
    assert (finished["rows_in"], finished["results"], finished["not_reached"]) == (3, 3, 0)
