"""The options of the command line: each does what its help says, with a real server and files."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bulkcancel.cli.app import run_cli
from bulkcancel.version import VERSION
from tests.support import faulty_answers as answers
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import Finished, bulkcancel, environment, write_ids
from tests.support.runs import make_ids

IDS = make_ids(20)
RUN_OPTIONS = (
    "--instance", "--base-url", "--sandbox", "--token-file", "--column", "--format", "--encoding",
    "--where", "--limit", "--expect-count", "--shard", "--rate", "--burst", "--concurrency",
    "--attempts", "--timeout", "--max-failures", "--max-outage", "--deadline", "--grace",
    "--output", "-o", "--output-format", "--resume", "--again", "--overwrite", "--dry-run",
    "--yes", "--ok", "--log-format", "--log-level", "--log-file",
    "--quiet", "--summary", "--metrics", "--config",
)  # fmt: skip


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with running_in_thread(FaultyServer()) as running:
        yield running


def _run(cwd: Path, server: FaultyServer, *options: str, **variables: str) -> Finished:
    """Cancel `IDS`, a plain list, unless the directory holds another `ids.csv` already."""
    if not (cwd / "ids.csv").exists():
        write_ids(cwd / "ids.csv", IDS)
    done = bulkcancel(
        "run", "ids.csv", "--base-url", server.base_url, *options,
        cwd=cwd, env=environment(**variables),
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done


def _fast(cwd: Path, server: FaultyServer, *options: str, **variables: str) -> Finished:
    return _run(cwd, server, "--rate", "10000", *options, **variables)


def _spacing(server: FaultyServer) -> list[float]:
    """The seconds between requests, in the order in which they came."""
    at = sorted(request.at for request in server.requests)
    return [later - earlier for earlier, later in itertools.pairwise(at)]


def test_both_ways_to_call_it_tell_the_version(tmp_path: Path) -> None:
    """The installed script and `python -m bulkcancel` are one program."""
    script = Path(sys.executable).with_name("bulkcancel")
    said = [
        subprocess.run(
            [*way, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        for way in ([str(script)], [sys.executable, "-m", "bulkcancel"])
    ]
    assert said[0].stdout == said[1].stdout
    assert said[0].stdout == f"{VERSION}\n"
    assert said[0].stderr == said[1].stderr == ""


def test_help_names_commands_and_exit_codes(tmp_path: Path) -> None:
    """`bulkcancel --help` is where one begins; without arguments it is the same."""
    asked = bulkcancel("--help", cwd=tmp_path)
    assert (asked.code, asked.stderr) == (0, "")
    words = " ".join(asked.stdout.split())
    assert "│ run " in words
    assert "│ sandbox " in words
    assert "3 token refused" in words
    assert bulkcancel(cwd=tmp_path) == asked


def test_help_of_run_names_every_option(tmp_path: Path) -> None:
    """Each option of the contract is there, and no other way to give a token."""
    done = bulkcancel("run", "--help", cwd=tmp_path)
    assert done.code == 0
    words = done.stdout.split()
    assert [option for option in RUN_OPTIONS if option not in words] == []
    assert "--token" not in words
    assert "--no-" not in done.stdout


@pytest.mark.parametrize(("limit", "most"), [("5", 5), ("10%", 2), ("11%", 3)])
def test_too_many_failures_end_the_run(
    tmp_path: Path, server: FaultyServer, limit: str, most: int
) -> None:
    """A count, or a share of the IDs to cancel: exit 4, and the rest is not sent."""
    server.plan = lambda _i, _n: answers.problem(404)
    done = _fast(tmp_path, server, "--max-failures", limit, "--concurrency", "1")
    assert done.code == 4
    assert len(done.rows()) == len(server.requests) == most
    (finished,) = done.events("run.finished")
    assert "--max-failures" in str(finished["reason"])
    assert finished["not_reached"] == 20 - most


def test_the_deadline_ends_the_run_and_resume_finishes_it(
    tmp_path: Path, server: FaultyServer
) -> None:
    """Exit 4 in time, every row on disk, and the same command with `--resume` does the rest."""
    options = ("--rate", "30", "--deadline", "400ms")
    done = _run(tmp_path, server, *options)
    assert done.code == 4
    (finished,) = done.events("run.finished")
    assert "deadline" in str(finished["reason"])
    assert 0.4 <= float(str(finished["seconds"])) < 3
    assert 5 <= len(done.rows()) == len(server.requests) < 20
    again = _run(tmp_path, server, *options, "--resume")
    assert again.code == 0
    assert sorted(row["instanceId"] for row in again.rows()) == sorted(IDS)
    assert max(server.times_seen.values()) == 1


@pytest.mark.parametrize("form", ["--overwrite=true", "--overwrite", "--"])
def test_the_command_that_resumes_works_as_printed(
    tmp_path: Path, server: FaultyServer, form: str
) -> None:
    """However the first one was spelt."""
    write_ids(tmp_path / "ids.txt", IDS)
    options = ("--base-url", server.base_url, "--rate", "30", "--deadline", "400ms")
    arguments = ("--", "ids.txt") if form == "--" else (form, "ids.txt")
    done = bulkcancel("run", *options, *arguments, cwd=tmp_path)
    assert done.code == 4
    (finished,) = done.events("run.finished")
    program, *again = shlex.split(str(finished["resume_command"]))
    assert program == "bulkcancel"
    again[again.index("400ms")] = "1h"
    assert bulkcancel(*again, cwd=tmp_path).code == 0
    assert max(server.times_seen.values()) == 1


def test_a_log_that_cannot_be_written_does_no_harm(tmp_path: Path, server: FaultyServer) -> None:
    """A full disk under the log is told, and the run goes on to its end."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    done = _fast(tmp_path, server, "--log-file", "/dev/full")
    assert done.code == 0
    assert len(done.events("log.lost")) == 1
    assert len(done.rows()) == len(IDS)


