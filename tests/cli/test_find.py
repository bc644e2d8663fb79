"""`bulkcancel find`: what it writes and says, against servers over a real socket."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, cast
from urllib.parse import parse_qs, urlsplit

import pytest

from bulkcancel.cli.app import run_cli
from bulkcancel.cli.process import SIGNALS
from bulkcancel.cli.server import paced_get
from bulkcancel.domo import AttemptError, DomoClient, Reply
from bulkcancel.errors import InterruptedRunError, StoppedError, TokenRefusedError
from bulkcancel.http import ConnectFailedError
from bulkcancel.pacing import Pacer
from tests.support.faulty_answers import Answer, End, http
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.runs import TOKEN, make_ids
from tests.support.virtual_time import now, on_virtual_time

HEADER = "instanceId,status,modelName,modelVersion,modelId,startedAt,triggerType"
HTML = b"<html><body>Sign in</body></html>"
IDS = make_ids(250)
Told = tuple[int, str, str]


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("DOMO_DEVELOPER_TOKEN", TOKEN)
    monkeypatch.setenv("BULKCANCEL_LOG_FORMAT", "console")
    monkeypatch.delenv("DOMO_INSTANCE", raising=False)
    yield
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def _row(instance_id: str, **fields: object) -> dict[str, object]:
    known = {
        "modelName": "Invoices", "modelVersion": "1.1.0", "modelId": "m-1", "triggerType": "API",
        "startedAt": "2026-01-12T06:00:00Z",
    }  # fmt: skip
    return {"id": instance_id, "status": "IN_PROGRESS", **known, **fields}


def _pages(rows: list[dict[str, object]]) -> Callable[[str, int], Answer]:
    """The plan of a server that gives these rows in pages."""

    def plan(path: str, _nth: int) -> Answer:
        query = parse_qs(urlsplit(path).query)
        offset = int(query["offset"][-1])
        page = rows[offset : offset + int(query["limit"][-1])]
        return http(200, json.dumps(page).encode())

    return plan


@contextmanager
def _server(plan: Callable[[str, int], Answer]) -> Iterator[FaultyServer]:
    with running_in_thread(FaultyServer(plan)) as server:
        yield server


def _find(
    plan: Callable[[str, int], Answer], capfd: pytest.CaptureFixture[str], *options: str
) -> Told:
    """Run the command against a server; return exit code, standard output and error."""
    with _server(plan) as server:
        code = run_cli(["find", "--base-url", server.base_url, "--rate", "1000", *options])
    out, err = capfd.readouterr()
    assert TOKEN not in out + err
    assert "Traceback" not in err
    return code, out, err


def test_it_lists_all_pages_as_csv(capfd: pytest.CaptureFixture[str]) -> None:
    """A header and a row for each execution; what it came to on standard error."""
    rows = [_row(each) for each in IDS]
    rows[7]["status"] = "COMPLETED"  # the server ignores what it is asked for
    code, out, err = _find(_pages(rows), capfd)
    assert code == 0
    assert out.splitlines()[0] == HEADER
    assert out.splitlines()[1] == (
        f"{IDS[0]},IN_PROGRESS,Invoices,1.1.0,m-1,2026-01-12T06:00:00Z,API"
    )
    assert [row["instanceId"] for row in csv.DictReader(io.StringIO(out))] == IDS[:7] + IDS[8:]
    assert "unofficial" in err
    assert "249 found on 127.0.0.1:" in err
    assert "left out: 1 another status" in err


def test_nothing_found_is_the_header_alone(capfd: pytest.CaptureFixture[str]) -> None:
    """And a success."""
    code, out, err = _find(_pages([]), capfd)
    assert (code, out) == (0, f"{HEADER}\n")
    assert "0 found" in err


def test_texts_of_strangers_harm_neither_spreadsheets_nor_readers(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Formulas, line ends, quotes, escapes and the token itself; JSON Lines has the exact text."""
    names = ["=1+1", 'a,"b"\r\nc', "\x1b[31m\u202e", "Réclamation", f"x {TOKEN}", 7, None, {"a": 1}]
    rows = [_row(one, modelName=name) for one, name in zip(IDS, names, strict=False)]
    code, out, _ = _find(_pages(rows), capfd)
    assert code == 0
    assert [row["modelName"] for row in csv.DictReader(io.StringIO(out))] == [
        "'=1+1", 'a,"b"\\x0d\\x0ac', "\\x1b[31m\\u202e", "Réclamation", "x [token]", "7", "", "",
    ]  # fmt: skip
    assert len(out.splitlines()) == 1 + len(rows)
    code, out, _ = _find(_pages(rows), capfd, "-o", "list.jsonl", "--quiet")
    assert (code, out) == (0, "")
    lines = (tmp_path / "list.jsonl").read_text().splitlines()
    assert [json.loads(line)["modelName"] for line in lines] == [
        *names[:4], "x [token]", "7", None, None,
    ]  # fmt: skip
    assert list(json.loads(lines[0])) == HEADER.split(",")


