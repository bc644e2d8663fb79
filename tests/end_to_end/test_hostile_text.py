"""Text from a server or an input that is out to harm: spreadsheets, terminals, logs, the token."""

from __future__ import annotations

import csv
import json
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import CANARY, Finished, bulkcancel, running, write_ids
from tests.support.runs import make_ids
from tests.support.waiting import until

BIDI = "\u202egnp.exe\u2066\u200f"
FORGED = 'no\n{"event": "run.finished", "exit_code": 0}\r\x1b[2K'
NAMES = {
    "=1+1": "'=1+1",
    "+1": "'+1",
    "-2+3": "'-2+3",
    "@SUM(A1)": "'@SUM(A1)",
    "\t=x": "'\\x09=x",
    "\r=x": "'\\x0d=x",
    "\x1b[31mred": "\\x1b[31mred",
    "\x9b31mred\x7f": "\\x9b31mred\\x7f",
    BIDI: "\\u202egnp.exe\\u2066\\u200f",
    "a\nb\x00\u2028c": "a\\x0ab\\x00\\u2028c",
    'Zoë, "x"': 'Zoë, "x"',
}
"""Model names, and how they stand in a CSV cell."""
MESSAGES = ["\t=x", "=1+1", "\x1b]0;owned\x07", BIDI, FORGED]
TEXTS = ["\x1b]0;owned\x07", "=cmd|' /C calc'!A0", "@SUM(1)", "\t=x", BIDI, FORGED]
"""What stands in the input where an ID should be."""
INPUT = "=1+1 \x1b[31m\u202e"
COLUMN = "Instance\x1b\u202e ID"
IDS = make_ids(len(NAMES) + len(MESSAGES))
NAMED = dict(zip(IDS, NAMES, strict=False))
REFUSED = dict(zip(IDS[len(NAMES) :], MESSAGES, strict=True))

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="file names as only POSIX has them")


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with running_in_thread(FaultyServer(_plan)) as started:
        yield started


def _plan(instance_id: str, nth: int) -> Answer:
    """Trouble first, so that there is something to log, then the name or the refusal."""
    if nth == 1 and instance_id in IDS[::4]:
        return answers.problem(503, FORGED + BIDI)
    if instance_id in NAMED:
        name = NAMED[instance_id]
        return answers.ok(instance_id, modelName=name, modelVersion=name, status=name)
    return answers.problem(409, REFUSED[instance_id])


def _run(cwd: Path, server: FaultyServer, output: str, *options: str) -> Finished:
    with (cwd / INPUT).open("w", encoding="utf-8", newline="") as file:
        if output.endswith(".csv"):
            csv.writer(file).writerows([(COLUMN, "n"), *((each, "1") for each in [*IDS, *TEXTS])])
        else:
            file.writelines(json.dumps({"id": each}) + "\n" for each in [*IDS, *TEXTS])
    target = ("--base-url", server.base_url, "--rate", "100", "-o", output)
    done = bulkcancel("run", INPUT, *target, *options, cwd=cwd)
    assert done.code == 1, done.stderr
    assert done.stdout == ""
    return done


def _assert_harmless(text: str) -> None:
    """No character that moves a cursor, reorders, hides or forges a line is in it."""
    for line in text.split("\n"):
        kinds = {character: unicodedata.category(character) for character in line}
        assert not {"Cc", "Cf", "Zl", "Zp", "Cs"} & set(kinds.values()), line


def _json_lines(text: str) -> list[dict[str, object]]:
    """One JSON object a line, all of it printable ASCII."""
    assert re.fullmatch(r"(?:[ -~]+\n)*", text)
    objects = [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(each, dict) for each in objects)
    return objects


def test_a_csv_that_spreadsheets_may_open(tmp_path: Path, server: FaultyServer) -> None:
    """No cell is a formula, no byte a control: an apostrophe, or `\\x1b`, makes it harmless."""
    done = _run(tmp_path, server, "results.csv")
    raw = (tmp_path / "results.csv").read_bytes().decode()
    _assert_harmless(raw)
    cells = list(csv.reader(raw.splitlines()))
    assert len(cells) == 1 + len(IDS) + len(TEXTS)
    assert {len(row) for row in cells} == {13}
    assert not [cell for row in cells for cell in row if cell.startswith(tuple("=+-@\t\r"))]
    rows = {row["instanceId"]: row for row in done.rows()}
    for instance_id, name in NAMED.items():
        shown = NAMES[name]
        row = rows[instance_id]
        assert (row["modelName"], row["modelVersion"], row["status"]) == (shown, shown, shown)
    for instance_id, message in REFUSED.items():
        escaped = message.translate({c: f"\\x{c:02x}" for c in range(32)})
        for mark in BIDI:
            escaped = escaped.replace(mark, mark if mark.isascii() else f"\\u{ord(mark):04x}")
        assert rows[instance_id]["error"] == f"rejected: HTTP 409: {escaped}"
    assert "'=cmd|' /C calc'!A0" in rows
    assert "'@SUM(1)" in rows
    assert "\\x1b]0;owned\\x07" in rows
    assert rows[IDS[0]]["source"] == "'=1+1 \\x1b[31m\\u202e:2"