@pytest.mark.parametrize("place", ["missing/s.json", "."])
def test_a_summary_that_cannot_be_written_is_refused(
    tmp_path: Path, server: FaultyServer, place: str
) -> None:
    """Before the first request, not after hours."""
    done = _fast(tmp_path, server, "--summary", place)
    assert done.code == 2
    assert "summary" in done.stderr
    assert server.requests == []


def test_one_attempt_is_one_request(tmp_path: Path, server: FaultyServer) -> None:
    """With `--attempts 1` nothing is sent again, and the row says so."""
    server.plan = lambda i, _n: answers.problem(500) if i in IDS[:3] else answers.ok(i)
    done = _fast(tmp_path, server, "--attempts", "1")
    assert done.code == 1
    assert set(server.times_seen.values()) == {1}
    failed = [row for row in done.rows() if row["outcome"] == "failed"]
    assert sorted(row["instanceId"] for row in failed) == sorted(IDS[:3])
    assert {row["attempts"] for row in failed} == {"1"}
    assert all(row["error"].startswith("server_error: ") for row in failed)


def test_timeout_and_concurrency(tmp_path: Path, server: FaultyServer) -> None:
    """Of a silent server no more is asked at a time than allowed, and not for longer."""
    server.plan = lambda _i, _n: answers.silence()
    options = ("--concurrency", "4", "--timeout", "300ms", "--attempts", "1", "--limit", "8")
    done = _fast(tmp_path, server, *options)
    assert done.code == 1
    assert server.peak_in_flight == 4
    rows = done.rows()
    assert len(rows) == 8
    assert all(row["error"].startswith("timeout: ") for row in rows)
    assert all(300 <= float(row["latencyMs"]) < 2000 for row in rows)


@pytest.mark.alone
def test_a_burst_goes_at_once(tmp_path: Path, server: FaultyServer) -> None:
    """So many requests as `--burst` says go together, the others at the rate."""
    done = _run(tmp_path, server, "--rate", "10", "--burst", "5", "--limit", "7")
    assert done.code == 0
    spacing = _spacing(server)
    assert sum(spacing[:4]) < 0.15
    assert sum(spacing[4:]) >= 0.15


