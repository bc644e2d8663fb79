"""The main job, end to end: a process, real files and pipes, a real server over a socket."""

from __future__ import annotations

import csv
import io
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import CANARY, bulkcancel, command, environment, write_ids
from tests.support.runs import make_ids

HOSTILE = [
    "../../x",
    "{2052e10a-d142-4391-a731-2be1ab1c0188}",
    f"{make_ids(1)[0]}?x",
    "１２３",
    "abc",
]
FAST = ("--rate", "100000", "--concurrency", "32", "--yes")


def _plan(instance_id: str, _nth: int) -> Answer:
    match instance_id[0]:
        case "0":
            return answers.ok(instance_id, "COMPLETED")
        case "1":
            return answers.problem(404)
        case "2":
            return answers.problem(403)
        case "3":
            return answers.ok(instance_id, "CANCELED")
    return answers.ok(instance_id)


def _expected(instance_id: str) -> str:
    words = {"0": "completed", "1": "not_found", "2": "forbidden", "3": "canceled"}
    return words.get(instance_id[0], "accepted")


def _export(ids: list[str]) -> bytes:
    """A CSV as Domo and Excel make them: BOM, CRLF, other columns, mixed case, duplicates."""
    rng = random.Random(5)
    cells = [*ids, *rng.sample(ids, 50), *HOSTILE]
    rng.shuffle(cells)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(["Workflow", "Instance ID", "Started by"])
    for number, cell in enumerate(cells):
        shown = cell.upper() if number % 3 == 0 and cell not in HOSTILE else cell
        writer.writerow([f"Flow, {number}", f" {shown} ", 'He said "x"'])
    return b"\xef\xbb\xbf" + text.getvalue().encode()


@pytest.mark.parametrize("way", ["csv", "stdin"])
def test_three_thousand_ids_one_true_row_each(tmp_path: Path, way: str) -> None:
    """Each listed ID is sent exactly once, nothing else is, and every row says what was said."""
    ids = make_ids(3000)
    output = "results.csv" if way == "csv" else "results.jsonl"
    with running_in_thread(FaultyServer(_plan)) as server:
        target = ("--base-url", server.base_url, "-o", output, *FAST)
        if way == "csv":
            (tmp_path / "runs.csv").write_bytes(_export(ids))
            done = bulkcancel("run", "runs.csv", *target, cwd=tmp_path)
        else:
            lines = [*ids, *ids[:50], *HOSTILE]
            done = bulkcancel("run", *target, cwd=tmp_path, stdin="\n".join(lines).encode() + b"\n")
        seen = Counter(request.path for request in server.requests)
    assert seen == {f"/api/workflow/v1/instances/{each}/cancel": 1 for each in ids}
    assert done.code == 1, done.stderr
    rows = done.rows(output)
    assert len(rows) == 3005
    valid = {row["instanceId"]: row for row in rows if row["outcome"] != "invalid"}
    assert {each: row["outcome"] for each, row in valid.items()} == {
        each: _expected(each) for each in ids
    }
    assert sorted(r["instanceId"].strip(" '") for r in rows if r["outcome"] == "invalid") == sorted(
        HOSTILE
    )
    (finished,) = done.events("run.finished")
    assert finished["duplicates"] == 50
    assert finished["not_reached"] == 0


def test_a_row_holds_what_the_server_said(tmp_path: Path) -> None:
    """Every column of the contract, as CSV and as JSON Lines."""
    (each,) = make_ids(1)
    write_ids(tmp_path / "ids.txt", ["# one", each])
    with running_in_thread(FaultyServer(lambda i, _n: answers.ok(i, "IN_PROGRESS"))) as server:
        for output in ("results.csv", "results.jsonl"):
            done = bulkcancel(
                "run", "ids.txt", "--base-url", server.base_url, "-o", output, cwd=tmp_path
            )
            assert done.code == 0, done.stderr
            (row,) = done.rows(output)
            assert list(row) == [
                "instanceId", "outcome", "status", "modelName", "modelVersion", "modelId",
                "httpStatus", "attempts", "error", "latencyMs", "finishedAt", "host", "source",
            ]  # fmt: skip
            assert row["instanceId"] == each
            assert row["outcome"] == "accepted"
            assert row["status"] == "IN_PROGRESS"
            assert row["modelId"] == answers.MODEL_ID
            assert str(row["httpStatus"]) == "200"
            assert str(row["attempts"]) == "1"
            assert row["error"] == ""
            assert float(row["latencyMs"]) > 0
            assert row["finishedAt"].endswith("Z")
            assert row["host"] == server.host
            assert row["source"] == "ids.txt:2"


