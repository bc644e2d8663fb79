"""`run --verify` and `bulkcancel verify`: accepted runs are asked after until they have stopped."""

from __future__ import annotations

import csv
import io
import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bulkcancel.models import Outcome
from bulkcancel.results.codec import Format
from bulkcancel.results.results_file import ResultsFile
from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import Finished, bulkcancel, ended, environment, running, write_ids
from tests.support.results import content, result
from tests.support.runs import make_ids
from tests.support.waiting import until

IDS = make_ids(30)
V2 = "/api/workflow/v2/executions/"


class Domo:
    """What the server says of a cancel and, by v2, of an instance."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.looked: list[str] = []
        self.says: Callable[[str], Answer] = lambda i: answers.ok(i, "CANCELLED")

    def answer(self, where: str, _nth: int) -> Answer:
        if where.startswith(V2):
            instance_id = where.removeprefix(V2)
            self.looked.append(instance_id)
            return self.says(instance_id)
        self.cancelled.append(where)
        return answers.ok(where, "IN_PROGRESS")


@pytest.fixture
def domo() -> Domo:
    return Domo()


@pytest.fixture
def server(domo: Domo) -> Iterator[FaultyServer]:
    with running_in_thread(FaultyServer(domo.answer)) as running_server:
        yield running_server


def _run(cwd: Path, server: FaultyServer, *options: str, ids: list[str] = IDS) -> Finished:
    write_ids(cwd / "ids.txt", ids)
    target = ("--base-url", server.base_url, "--rate", "1000")
    return bulkcancel("run", "ids.txt", *target, *options, cwd=cwd)


def _verify(cwd: Path, server: FaultyServer, *names: str, **variables: str) -> Finished:
    env = environment(**variables)
    target = ("--base-url", server.base_url, "--rate", "1000")
    return bulkcancel("verify", *names, *target, cwd=cwd, env=env)


def _outcomes(done: Finished, name: str = "results.csv") -> dict[str, int]:
    return dict(Counter(row["outcome"] for row in done.rows(name)))


def _write(path: Path, server: FaultyServer, *outcomes: Outcome) -> bytes:
    """A results file of an earlier run with a row for each outcome."""
    rows = [result(IDS[n], each, host=server.host) for n, each in enumerate(outcomes)]
    path.write_bytes(content(Format(path.suffix[1:]), *rows))
    return path.read_bytes()


@pytest.mark.parametrize("name", ["results.csv", "results.jsonl"])
def test_a_verified_run_says_what_has_stopped(
    tmp_path: Path, server: FaultyServer, domo: Domo, name: str
) -> None:
    """One that goes on is unconfirmed: a failure, with what was said of it, that is sent again."""
    domo.says = lambda i: answers.ok(i, "IN_PROGRESS" if i == IDS[3] else "CANCELLED")
    done = _run(tmp_path, server, "--verify", "--verify-timeout", "1ms", "-o", name)
    assert done.code == 1
    assert _outcomes(done, name) == {"canceled": 29, "unconfirmed": 1}
    (row,) = [row for row in done.rows(name) if row["outcome"] == "unconfirmed"]
    assert (row["instanceId"], row["status"]) == (IDS[3], "IN_PROGRESS")
    assert row["error"] == "not_confirmed: the server still says IN_PROGRESS"
    assert sorted(domo.cancelled) == sorted(IDS)
    (end,) = done.events("run.finished")
    assert end["outcomes"] == {"canceled": 29, "unconfirmed": 1}
    assert end["looks"] == len(domo.looked) == 31
    domo.says = lambda i: answers.ok(i, "CANCELLED")
    again = _run(tmp_path, server, "--verify", "--resume", "-o", name)
    assert again.code == 0
    assert _outcomes(again, name) == {"canceled": 30}
    assert domo.cancelled[30:] == [IDS[3]]


def test_without_such_calls_nothing_is_claimed(
    tmp_path: Path, server: FaultyServer, domo: Domo
) -> None:
    """It is said once, in log and summary; the rows stay accepted, and that is a success."""
    server.plan = lambda where, n: (
        answers.problem(404) if server.requests[-1].method == "GET" else domo.answer(where, n)
    )
    done = _run(tmp_path, server, "--verify", "--summary", "summary.json")
    assert done.code == 0
    assert _outcomes(done) == {"accepted": 30}
    assert len(done.events("verification.ended")) == 1
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert "does not tell what has become of a run" in summary["looks_ended"]
    assert sorted(domo.cancelled) == sorted(IDS)


def test_a_stop_keeps_what_was_found_and_resuming_asks_after_the_rest(
    tmp_path: Path, server: FaultyServer, domo: Domo
) -> None:
    """SIGTERM: those found are canceled, the others accepted; nothing is cancelled twice."""
    domo.says = lambda i: answers.ok(i, "CANCELLED" if i < "8" else "IN_PROGRESS")
    write_ids(tmp_path / "ids.txt", IDS)
    target = ("ids.txt", "--base-url", server.base_url, "--rate", "1000", "--verify")
    with running(*target, cwd=tmp_path) as process:
        until(lambda: len(set(domo.looked)) == 30)
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        done = ended(process, tmp_path, within_s=5)
    found = sum(each < "8" for each in IDS)
    assert done.code == 143
    assert _outcomes(done) == {"canceled": found, "accepted": 30 - found}
    (end,) = done.events("run.finished")
    assert "--resume" in str(end["resume_command"])
    domo.looked.clear()
    domo.says = lambda i: answers.ok(i, "CANCELLED")
    again = _run(tmp_path, server, "--verify", "--resume")
    assert again.code == 0
    assert _outcomes(again) == {"canceled": 30}
    assert len(domo.cancelled) == 30
    assert len(domo.looked) == 30 - found


def test_a_killed_run_has_every_row(tmp_path: Path, server: FaultyServer, domo: Domo) -> None:
    """What was found is lost with the process, the rows are not; verify finds it again."""
    write_ids(tmp_path / "ids.txt", IDS)
    domo.says = lambda i: answers.ok(i, "CANCELLED" if i != IDS[0] else "IN_PROGRESS")
    target = ("ids.txt", "--base-url", server.base_url, "--rate", "1000", "--verify")
    with running(*target, cwd=tmp_path) as process:
        until(lambda: len(set(domo.looked)) == 30)
        process.kill()
        process.wait()
    before = Finished(0, "", "", tmp_path)
    assert _outcomes(before) == {"accepted": 30}
    done = _verify(tmp_path, server, "results.csv")
    assert done.code == 1
    assert _outcomes(done) == {"canceled": 29, "unconfirmed": 1}
    assert len(domo.cancelled) == 30


def test_verify_brings_rows_up_to_date_and_prints_what_still_runs(
    tmp_path: Path, server: FaultyServer, domo: Domo
) -> None:
    """Several files, each ID asked once; other rows stay; what is printed is an input for run."""
    kinds = [Outcome.ACCEPTED, Outcome.UNCONFIRMED, Outcome.NOT_FOUND, Outcome.CANCELED]
    _write(tmp_path / "may.csv", server, *kinds, Outcome.ACCEPTED)
    _write(tmp_path / "june.jsonl", server, Outcome.COMPLETED, Outcome.UNCONFIRMED)
    domo.says = lambda i: answers.ok(i, "IN_PROGRESS" if i == IDS[4] else "COMPLETED")
    done = _verify(tmp_path, server, "may.csv", "june.jsonl")
    assert done.code == 1
    assert [row["outcome"] for row in done.rows("may.csv")] == [
        "completed", "completed", "not_found", "canceled", "unconfirmed",
    ]  # fmt: skip
    assert [row["outcome"] for row in done.rows("june.jsonl")] == ["completed", "completed"]
    (printed,) = csv.DictReader(io.StringIO(done.stdout))
    assert printed["instanceId"] == IDS[4]
    assert printed["status"] == "IN_PROGRESS"
    (end,) = done.events("verify.finished")
    assert (end["stopped"], end["still_running"], end["not_told"]) == (2, 1, 0)
    assert len(domo.looked) == 3
    assert domo.cancelled == []
    domo.says = lambda i: answers.ok(i, "CANCELLED")
    again = _verify(tmp_path, server, "may.csv", "june.jsonl")
    assert (again.code, again.stdout) == (0, "")
    domo.looked.clear()
    last = _verify(tmp_path, server, "may.csv", "june.jsonl")
    assert last.code == 0
    assert domo.looked == []


@pytest.mark.parametrize(
    ("names", "said"),
    [(["r.csv"], "r.csv says so now"), (["r.csv", "s.csv"], "The results files say so now")],
)
def test_verify_says_that_the_files_were_changed(
    tmp_path: Path, server: FaultyServer, domo: Domo, names: list[str], said: str
) -> None:
    """Nobody expects it of a command that asks; and it is not said of what is as it was."""
    for name in names:
        _write(tmp_path / name, server, *[Outcome.ACCEPTED] * 30)
    server.plan = lambda _where, _n: answers.problem(401)
    refused = _verify(tmp_path, server, *names, BULKCANCEL_LOG_FORMAT="console")
    assert "Of 30 accepted: 0 have stopped, 30 not told. Stopped early" in refused.stderr
    server.plan = domo.answer
    done = _verify(tmp_path, server, *names, BULKCANCEL_LOG_FORMAT="console")
    assert f"Of 30 accepted: 30 have stopped. {said}.\n" in done.stderr


def test_verify_refuses_to_ask_a_new_sandbox(tmp_path: Path) -> None:
    """It would call all runs of a rehearsal unconfirmed; where none is in doubt, all is well."""
    path = tmp_path / "r.csv"
    path.write_bytes(before := content(Format.CSV, result(IDS[0], host="sandbox")))
    done = bulkcancel("verify", "r.csv", "--sandbox", cwd=tmp_path)
    assert done.code == 2
    assert "a sandbox started now knows of none of these cancels" in done.stderr
    assert path.read_bytes() == before
    path.write_bytes(content(Format.CSV, result(IDS[0], Outcome.CANCELED, host="sandbox")))
    assert bulkcancel("verify", "r.csv", "--sandbox", cwd=tmp_path).code == 0


def test_verify_does_not_claim_what_it_was_not_told(
    tmp_path: Path, server: FaultyServer, domo: Domo
) -> None:
    """A run that the server does not know any more has not been seen to stop."""
    _write(tmp_path / "r.csv", server, Outcome.ACCEPTED, Outcome.ACCEPTED)
    domo.says = lambda i: (
        answers.problem(404, "gone") if i == IDS[1] else answers.ok(i, "CANCELLED")
    )
    done = _verify(tmp_path, server, "r.csv", BULKCANCEL_RATE="1")
    assert done.code == 1
    assert [row["outcome"] for row in done.rows("r.csv")] == ["canceled", "unconfirmed"]
    assert done.rows("r.csv")[1]["error"] == "not_confirmed: HTTP 404: gone"


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (answers.problem(401, "who are you"), (3, "HTTP 401: who are you")),
        (answers.problem(404), (4, "does not tell what has become of a run")),
        (answers.limited("86400"), (4, "left alone for 86400 s")),
    ],
)
def test_verify_that_is_told_nothing_says_why(
    tmp_path: Path, server: FaultyServer, answer: Answer, end: tuple[int, str]
) -> None:
    """Its rows stay byte for byte, and the exit code is neither of its two answers."""
    before = _write(tmp_path / "r.csv", server, *[Outcome.ACCEPTED] * 30)
    server.plan = lambda _where, _n: answer
    done = _verify(tmp_path, server, "r.csv")
    (finished,) = done.events("verify.finished")
    assert done.code == end[0]
    assert end[1] in str(finished["reason"])
    assert (tmp_path / "r.csv").read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["r.csv"]


def test_verify_of_a_dead_server_says_so(tmp_path: Path, unused_port: int) -> None:
    """At once, with exit code 4."""
    row = result(IDS[0], host=f"127.0.0.1:{unused_port}")
    (tmp_path / "r.csv").write_bytes(content(Format.CSV, row))
    target = ("--base-url", f"http://127.0.0.1:{unused_port}")
    done = bulkcancel("verify", "r.csv", *target, cwd=tmp_path)
    assert done.code == 4
    (end,) = done.events("verify.finished")
    assert "cannot connect" in str(end["reason"])


def test_verify_stops_with_what_it_has_found(
    tmp_path: Path, server: FaultyServer, domo: Domo
) -> None:
    """Ctrl-C: the rows of those that were told are up to date."""
    _write(tmp_path / "r.csv", server, *[Outcome.ACCEPTED] * 30)
    write_ids(tmp_path / "ids.txt", IDS)
    domo.says = lambda i: answers.ok(i, "CANCELLED") if i in IDS[:10] else answers.silence()
    target = ("--base-url", server.base_url, "--rate", "1000")
    with running("r.csv", *target, cwd=tmp_path, name="verify") as process:
        until(lambda: len(domo.looked) >= 26)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        done = ended(process, tmp_path, within_s=5)
    assert done.code == 130
    assert _outcomes(done, "r.csv") == {"canceled": 10, "accepted": 20}


def test_a_file_in_use_is_left_alone(tmp_path: Path, server: FaultyServer) -> None:
    """A run that is still at work holds it."""
    before = _write(tmp_path / "r.csv", server, Outcome.ACCEPTED)
    file = ResultsFile.reserve(
        str(tmp_path / "r.csv"), host=server.host, mode="resume", form="auto", again=frozenset(),
        dry_run=False,
    )  # fmt: skip
    done = _verify(tmp_path, server, "r.csv")
    file.close()
    assert done.code == 6
    assert (tmp_path / "r.csv").read_bytes() == before


def test_rows_that_cannot_be_read_are_no_good_news(
    tmp_path: Path, server: FaultyServer, domo: Domo
) -> None:
    """A torn last row, or an edited one: nobody asked after it, so the exit code is not 0."""
    before = _write(tmp_path / "r.csv", server, Outcome.ACCEPTED, Outcome.ACCEPTED)
    (tmp_path / "r.csv").write_bytes(before[:-1])
    done = _verify(tmp_path, server, "r.csv")
    assert done.code == 1
    assert "1 row cannot be read" in done.stderr
    (tmp_path / "r.csv").write_bytes(before.replace(IDS[1].encode(), IDS[1].upper().encode()))
    assert _verify(tmp_path, server, "r.csv").code == 1


def test_a_row_that_stands_twice_counts_once(
    tmp_path: Path, server: FaultyServer, domo: Domo
) -> None:
    """One has stopped and one runs, however often they stand there: exit 1."""
    before = _write(tmp_path / "r.csv", server, Outcome.ACCEPTED, Outcome.ACCEPTED)
    (tmp_path / "r.csv").write_bytes(before + before.splitlines(keepends=True)[1])
    domo.says = lambda i: answers.ok(i, "IN_PROGRESS" if i == IDS[1] else "CANCELLED")
    done = _verify(tmp_path, server, "r.csv")
    (end,) = done.events("verify.finished")
    assert (done.code, end["stopped"], end["still_running"], end["not_told"]) == (1, 1, 1, 0)


def test_a_token_revoked_meanwhile_is_told_as_that(
    tmp_path: Path, server: FaultyServer, domo: Domo
) -> None:
    """Rows of which nothing was told stay accepted: none is cancelled again for it."""
    _write(tmp_path / "r.csv", server, *[Outcome.ACCEPTED] * 30)
    domo.says = lambda i: (
        answers.ok(i, "CANCELLED") if len(domo.looked) <= 5 else answers.problem(401, "revoked")
    )
    done = _verify(tmp_path, server, "r.csv")
    assert done.code == 3
    assert set(_outcomes(done, "r.csv")) == {"canceled", "accepted"}
    assert len(domo.looked) <= 5 + 16 + 8


@pytest.mark.parametrize("name", ["Жж😀", "\ud800", "=1+1"])
def test_what_still_runs_is_printed_whatever_it_is_called(
    tmp_path: Path, server: FaultyServer, domo: Domo, name: str
) -> None:
    """In UTF-8, whatever the terminal's encoding."""
    row = result(IDS[0], host=server.host, model_name=name)
    (tmp_path / "r.jsonl").write_bytes(content(Format.JSONL, row))
    domo.says = lambda i: answers.ok(i, "IN_PROGRESS")
    done = _verify(tmp_path, server, "r.jsonl", PYTHONIOENCODING="ascii")
    assert done.code == 1
    assert IDS[0] in done.stdout
    assert "itself failed" not in done.stderr


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "no results file is named"),
        (["nowhere.csv"], "there is no results file nowhere.csv"),
        (["r.csv", "./r.csv"], "named twice"),
        (["ids.csv"], "not a results file of bulkcancel"),
        (["other.csv"], "holds a result of acme.domo.com"),
        (["--older", "r.csv"], "unknown option --older"),
    ],
)
def test_mistakes_of_verify_are_told(
    tmp_path: Path, server: FaultyServer, domo: Domo, names: list[str], said: str
) -> None:
    """Exit 2, a sentence, and nothing asked."""
    _write(tmp_path / "r.csv", server, Outcome.ACCEPTED)
    (tmp_path / "ids.csv").write_text(f"id\n{IDS[0]}\n")
    (tmp_path / "other.csv").write_bytes(content(Format.CSV, result(IDS[0])))
    done = _verify(tmp_path, server, *names)
    assert done.code == 2
    assert said in done.stderr
    assert domo.looked == []
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--verify", "-o", "-"), "--verify brings a results file up to date: give -o FILE"),
        (("--verify-timeout", "5m"), "give --verify as well"),
        (("--verify", "--verify-timeout", "0"), "the duration must be above 0"),
    ],
)
def test_mistakes_of_run_verify_are_told(
    tmp_path: Path, server: FaultyServer, options: tuple[str, ...], said: str
) -> None:
    """Before anything is sent."""
    done = _run(tmp_path, server, *options)
    assert done.code == 2
    assert said in done.stderr
    assert server.requests == []


def test_the_plan_says_that_runs_are_asked_after(
    tmp_path: Path, server: FaultyServer, domo: Domo
) -> None:
    """And how many of an earlier run, although nothing is left to cancel."""
    _write(tmp_path / "results.csv", server, *[Outcome.ACCEPTED] * 30)
    done = _run(tmp_path, server, "--verify", "--resume")
    (planned,) = done.events("run.planned")
    assert (planned["to_cancel"], planned["unseen"], planned["verify_s"]) == (0, 30, 120.0)
    assert done.code == 0
    assert _outcomes(done) == {"canceled": 30}
    assert domo.cancelled == []