@pytest.mark.alone
def test_a_rate_by_the_minute(tmp_path: Path, server: FaultyServer) -> None:
    """`1200/m` is twenty a second, evenly spaced from the first request on."""
    done = _run(tmp_path, server, "--rate", "1200/m", "--limit", "14")
    assert done.code == 0
    (planned,) = done.events("run.planned")
    assert planned["rate_per_s"] == 20
    spacing = _spacing(server)
    assert 0.6 <= sum(spacing) < 3
    assert min(spacing) > 0.02


def test_a_rate_to_be_found(tmp_path: Path, server: FaultyServer) -> None:
    """`auto` starts low whatever the server could take, and speeds up as it goes well."""
    done = _run(tmp_path, server, "--rate", "auto", "--limit", "14")
    assert done.code == 0
    (planned,) = done.events("run.planned")
    assert planned["rate_per_s"] is None
    spacing = _spacing(server)
    assert sum(spacing[:3]) > 0.2  # a tenth of a second each, but for what the machine delays
    assert sum(spacing[-5:]) < sum(spacing[:5])
    assert {seen.instance_id for seen in server.requests} == set(IDS[:14])


def test_quiet_is_silent(tmp_path: Path, server: FaultyServer) -> None:
    """Without a terminal too: nothing on either stream, and the results are there."""
    done = _fast(tmp_path, server, "--quiet")
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert len(done.rows()) == 20


def test_the_summary_adds_up(tmp_path: Path, server: FaultyServer) -> None:
    """Every input row is in one of its counts, and its figures are those of the results file."""
    server.plan = lambda i, _n: answers.problem(404) if i in IDS[:2] else answers.ok(i)
    rows = [f"{each},{'DONE' if each in IDS[16:] else 'STUCK'}" for each in IDS]
    rows += [f"{each.upper()},STUCK" for each in IDS[:3]] + ["abc,STUCK", "=1+1,STUCK"]
    (tmp_path / "ids.csv").write_text("id,status\n" + "\n".join(rows) + "\n")
    options = ("--where", "status!=DONE", "--limit", "10", "--summary", "summary.json")
    done = _fast(tmp_path, server, *options)
    assert done.code == 1
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary) == {
        "version", "host", "inputs", "shard", "output", "exit_code", "reason", "rows_in",
        "duplicates", "filtered", "other_shards", "unanswered", "not_reached", "results",
        "already_done", "kept_failures", "outcomes", "errors", "requests", "retries", "throttled",
        "looks", "looks_ended", "started_at", "ended_at", "seconds", "resume_command",
        "resume_needs", "ok", "schema_version",
    }  # fmt: skip
    counted = sum(summary[key] for key in ("results", "duplicates", "filtered", "not_reached"))
    assert summary["rows_in"] == counted == 25
    assert (summary["duplicates"], summary["filtered"], summary["not_reached"]) == (3, 4, 6)
    assert summary["results"] == len(done.rows()) == 12
    assert summary["outcomes"] == {"accepted": 8, "invalid": 2, "not_found": 2}
    assert (summary["exit_code"], summary["reason"], summary["resume_command"]) == (1, "", "")
    assert summary["host"] == server.host
    assert (summary["version"], summary["inputs"]) == (VERSION, ["ids.csv"])
    assert (summary["shard"], summary["other_shards"]) == ("", 0)
    began, ended = (datetime.fromisoformat(summary[key]) for key in ("started_at", "ended_at"))
    assert summary["started_at"].endswith("Z")
    assert timedelta(0) < ended - began < timedelta(seconds=60)
    (event,) = done.events("run.finished")
    assert {key: event[key] for key in summary if key != "seconds"} == {
        key: summary[key] for key in summary if key != "seconds"
    }
    assert summary["output"] == "results.csv"
    assert summary["requests"] == 10
    grouped = {each["error"]: each["count"] for each in summary["errors"]}
    assert grouped == {"not_found: HTTP 404: no": 2, "invalid_id: not a UUID": 2}