def test_a_pipe_is_sent_while_it_is_open(tmp_path: Path) -> None:
    """The first ID is cancelled before the second is written."""
    first, second = make_ids(2)
    with running_in_thread(FaultyServer(lambda i, _n: answers.ok(i))) as server:
        with subprocess.Popen(
            command("run", "-", "--base-url", server.base_url),
            cwd=tmp_path,
            env=environment(),
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            process.stdin.write(f"{first}\n".encode())
            process.stdin.flush()
            _until(lambda: server.times_seen[first] == 1)
            process.stdin.write(f"{second}\n".encode())
            process.stdin.close()
            assert process.wait(30) == 0
        assert server.times_seen[second] == 1


def test_nothing_is_sent_when_a_late_row_is_broken(tmp_path: Path) -> None:
    """A quote left open at row 4,000 is found before the first cancel: exit 2, file and line."""
    ids = make_ids(4000)
    text = "id,name\n" + "".join(f'{each},"x"\n' for each in ids) + f'{ids[0]},"open\n'
    (tmp_path / "runs.csv").write_text(text)
    with running_in_thread(FaultyServer(_plan)) as server:
        done = bulkcancel("run", "runs.csv", "--base-url", server.base_url, *FAST, cwd=tmp_path)
        assert server.requests == []
    assert done.code == 2
    assert "runs.csv" in done.stderr
    assert "4002" in done.stderr.replace(",", "")
    assert not (tmp_path / "results.csv").exists()


def test_a_dry_run_sends_nothing_and_writes_nothing(tmp_path: Path) -> None:
    """It tells what would be sent, and leaves no results file."""
    write_ids(tmp_path / "ids.txt", make_ids(20))
    done = bulkcancel("run", "ids.txt", "--instance", "acme", "--dry-run", cwd=tmp_path)
    assert done.code == 0
    (planned,) = done.events("run.planned")
    assert planned["to_cancel"] == 20
    assert [p.name for p in tmp_path.iterdir()] == ["ids.txt"]


@pytest.mark.parametrize("text", ["", "instanceId\n", "# nothing\n\n"])
def test_nothing_to_cancel_is_said_and_is_no_error(tmp_path: Path, text: str) -> None:
    """An empty list is a good night, not a failure."""
    (tmp_path / "ids.csv").write_text(text)
    done = bulkcancel("run", "ids.csv", "--instance", "acme", cwd=tmp_path)
    assert done.code == 0
    assert "Nothing to cancel" in done.stderr


@pytest.mark.parametrize(("way", "code"), [("file", 2), ("stdin", 1)])
def test_an_unexpected_count(tmp_path: Path, way: str, code: int) -> None:
    """A truncated list: a file is refused before sending, a pipe is reported at the end."""
    ids = make_ids(3)
    write_ids(tmp_path / "ids.txt", ids)
    with running_in_thread(FaultyServer(lambda i, _n: answers.ok(i))) as server:
        target = ("--base-url", server.base_url, "--expect-count", "4")
        if way == "file":
            done = bulkcancel("run", "ids.txt", *target, cwd=tmp_path)
        else:
            done = bulkcancel("run", *target, cwd=tmp_path, stdin="\n".join(ids).encode())
        assert len(server.requests) == (0 if way == "file" else 3)
    assert done.code == code
    assert "--expect-count" in done.stderr


def test_results_on_standard_output(tmp_path: Path) -> None:
    """`-o -` writes rows there and everything else to standard error."""
    ids = write_ids(tmp_path / "ids.txt", make_ids(30))
    done = bulkcancel("run", ids, "--sandbox", "-o", "-", *FAST, cwd=tmp_path)
    assert done.code == 0
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 30
    assert {row["outcome"] for row in rows} == {"accepted"}


def test_where_and_limit_choose_rows(tmp_path: Path) -> None:
    """Only rows that fulfil every condition are taken, and no more than the limit."""
    ids = make_ids(40)
    text = "id,status,owner\n" + "".join(
        f"{each},{'STUCK' if n % 2 else 'DONE'},{'me' if n < 20 else 'you'}\n"
        for n, each in enumerate(ids)
    )
    (tmp_path / "runs.csv").write_text(text)
    with running_in_thread(FaultyServer(lambda i, _n: answers.ok(i))) as server:
        done = bulkcancel(
            "run", "runs.csv", "--base-url", server.base_url, "--where", "status=STUCK",
            "--where", "owner!=you", "--limit", "7", *FAST, cwd=tmp_path,
        )  # fmt: skip
        assert set(server.times_seen) == set(ids[1:15:2])
    assert done.code == 0
    (finished,) = done.events("run.finished")
    assert finished["not_reached"] == 3


def test_an_existing_file_is_never_overwritten_silently(tmp_path: Path) -> None:
    """A second run on the same results file is refused unless told what to do with it."""
    ids = write_ids(tmp_path / "ids.txt", make_ids(5))
    assert bulkcancel("run", ids, "--sandbox", cwd=tmp_path).code == 0
    before = (tmp_path / "results.csv").read_bytes()
    again = bulkcancel("run", ids, "--sandbox", cwd=tmp_path)
    assert again.code == 2
    assert "--resume" in again.stderr
    assert "--overwrite" in again.stderr
    assert (tmp_path / "results.csv").read_bytes() == before
    assert bulkcancel("run", ids, "--sandbox", "--overwrite", cwd=tmp_path).code == 0


def test_the_token_is_in_no_command_line(tmp_path: Path) -> None:
    """It comes from the environment or a file; a flag for it does not exist."""
    done = bulkcancel("run", "--help", cwd=tmp_path)
    assert "--token-file" in done.stdout
    assert "--token " not in done.stdout
    ids = write_ids(tmp_path / "ids.txt", make_ids(2))
    (tmp_path / "token.txt").write_text(CANARY + "  \r\n")
    env = environment()
    del env["DOMO_DEVELOPER_TOKEN"]
    with running_in_thread(FaultyServer(lambda i, _n: answers.ok(i))) as server:
        done = bulkcancel(
            "run", ids, "--base-url", server.base_url, "--token-file", "token.txt",
            cwd=tmp_path, env=env,
        )  # fmt: skip
        headers = {k.lower(): v for k, v in server.requests[0].headers.items()}
    assert done.code == 0
    assert headers["x-domo-developer-token"] == CANARY


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come about within ten seconds")