def test_a_file_is_written_whole_with_rights_for_its_owner_alone(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It takes the place of an earlier list."""
    (tmp_path / "list.csv").write_text("an earlier one")
    code, out, _ = _find(_pages([_row(each) for each in IDS]), capfd, "--output", "list.csv")
    assert (code, out) == (0, "")
    assert len((tmp_path / "list.csv").read_text().splitlines()) == 251
    assert stat.S_IMODE((tmp_path / "list.csv").stat().st_mode) == 0o600
    assert _names(tmp_path) == ["list.csv"]


def test_a_file_stays_as_it_was_if_the_list_breaks_off(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The second page is refused."""
    (tmp_path / "list.csv").write_text("an earlier one")
    pages = _pages([_row(each) for each in IDS])

    def plan(path: str, nth: int) -> Answer:
        return pages(path, nth) if "offset=0" in path else http(401, b'{"message": "gone"}')

    code, _, err = _find(plan, capfd, "-o", "list.csv")
    assert code == 3
    assert "the server refused the token (HTTP 401: gone)" in err
    assert (tmp_path / "list.csv").read_text() == "an earlier one"
    assert _names(tmp_path) == ["list.csv"]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("folder.csv", "is a directory"),
        ("no/such/list.csv", "there is no directory no/such"),
        ("link.csv", "is no plain file"),
        ("fifo.csv", "is no plain file"),
        ("list.txt", "must end in .csv or .jsonl"),
        ("/dev/stdout", "must end in .csv or .jsonl"),
        ("results.csv", "is a results file of a run and is kept"),
        ("results.jsonl", "is a results file of a run and is kept"),
        ("folder.csv/x.csv/y.csv", "there is no directory"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_anything_is_asked(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, output: str, said: str
) -> None:
    """In a sentence; nothing is touched."""
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "link.csv").symlink_to("results.csv")
    os.mkfifo(tmp_path / "fifo.csv")
    (tmp_path / "results.csv").write_text("instanceId,outcome,status\n")
    (tmp_path / "results.jsonl").write_text('{"instanceId": "x", "outcome": "accepted"}\n')
    before = _names(tmp_path)
    assert run_cli(["find", "--base-url", "http://127.0.0.1:1", "-o", output]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert _names(tmp_path) == before


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (http(200, HTML), 4, "answers something else than a list (HTTP 200: an HTML page)"),
        (http(200, b'{"id": 1}'), 4, "answers something else than a list"),
        (http(401, HTML), 3, "the server refused the token (HTTP 401: an HTML page)"),
        (http(403, b'{"message": "no"}'), 3, "Manage Workflows grant"),
        (http(403, HTML), 4, "something on the way has answered"),
        (http(404, b'{"message": "no such call"}'), 4, "HTTP 404: no such call"),
        (http(400, json.dumps({"message": f"x {TOKEN}"}).encode()), 4, "HTTP 400: x [token]"),
        (http(429, b"{}", {"Retry-After": "86400"}), 4, "asks to be left alone for 86,400 s"),
    ],
)
def test_what_does_not_pass_is_a_sentence_and_the_end(
    capfd: pytest.CaptureFixture[str], answer: Answer, code: int, said: str
) -> None:
    """No row, no traceback, no token; the exit code says what kind of trouble it is."""
    came, out, err = _find(lambda _path, _nth: answer, capfd)
    assert came == code
    assert out == f"{HEADER}\n"
    assert said in err


def test_a_redirect_is_not_followed(capfd: pytest.CaptureFixture[str]) -> None:
    """The other host sees nothing."""
    with _server(lambda _path, _nth: http(200, b"[]")) as other:
        moved = http(302, b"", {"Location": f"{other.base_url}/api/workflow/v2/executions"})
        code, _, err = _find(lambda _path, _nth: moved, capfd)
        assert other.connections == 0
    assert code == 4
    assert "redirect (HTTP 302), which is never followed" in err