def test_json_lines_are_exact(tmp_path: Path, server: FaultyServer) -> None:
    """What the server and the input said is read back to the letter, from plain ASCII."""
    done = _run(tmp_path, server, "results.jsonl")
    _json_lines((tmp_path / "results.jsonl").read_bytes().decode())
    rows = {row["instanceId"]: row for row in done.rows("results.jsonl")}
    assert set(rows) == {*IDS, *TEXTS}
    for instance_id, name in NAMED.items():
        row = rows[instance_id]
        assert (row["modelName"], row["modelVersion"], row["status"]) == (name, name, name)
    assert rows[IDS[0]]["source"] == f"{INPUT}:1"


def test_logs_hold_one_record_a_line(tmp_path: Path, server: FaultyServer) -> None:
    """JSON on standard error, in the log file and in the summary: nothing raw, nothing forged."""
    options = ("--log-level", "debug", "--log-file", "log.jsonl", "--summary", "s.json")
    done = _run(tmp_path, server, "results.csv", *options)
    events = _json_lines(done.stderr)
    assert _json_lines((tmp_path / "log.jsonl").read_bytes().decode()) == events
    assert [event["event"] for event in events].count("run.finished") == 1
    retries = done.events("cancel.retry_scheduled")
    assert {retry["instance_id"] for retry in retries} == set(IDS[::4])
    assert all("run.finished" in str(retry["error"]) for retry in retries)
    summary = (tmp_path / "s.json").read_bytes().decode()
    assert re.fullmatch(r"[ -~\n]+", summary)
    assert {error["example"] for error in json.loads(summary)["errors"]} >= {IDS[-1], TEXTS[0]}


def test_a_console_log_is_as_harmless(tmp_path: Path, server: FaultyServer) -> None:
    """For eyes instead of machines, at its most talkative: every character shown as what it is."""
    options = ("--log-format", "console", "--log-level", "debug", "--log-file", "log.jsonl")
    done = _run(tmp_path, server, "results.csv", *options)
    _assert_harmless(done.stderr)
    assert "\\x1b]0;owned\\x07" in done.stderr
    assert "\\u202e" in done.stderr
    assert 'column "Instance\\x1b\\u202e ID"' in done.stderr
    assert not [line for line in done.stderr.splitlines() if line.startswith("{")]
    _json_lines((tmp_path / "log.jsonl").read_bytes().decode())


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_refusal_shows_what_it_refuses_escaped(tmp_path: Path, form: str) -> None:
    """Column names and file names come from the input: a message about them is one plain line."""
    (tmp_path / INPUT).write_text(f"\x1b[2J,{BIDI}\n1,2\n")
    done = bulkcancel("run", INPUT, "--sandbox", "--log-format", form, cwd=tmp_path)
    assert done.code == 2
    _assert_harmless(done.stderr)
    assert len(done.stderr.splitlines()) == 1
    said = done.stderr if form == "console" else json.loads(done.stderr)["error"]
    assert ('"\\x1b[2J"' if form == "console" else '"\x1b[2J"') in said


ECHOES: dict[str, Callable[[str], Answer]] = {
    "modelName": lambda i: answers.ok(i, modelName=f"a {CANARY} b"),
    "status": lambda i: answers.ok(i, CANARY),
    "message": lambda _: answers.problem(409, f"a {CANARY} b"),
    "cut message": lambda _: answers.problem(409, "a" * 185 + CANARY),
    "text": lambda _: answers.http(400, f"bad header X-DOMO-Developer-Token: {CANARY}".encode()),
    "header": lambda i: answers.http(
        200, answers.instance(i), {"X-Echo": CANARY, "Set-Cookie": f"t={CANARY}"}
    ),
    "Location": lambda _: answers.redirect(302, f"http://127.0.0.1:9/{CANARY}"),
    "status line": lambda _: answers.gone(sent=f"HTTP/9.9 {CANARY}\r\n\r\n".encode()),
    "header line": lambda _: answers.gone(sent=f"HTTP/1.1 200 OK\r\n{CANARY}\r\n\r\n".encode()),
    "chunk": lambda _: answers.chunked(f"{CANARY}\r\n".encode()),
}