def test_the_log_file_is_json_lines_for_its_owner_alone(
    tmp_path: Path, server: FaultyServer
) -> None:
    """One event a line, also those of `--log-level debug`, added to what was there before."""
    server.plan = lambda i, n: answers.problem(500) if (i, n) == (IDS[0], 1) else answers.ok(i)
    log = tmp_path / "run.log"
    options = ("--log-file", "run.log", "--log-level", "debug")
    assert _fast(tmp_path, server, *options).code == 0
    events = [json.loads(line) for line in log.read_text().splitlines()]
    if sys.platform != "win32":
        assert log.stat().st_mode & 0o777 == 0o600
    assert all(each["timestamp"].endswith("Z") for each in events)
    (retried,) = [each for each in events if each["event"] == "cancel.retry_scheduled"]
    assert (retried["instance_id"], retried["level"]) == (IDS[0], "debug")
    again = _fast(tmp_path, server, "--log-file", "run.log", "--resume", "--quiet")
    assert (again.code, again.stderr) == (0, "")
    names = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert names[: len(events)] == [each["event"] for each in events]


def test_words_instead_of_json_without_a_terminal(tmp_path: Path, server: FaultyServer) -> None:
    """`--log-format console` gives a file or a pipe what a terminal shows, without its codes."""
    done = _fast(tmp_path, server, "--log-format", "console")
    assert done.code == 0
    assert "{" not in done.stderr
    assert "\x1b" not in done.stderr
    words = " ".join(done.stderr.split())
    assert "to cancel 20 " in words
    assert "20 succeeded, 0 failed in " in words
    assert "in flight" not in words


def _first_in_path(directory: Path) -> str:
    """Where Python looks for modules, with this directory before all others."""
    return os.pathsep.join(filter(None, (str(directory), os.environ.get("PYTHONPATH"))))


@pytest.mark.parametrize(
    ("loop", "code", "made"), [("asyncio", 0, False), ("uvloop", 0, True), ("auto", 0, True)]
)
def test_the_event_loop_is_the_one_asked_for(
    tmp_path: Path, server: FaultyServer, loop: str, code: int, made: bool
) -> None:
    """A stand-in for uvloop leaves a mark when its loop is made."""
    stand_in = tmp_path / "modules" / "uvloop.py"
    stand_in.parent.mkdir()
    stand_in.write_text(
        "import asyncio, pathlib\n"
        "def new_event_loop():\n"
        f"    pathlib.Path({str(tmp_path / 'mark')!r}).touch()\n"
        "    return asyncio.new_event_loop()\n"
    )
    done = _fast(tmp_path, server, "--loop", loop, PYTHONPATH=_first_in_path(stand_in.parent))
    assert done.code == code, done.stderr
    assert (tmp_path / "mark").exists() == made
    assert len(server.requests) == 20


@pytest.mark.parametrize(("loop", "code"), [("auto", 0), ("uvloop", 2)])
def test_uvloop_may_be_missing(tmp_path: Path, server: FaultyServer, loop: str, code: int) -> None:
    """`auto` does without it; who asks for it by name is told, and nothing is sent."""
    (tmp_path / "uvloop.py").write_text("raise ImportError('no such module here')\n")
    done = _fast(tmp_path, server, "--loop", loop, PYTHONPATH=_first_in_path(tmp_path))
    assert done.code == code
    assert ("--loop asyncio" in done.stderr) == (code == 2)
    assert len(server.requests) == (20 if code == 0 else 0)


@pytest.mark.parametrize(
    ("header", "column"), [("Instance ID,Owner,Parent ID\n", "Parent ID"), ("", "3")]
)
def test_the_column_is_the_one_named(
    tmp_path: Path, server: FaultyServer, header: str, column: str
) -> None:
    """By its name, or its number where there is no header, although another column has IDs."""
    lines = [f"{a},x,{b}\n" for a, b in zip(IDS[:10], IDS[10:], strict=True)]
    (tmp_path / "ids.csv").write_text(header + "".join(lines))
    done = _fast(tmp_path, server, "--column", column)
    assert done.code == 0, done.stderr
    assert {seen.instance_id for seen in server.requests} == set(IDS[10:])