def test_a_server_that_is_not_there_is_told_at_once(
    capfd: pytest.CaptureFixture[str], unused_port: int
) -> None:
    """As for a name that is misspelt."""
    code = run_cli(["find", "--base-url", f"http://127.0.0.1:{unused_port}"])
    assert code == 4
    assert "check the instance name" in capfd.readouterr().err


def test_trouble_that_passes_costs_no_row(capfd: pytest.CaptureFixture[str]) -> None:
    """A limit with Retry-After is waited for; a connection given up while idle is asked anew."""
    pages = _pages([_row(each) for each in IDS])

    def plan(path: str, nth: int) -> Answer:
        if "offset=0" in path and nth == 1:
            return http(429, b"{}", {"Retry-After": "1"})
        answer = pages(path, nth)
        return Answer(answer.data, end=End.CLOSE_ON_NEXT) if "offset=99" in path else answer

    with _server(plan) as server:
        code = run_cli(["find", "--base-url", server.base_url, "--rate", "1000"])
        assert server.unheard == 1
        assert server.requests[1].at - server.requests[0].at > 0.99
    assert code == 0
    assert len(capfd.readouterr().out.splitlines()) == 251


@pytest.mark.parametrize(("rate", "per_s"), [("auto", 10), ("600/m", 10), ("2", 2)])
def test_each_request_is_a_read_in_its_turn(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, rate: str, per_s: float
) -> None:
    """GETs alone, with the token in Domo's header, the filters as parameters, at `--rate`."""
    options = [
        "--status", "in_progress,FAILED", "--model-id", "m-1", "--model-id", "m-2",
        "--model-version", "1.1.0", "--trigger", "API", "--older-than", "1h", "--rate", rate,
    ]  # fmt: skip
    paces: list[float] = []

    class Noted(Pacer):
        def __init__(self, rate_per_s: float) -> None:
            super().__init__(1000)
            paces.append(rate_per_s)

    monkeypatch.setattr("bulkcancel.cli.commands.find.Pacer", Noted)
    rows = [_row(each) for each in IDS[:5]]
    rows.append(_row(IDS[5], startedAt="2999-01-01T00:00:00Z"))
    with _server(_pages(rows)) as server:
        code = run_cli(["find", "--base-url", server.base_url, *options])
        seen = server.requests
    assert code == 0
    assert {each.method for each in seen} == {"GET"}
    assert {each.headers["x-domo-developer-token"] for each in seen} == {TOKEN}
    queries = [parse_qs(urlsplit(each.path).query) for each in seen]
    assert queries[0] == {
        "modelId": ["m-1"], "version": ["1.1.0"], "status": ["IN_PROGRESS,FAILED"],
        "triggerTypes": ["API"], "limit": ["100"], "offset": ["0"],
    }  # fmt: skip
    assert {query["modelId"][0] for query in queries} == {"m-1", "m-2"}
    assert paces == [per_s]
    assert len(capfd.readouterr().out.splitlines()) == 6


@on_virtual_time
async def test_a_server_that_goes_away_for_a_while_is_asked_again() -> None:
    """Unlike one that was never there; what cannot pass is raised at once."""

    class Client:
        host = "acme.domo.com"
        redacted = str
        outcomes: ClassVar[list[Reply | AttemptError]] = []

        async def read(self, _target: str, *, most_bytes: int) -> Reply:
            assert most_bytes > 10**6
            outcome = self.outcomes.pop(0)
            if isinstance(outcome, AttemptError):
                raise outcome
            return outcome

    client = Client()
    get = paced_get(cast("DomoClient", client), Pacer(10, clock=now))
    good: Reply = (200, {}, b"[]", 0.0)
    gone = ConnectFailedError("refused")
    client.outcomes[:] = [gone, good]
    with pytest.raises(StoppedError, match="check the instance name"):
        await get("/x")
    client.outcomes[:] = [good, gone, gone, gone, gone, good, (401, {}, b"{}", 0.0), good]
    assert await get("/x") == await get("/x") == good
    with pytest.raises(TokenRefusedError):
        await get("/x")
    assert client.outcomes == [good]


