"""Options that name outcomes, `--ok` and `--again`, and the format of the results."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkcancel.models import CancelResult, Outcome
from bulkcancel.quantities import parse_outcomes
from bulkcancel.results.codec import Format
from tests.support import faulty_answers as answers
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import Finished, bulkcancel, environment, write_ids
from tests.support.results import content, result
from tests.support.runs import make_ids

IDS = make_ids(8)
GONE = IDS[:2]


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    gone = FaultyServer(lambda i, _n: answers.problem(404) if i in GONE else answers.ok(i))
    with running_in_thread(gone) as running:
        yield running


def _run(cwd: Path, server: FaultyServer, *options: str, **variables: str) -> Finished:
    write_ids(cwd / "ids.txt", IDS)
    target = ("--base-url", server.base_url, "--rate", "10000")
    done = bulkcancel("run", "ids.txt", *target, *options, cwd=cwd, env=environment(**variables))
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("ok", "code"), [("not_found", 0), ("rejected, not_found", 0), ("forbidden", 1)]
)
def test_outcomes_that_are_as_good_as_success(
    tmp_path: Path, server: FaultyServer, ok: str, code: int
) -> None:
    """`--ok` decides exit code and summary, in the run and in a resumed one; rows stay as said."""
    options = ("--ok", ok, "--summary", "summary.json")
    assert _run(tmp_path, server, *options).code == code
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["outcomes"] == {"accepted": 6, "not_found": 2}
    assert summary["ok"] == sorted(each.strip() for each in ok.split(","))
    again = _run(tmp_path, server, *options, "--resume")
    assert again.code == code
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["kept_failures"] == (0 if code == 0 else 2)
    assert len(server.requests) == len(IDS)


def test_what_is_ok_is_shown_as_success(tmp_path: Path, server: FaultyServer) -> None:
    """In words too: none of them failed."""
    done = _run(tmp_path, server, "--ok", "not_found", "--log-format", "console")
    assert done.code == 0
    assert "8 succeeded, 0 failed in " in " ".join(done.stderr.split())
    assert "not_found: HTTP 404" not in done.stderr
    assert "Results: results.csv" in done.stderr


@pytest.mark.parametrize("source", ["file's list", "file's text", "environment"])
def test_outcomes_from_other_sources(tmp_path: Path, server: FaultyServer, source: str) -> None:
    """A list in the settings file, or the words with commas there and in the environment."""
    listed = '["not_found", "rejected"]' if source == "file's list" else '"not_found,rejected"'
    (tmp_path / "ours.toml").write_text(f"ok = {listed}\n" if "file" in source else "")
    variables = {} if "file" in source else {"BULKCANCEL_OK": "not_found,rejected"}
    done = _run(tmp_path, server, "--config", "ours.toml", **variables)
    assert done.code == 0, done.stderr


@pytest.mark.parametrize(
    ("again", "sent"),
    [
        (None, ["forbidden", "failed", "unconfirmed"]),
        ("not_found", ["not_found"]),
        ("rejected,failed", ["rejected", "failed"]),
        ("accepted,canceled,completed", ["accepted", "canceled", "completed"]),
    ],
)
def test_the_outcomes_that_are_sent_again(
    tmp_path: Path, server: FaultyServer, again: str | None, sent: list[str]
) -> None:
    """`--again` takes the place of the default; every other row stays byte for byte."""
    server.plan = lambda i, _n: answers.ok(i)
    outcomes = [each for each in Outcome if each is not Outcome.INVALID]
    stored: dict[Outcome, CancelResult] = {
        each: result(IDS[n], each)._replace(host=server.host) for n, each in enumerate(outcomes)
    }
    path = tmp_path / "results.csv"
    path.write_bytes(content(Format.CSV, *stored.values()))
    kept = content(Format.CSV, *(row for word, row in stored.items() if word not in sent))
    _run(tmp_path, server, "--resume", *(("--again", again) if again else ()))
    expected = sorted(stored[Outcome(word)].instance_id for word in sent)
    assert sorted(seen.instance_id for seen in server.requests) == expected
    assert path.read_bytes().startswith(kept)
    assert path.read_bytes().count(b"\n") == len(IDS) + 1


def test_names_of_outcomes() -> None:
    """One or several; spaces around them do not count."""
    assert parse_outcomes("not_found") == {Outcome.NOT_FOUND}
    assert parse_outcomes(" failed, forbidden") == {Outcome.FAILED, Outcome.FORBIDDEN}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the outcomes are accepted, canceled"),
        ("failed,", "the outcomes are accepted, canceled"),
        ("cancelled", "did you mean canceled?"),
        ("not-found", "did you mean not_found?"),
        ("FAILED", "did you mean failed?"),
        ("failed forbidden", "'failed forbidden' is no outcome"),
        ("404", "the outcomes are accepted, canceled"),
    ],
)
def test_what_is_no_outcome_is_refused(text: str, said: str) -> None:
    """A slip must not make failures count as nothing; the nearest word is named."""
    with pytest.raises(ValueError, match=r"is no outcome") as refused:
        parse_outcomes(text)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("name", "form", "options"),
    [
        ("results.txt", Format.CSV, ("--output-format", "csv")),
        ("results", Format.JSONL, ("--output-format", "jsonl")),
        ("results.csv", Format.JSONL, ("--output-format", "jsonl")),
        ("results.jsonl", Format.JSONL, ("--output-format", "auto")),
    ],
)
def test_the_format_asked_for(
    tmp_path: Path, server: FaultyServer, name: str, form: Format, options: tuple[str, ...]
) -> None:
    """Whatever the file is called, in the first run and in the one that resumes."""
    output = ("-o", name, *options, "--quiet")
    first = _run(tmp_path, server, *output, "--limit", "3")
    assert first.code == 1, first.stderr
    assert _run(tmp_path, server, *output, "--resume").code == 1
    text = (tmp_path / name).read_text()
    rows = (
        [json.loads(line) for line in text.splitlines()]
        if form is Format.JSONL
        else list(csv.DictReader(io.StringIO(text)))
    )
    assert sorted(row["instanceId"] for row in rows) == sorted(IDS)
    assert len(server.requests) == len(IDS)


def test_json_lines_on_standard_output(tmp_path: Path, server: FaultyServer) -> None:
    """`-o -` is CSV, unless it is asked to be otherwise."""
    done = _run(tmp_path, server, "-o", "-", "--output-format", "jsonl", "--quiet")
    assert done.code == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(row["instanceId"] for row in rows) == sorted(IDS)
    assert _run(tmp_path, server, "-o", "-", "--quiet").stdout.startswith("instanceId,outcome,")