def test_encoding_and_where_not(tmp_path: Path, server: FaultyServer) -> None:
    """Latin-1 is read where it is named, so that `!=` compares what people see."""
    lines = [f"{each};{'Rémy' if n % 2 else 'Zoë'}" for n, each in enumerate(IDS)]
    text = "\n".join(["id;propriétaire", *lines, ""])
    (tmp_path / "ids.csv").write_bytes(text.encode("latin-1"))
    options = ("--encoding", "latin-1", "--where", "propriétaire!=Rémy")
    done = _fast(tmp_path, server, *options)
    assert done.code == 0, done.stderr
    assert {seen.instance_id for seen in server.requests} == set(IDS[::2])
    (finished,) = done.events("run.finished")
    assert finished["filtered"] == 10


def test_a_settings_file_that_is_named(tmp_path: Path, server: FaultyServer) -> None:
    """Its keys are the options' names, with `-` or `_`; lists are repeated options."""
    rows = [f"{each},{'a' if n < 9 else 'b'},{n % 2}\n" for n, each in enumerate(IDS)]
    (tmp_path / "ids.csv").write_text("id,team,odd\n" + "".join(rows))
    (tmp_path / "ours.toml").write_text(
        'output = "from-file.jsonl"\nmax_failures = 7\nlog-level = "error"\nrate = 5000\n'
        'where = ["team=a", "odd!=1"]\n'
    )
    done = _run(tmp_path, server, "--config", "ours.toml")
    assert done.code == 0, done.stderr
    assert done.stderr == ""
    assert {row["instanceId"] for row in done.rows("from-file.jsonl")} == set(IDS[:9:2])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max-failure = 5\n", "max_failures"),
        ("token = 'x'\n", "token"),
        ("concurrency = 'many'\n", "concurrency"),
        ("[pace]\nrate = 5\n", "pace"),
    ],
)
def test_a_mistake_in_a_settings_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    text: str, said: str,
) -> None:  # fmt: skip
    """A misspelt safety setting must not be silently without effect: exit 2, naming it."""
    (tmp_path / "ours.toml").write_text(text)
    error = _refused(tmp_path, monkeypatch, capfd, "--config", "ours.toml")
    assert said in error


def test_options_from_the_environment(tmp_path: Path, server: FaultyServer) -> None:
    """`BULKCANCEL_` and the option's name in capitals; several `where`s are lines."""
    rows = [f"{each},{'a' if n < 9 else 'b'},{n % 2}\n" for n, each in enumerate(IDS)]
    (tmp_path / "ids.csv").write_text("id,team,odd\n" + "".join(rows))
    done = _run(
        tmp_path, server,
        BULKCANCEL_OUTPUT="named.jsonl", BULKCANCEL_WHERE="team=a\nodd!=1", BULKCANCEL_RATE="5000",
        BULKCANCEL_QUIET="true", BULKCANCEL_SUMMARY="summary.json", BULKCANCEL_SANDBOX="false",
    )  # fmt: skip
    assert (done.code, done.stderr) == (0, "")
    assert {row["instanceId"] for row in done.rows("named.jsonl")} == set(IDS[:9:2])
    assert json.loads((tmp_path / "summary.json").read_text())["filtered"] == 15


def test_a_base_url_in_the_environment_beats_the_instance_there(
    tmp_path: Path, server: FaultyServer
) -> None:
    """Who names a gateway means it, although `DOMO_INSTANCE` is set for other tools."""
    write_ids(tmp_path / "ids.txt", IDS)
    env = environment(DOMO_INSTANCE="acme", BULKCANCEL_BASE_URL=server.base_url)
    done = bulkcancel("run", "ids.txt", "--rate", "10000", cwd=tmp_path, env=env)
    assert done.code == 0, done.stderr
    assert {seen.instance_id for seen in server.requests} == set(IDS)
    assert {row["host"] for row in done.rows()} == {server.host}


def test_resume_beats_overwrite_in_the_environment(tmp_path: Path, server: FaultyServer) -> None:
    """The flag decides what becomes of the earlier results: they are kept and gone on with."""
    assert _fast(tmp_path, server, "--limit", "8").code == 0
    before = (tmp_path / "results.csv").read_bytes()
    done = _fast(tmp_path, server, "--resume", BULKCANCEL_OVERWRITE="true")
    assert done.code == 0, done.stderr
    assert (tmp_path / "results.csv").read_bytes().startswith(before)
    assert len(done.rows()) == 20
    assert max(server.times_seen.values()) == 1