def test_the_limit_ends_it(capfd: pytest.CaptureFixture[str]) -> None:
    """In the middle of a page, and no other page is asked for."""
    with _server(_pages([_row(each) for each in IDS])) as server:
        code = run_cli(["find", "--base-url", server.base_url, "--limit", "120", "--rate", "1000"])
        assert len(server.requests) == 2
    assert code == 0
    assert [line[:36] for line in capfd.readouterr().out.splitlines()[1:]] == IDS[:120]


def test_a_log_has_events(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """JSON lines where there is no terminal, named by the command; one log file as for run."""
    rows = [_row(IDS[0]), _row(IDS[1], status=None)]
    options = ("--log-format", "json", "--log-file", "log", "--model-id", "m-1")
    code, _, err = _find(_pages(rows), capfd, *options)
    assert code == 0
    events = [json.loads(line) for line in err.splitlines()]
    assert [each["event"] for each in events] == ["find.note", "find.finished"]
    assert (events[-1]["found"], events[-1]["left_out"]) == (1, {"no status": 1})
    assert [json.loads(x) for x in (tmp_path / "log").read_text().splitlines()] == events
    code, _, err = _find(lambda _path, _nth: http(200, HTML), capfd, "--log-format", "json")
    last = json.loads(err.splitlines()[-1])
    assert (last["event"], last["level"], last["exit_code"]) == ("find.failed", "error", 4)


def test_quiet_says_nothing_but_errors(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing at all if it went well."""
    assert _find(_pages([_row(IDS[0])]), capfd, "--quiet")[2] == ""
    code, _, err = _find(lambda _path, _nth: http(200, HTML), capfd, "--quiet")
    assert code == 4
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("stuck.csv", "bulkcancel find takes options alone"),
        ("--older-then 6h", "did you mean --older-than?"),
        ("--older-than 0", "--older-than: the duration must be above 0"),
        ("--older-than soon", "--older-than: 'soon' is not a duration"),
        ("--limit 0", "--limit must be 1 or more"),
        ("--model-id=", "--model-id is empty (is a variable empty?): leave it out"),
        ("--status=", "--status is empty"),
        ("--model-version=", "--model-version is empty"),
        ("--log-file list.csv -o list.csv", "cannot be the log file as well"),
    ],
)
def test_a_mistake_is_a_sentence_with_the_fix(
    capfd: pytest.CaptureFixture[str], options: str, said: str
) -> None:
    """An empty filter, above all, must not list everything."""
    assert run_cli(["find", "--sandbox", *options.split()]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


def test_a_refusal_is_an_event_where_logs_are_json(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """As for run, and named by its command."""
    assert run_cli(["find", "--limit", "0", "--log-format", "json"]) == 2
    assert json.loads(capfd.readouterr().err)["event"] == "find.refused"


def test_settings_of_run_are_shared_and_its_own_are_flags_alone(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A limit or results file meant for run cuts no list short; a name that nobody has is told."""
    (tmp_path / "ours.toml").write_text("sandbox = true\noutput = 'x.csv'\nrate = 'auto'\n")
    monkeypatch.setenv("BULKCANCEL_LIMIT", "1")
    assert run_cli(["find", "--config", "ours.toml"]) == 0
    assert len(capfd.readouterr().out.splitlines()) > 2
    monkeypatch.setenv("BULKCANCEL_OLDER_THAN", "1h")
    assert run_cli(["find", "--config", "ours.toml"]) == 2
    assert "BULKCANCEL_OLDER_THAN" in capfd.readouterr().err


def test_a_signal_ends_it_and_leaves_no_file(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """While a server says nothing; the code names the signal."""

    def plan(_path: str, _nth: int) -> Answer:
        handler = SIGNALS._on_signal
        assert handler is not None
        handler(InterruptedRunError("SIGTERM", signal.SIGTERM), False)
        return Answer(end=End.SILENCE)

    code, _, err = _find(plan, capfd, "-o", "list.csv")
    assert code == 143
    assert "interrupted by SIGTERM" in err
    assert _names(tmp_path) == []


def test_a_full_disk_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    """Exit 5: the list could not be written."""
    if not Path("/dev/full").exists():
        pytest.skip("Linux")
    held = os.dup(1)
    try:
        with Path("/dev/full").open("wb") as full:
            os.dup2(full.fileno(), sys.stdout.fileno())
        code, _, err = _find(_pages([]), capfd)
    finally:
        os.dup2(held, 1)
        os.close(held)
    assert code == 5
    assert "cannot write to standard output" in err