def test_an_echoed_token_goes_nowhere(tmp_path: Path, server: FaultyServer) -> None:
    """A gateway that repeats the token in whatever place: neither it nor a part of it is kept."""
    ids = dict(zip(make_ids(1 + len(ECHOES)), [None, *ECHOES], strict=True))
    write_ids(tmp_path / "ids.txt", list(ids))

    def plan(instance_id: str, _nth: int) -> Answer:
        kind = ids[instance_id]
        return answers.ok(instance_id) if kind is None else ECHOES[kind](instance_id)

    server.plan = plan
    for output, look in (("results.csv", "console"), ("results.jsonl", "json")):
        done = bulkcancel(
            "run", "ids.txt", "--base-url", server.base_url, "--rate", "100", "-o", output,
            "--concurrency", "1", "--attempts", "1", "--log-format", look, "--log-level", "debug",
            "--log-file", "log.jsonl", "--summary", "s.json", cwd=tmp_path,
        )  # fmt: skip
        assert done.code == 1, done.stderr
        left = [path.read_text() for path in tmp_path.iterdir()]
        assert not [text for text in [*left, done.stdout, done.stderr] if "canary" in text]
        rows = {str(ids[row["instanceId"]]): row for row in done.rows(output)}
        assert set(rows) == {"None", *ECHOES}
        assert rows["modelName"]["modelName"] == "a [token] b"
        assert rows["status"]["status"] == "[token]"
        assert rows["message"]["error"] == "rejected: HTTP 409: a [token] b"


def test_an_escaped_token_goes_nowhere(tmp_path: Path, server: FaultyServer) -> None:
    """JSON has many spellings of one text: what counts is what it decodes to."""
    (each,) = make_ids(1)
    write_ids(tmp_path / "ids.txt", [each])
    spelt = "".join(f"\\u{ord(character):04x}" for character in CANARY)
    body = answers.instance(each, modelName="NAME").replace(b"NAME", spelt.encode())
    server.plan = lambda _i, _n: answers.http(200, body)
    done = bulkcancel("run", "ids.txt", "--base-url", server.base_url, cwd=tmp_path)
    assert [row["modelName"] for row in done.rows()] == ["[token]"]


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_the_token_is_not_in_the_process_list(tmp_path: Path, server: FaultyServer) -> None:
    """A list of the machine's processes shows the command, not what it uses."""
    write_ids(tmp_path / "ids.txt", IDS)
    server.plan = lambda i, _n: answers.ok(i)
    with running("ids.txt", "--base-url", server.base_url, cwd=tmp_path, cold=True) as process:
        until(lambda: len(server.requests) >= 2)
        listed = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    assert b"--base-url" in listed
    assert CANARY.encode() not in listed
    assert server.requests[0].headers["x-domo-developer-token"] == CANARY


TELLTALE = """
from bulkcancel.domo.client import DomoClient
async def broken(self, *_, **__):
    secret = self._token
    raise RuntimeError({text})
DomoClient.{name} = broken
"""


def test_a_bug_that_names_the_token_does_not_tell_it(tmp_path: Path, server: FaultyServer) -> None:
    """An unforeseen error with the token in its text is told by its type and place alone."""
    write_ids(tmp_path / "ids.txt", IDS)
    fault = TELLTALE.format(name="cancel", text='f"bad header {secret}"')
    done = bulkcancel(
        "run", "ids.txt", "--base-url", server.base_url, "--rate", "1000", "--log-level", "debug",
        "--log-file", "log.jsonl", "--summary", "s.json", cwd=tmp_path, fault=fault,
    )  # fmt: skip
    assert done.code == 1
    assert len(done.events("bug")) == len(done.rows()) == len(IDS)
    assert all("RuntimeError" in row["error"] for row in done.rows())
    assert "bad header" not in done.stderr + (tmp_path / "results.csv").read_text()


def test_a_traceback_shows_no_values(tmp_path: Path, server: FaultyServer) -> None:
    """A bug that ends the run prints where it was, not what the variables there held."""
    write_ids(tmp_path / "ids.txt", IDS)
    fault = TELLTALE.format(name="__aenter__", text='"a bug"')
    done = bulkcancel("run", "ids.txt", "--base-url", server.base_url, cwd=tmp_path, fault=fault)
    assert done.code == 4
    assert "RuntimeError: a bug" in done.stderr
    assert len(done.events("bug")) == 1