def test_a_dry_run_counts_what_is_in_a_pipe(tmp_path: Path, server: FaultyServer) -> None:
    """It is read to its end, because nothing is sent: IDs, duplicates and invalid rows."""
    lines = [*IDS, *IDS[:4], "abc", "=1+1"]
    target = ("--base-url", server.base_url, "--expect-count", "20")
    stdin = "".join(f"{each}\n" for each in lines).encode()
    done = bulkcancel("run", "--dry-run", *target, cwd=tmp_path, stdin=stdin)
    assert done.code == 0, done.stderr
    (planned,) = done.events("run.planned")
    assert (planned["to_cancel"], planned["duplicates"], planned["invalid"]) == (20, 4, 2)
    assert server.connections == 0
    assert list(tmp_path.iterdir()) == []


def _refused(
    cwd: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    *arguments: str,
) -> str:
    """Run the command line in this process, without its half a second of start; return stderr.

    It must refuse in one line, with exit code 2, leaving every file as it was.
    """
    for name in environment():
        if name.startswith("BULKCANCEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("BULKCANCEL_LOG_FORMAT", "console")
    monkeypatch.chdir(cwd)
    write_ids(cwd / "ids.txt", IDS)
    before = {path: path.read_bytes() for path in cwd.rglob("*") if path.is_file()}
    code = run_cli(["run", "ids.txt", "--sandbox", *arguments])
    out, error = capfd.readouterr()
    assert (code, out) == (2, "")
    assert error.startswith("bulkcancel: ")
    assert error.endswith("\n")
    assert error.count("\n") == 1
    for unwanted in ("Traceback", "pydantic", "\x1b", "For further information"):
        assert unwanted not in error
    assert {path: path.read_bytes() for path in cwd.rglob("*") if path.is_file()} == before
    return error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--attempts", "0"), "--attempts"),
        (("--attempts", "2.5"), "--attempts"),
        (("--burst", "0"), "--burst"),
        (("--concurrency", "1025"), "--concurrency"),
        (("--rate", "0"), "--dry-run"),
        (("--rate", "10/d"), "600/m"),
        (("--rate", "\x1b[31m"), r"\x1b[31m"),
        (("--rate",), "--rate"),
        (("--rate", "5", "--rate", "6"), "--rate"),
        (("--max-failures", "0"), "--max-failures"),
        (("--max-failures", "101%"), "5%"),
        (("--max-outage", "0"), "--max-outage"),
        (("--deadline", "0s"), "--deadline"),
        (("--deadline", "tomorrow"), "2h"),
        (("--grace", "-1"), "--grace"),
        (("--limit", "0"), "--limit"),
        (("--expect-count", "-1"), "--expect-count"),
        (("--expect-count", "19"), "19"),
        (("--log-level", "loud"), "warning"),
        (("--log-format", "xml"), "console"),
        (("--log-file", "none/run.log"), "none/run.log"),
        (("--loop", "trio"), "uvloop"),
        (("--summary", "none/summary.json"), "none"),
        (("--metrics", "none/job.prom"), "the metrics file none/job.prom"),
        (("--metrics", "."), "the metrics file . is a directory"),
        (("--metrics", "s", "--summary", "s"), "cannot be the metrics file"),
        (("--metrics", "ids.txt"), "cannot be the metrics file"),
        (("--token-file", "ids.txt", "-o", "ids.txt"), "ids.txt"),
        (("--column", "3"), "--column"),
        (("--base-url", "https://gw.example"), "--base-url"),
        (("-o", "-", "--resume"), "--resume"),
        (("-o", "none/results.csv"), "none"),
        (("--no-yes",), "--yes"),
        (("--verbose",), "--verbose"),
        (("-x",), "-x"),
        (("-", "-"), "-"),
        (("none.txt",), "none.txt"),
    ],
)
def test_a_value_that_makes_no_sense_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    arguments: tuple[str, ...], said: str,
) -> None:  # fmt: skip
    """Exit 2, naming what is wrong or what would be right; nothing is sent, no file is touched."""
    error = _refused(tmp_path, monkeypatch, capfd, *arguments)
    assert said in error.removeprefix("bulkcancel: ")
