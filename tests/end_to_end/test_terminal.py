"""What a person at a terminal sees and is asked: a process on a pseudo-terminal of its own."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pexpect
import pytest
from rich.cells import cell_len

from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import (
    CANARY,
    Finished,
    assert_no_canary,
    command,
    environment,
    write_ids,
)
from tests.support.runs import make_ids

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="POSIX terminals"),
    # The test server runs in a thread, and pexpect forks (Python 3.12 and later say so).
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
]

WIDTHS = pytest.mark.parametrize("columns", [40, 80, 200])
IDS = make_ids(30)
HOSTILE = ["\x1b[45mred\x1b[0m \x1b]0;title\x07", "txt.\u202egnp.exe", "宽" * 60, "x\x9b45my", "e"]
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_NOT_IN_A_TERMINAL = (
    "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE",
)  # fmt: skip


class Terminal:
    """One process on a terminal: type, wait for a text, read what was drawn."""

    def __init__(
        self,
        argv: list[str],
        *,
        cwd: Path,
        columns: int = 80,
        token: str | None = CANARY,
        term: str = "xterm-256color",
    ) -> None:
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = environment(TERM=term, PATH=programs)
        for name in _NOT_IN_A_TERMINAL:
            env.pop(name, None)
        if token is None:
            del env["DOMO_DEVELOPER_TOKEN"]
        self._cwd = cwd
        self._drawn = io.StringIO()
        self._child = pexpect.spawn(
            argv[0], argv[1:], cwd=str(cwd), env=env, dimensions=(24, columns),
            encoding="utf-8", timeout=20,
        )  # fmt: skip
        self._child.logfile_read = self._drawn
        self._child.delaybeforesend = None
        self._child.delayafterclose = self._child.ptyproc.delayafterclose = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._child.close(force=True)
        assert_no_canary(Finished(0, self.drawn, "", self._cwd))
        assert "Traceback" not in self.drawn

    def wait_for(self, pattern: str) -> None:
        """Return once the terminal shows the pattern."""
        self._child.expect(pattern)

    def asked(self) -> None:
        """Return once the question is there."""
        self._child.expect_exact("[y/N] ")

    def type(self, line: str) -> None:
        """Type a line and press Enter."""
        self._child.sendline(line)

    def press(self, key: str) -> None:
        """Press Ctrl and this key."""
        self._child.sendcontrol(key)

    def end(self) -> int:
        """Return the exit code of the process once it has ended."""
        self._child.expect(pexpect.EOF)
        code: int = self._child.wait()
        return code

    @property
    def drawn(self) -> str:
        """All that was written to the terminal, as it was written."""
        return self._drawn.getvalue()

    @property
    def text(self) -> str:
        """The same without colours and cursor movements."""
        return _CONTROL.sub("", self.drawn)

    @property
    def lines(self) -> list[str]:
        """The same, line by line; every drawing of the bar has lines of its own."""
        return re.split(r"[\r\n]+", self.text)

    @property
    def words(self) -> str:
        """The same, with every line break and run of spaces as one space."""
        return " ".join(self.text.split())


@contextlib.contextmanager
def _run(
    cwd: Path,
    *arguments: str,
    columns: int = 80,
    token: str | None = CANARY,
    term: str = "xterm-256color",
) -> Iterator[Terminal]:
    argv = command("run", *arguments)
    with Terminal(argv, cwd=cwd, columns=columns, token=token, term=term) as terminal:
        yield terminal


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with running_in_thread(FaultyServer()) as running:
        yield running


def _sent(server: FaultyServer) -> list[str]:
    return sorted(request.instance_id for request in server.requests)


def _assert_fits(terminal: Terminal, columns: int) -> None:
    """No line but the command to copy, which must not be broken, is wider than the terminal."""
    too_wide = [
        line
        for line in terminal.lines
        if cell_len(line) > columns and not line.startswith("To finish: ")
    ]
    assert too_wide == []


@WIDTHS
def test_the_plan_is_shown_and_no_sends_nothing(
    tmp_path: Path, server: FaultyServer, columns: int
) -> None:
    """Host, counts, named invalid rows, pace and duration; `n` ends it with nothing done."""
    write_ids(tmp_path / "ids.txt", [*IDS, *IDS[:3], *HOSTILE])
    with _run(tmp_path, "ids.txt", "--base-url", server.base_url, columns=columns) as terminal:
        terminal.asked()
        terminal.type("n")
        assert terminal.end() == 130
        for said in (
            f"host {server.host} ",
            "input ids.txt ",
            "to cancel 30 ",
            "duplicates 3 (sent once) ",
            "invalid 5 (nothing is sent for them) ids.txt:34: ",
            "ids.txt:35: ",
            "ids.txt:36: ",
            "… and 2 more ",
            "pace 10 a second at most, 16 at a time: about 3.0 s ",
            "results results.csv ",
            f"Cancel 30 runs on {server.host}? [y/N] n Stopped: not confirmed: nothing",
        ):
            assert said in terminal.words
        _assert_fits(terminal, columns)
    assert server.connections == 0
    assert [path.name for path in tmp_path.iterdir()] == ["ids.txt"]


def test_foreign_text_moves_no_cursor(tmp_path: Path, server: FaultyServer) -> None:
    """Control and bidi characters of the input and of the server's message are shown as codes."""
    server.plan = lambda _i, _n: answers.problem(400, "\x1b[45mboo\u202e\x9b45m")
    write_ids(tmp_path / "ids.txt", [IDS[0], *HOSTILE])
    with _run(tmp_path, "ids.txt", "--base-url", server.base_url, columns=200) as terminal:
        terminal.asked()
        plan = terminal.text
        terminal.type("y")
        assert terminal.end() == 1
        assert r"\x1b[45mred\x1b[0m \x1b]0;title\x07" in plan
        assert r"txt.\u202egnp.exe" in plan
        assert r"boo\u202e\x9b45m" in terminal.text
        foreign = ("\x1b[45m", "\x1b]", "\x07", "\u202e", "\x9b")
        assert [each for each in foreign if each in terminal.drawn] == []


@pytest.mark.parametrize("answer", ["", "yep", "^D"])
def test_only_yes_is_a_yes(tmp_path: Path, server: FaultyServer, answer: str) -> None:
    """Enter alone, a slip and the end of input send nothing."""
    write_ids(tmp_path / "ids.txt", IDS)
    with _run(tmp_path, "ids.txt", "--base-url", server.base_url) as terminal:
        terminal.asked()
        if answer == "^D":
            terminal.press("d")
        else:
            terminal.type(answer)
        assert terminal.end() == 130
        assert "nothing was sent" in terminal.text
        assert "To finish" not in terminal.text
    assert server.connections == 0
    assert [path.name for path in tmp_path.iterdir()] == ["ids.txt"]


def test_ctrl_c_at_the_question_sends_nothing(tmp_path: Path, server: FaultyServer) -> None:
    """It ends with 130 and leaves no file; what was typed before the question is no answer."""
    write_ids(tmp_path / "ids.txt", IDS)
    with _run(tmp_path, "ids.txt", "--base-url", server.base_url) as terminal:
        terminal.type("yes")
        terminal.asked()
        terminal.press("c")
        assert terminal.end() == 130
        assert "nothing was sent" in terminal.text
    assert server.connections == 0
    assert [path.name for path in tmp_path.iterdir()] == ["ids.txt"]


def _some_fail(instance_id: str, _nth: int) -> Answer:
    place = RUN.index(instance_id)
    if place < 12:
        return answers.problem(404)
    if place < 17:
        return answers.problem(403)
    status = "CANCELED" if place < 30 else "IN_PROGRESS"
    return Answer(answers.ok(instance_id, status).data, delay_s=0.1)


RUN = make_ids(80)


@WIDTHS
def test_a_run_shows_how_far_it_is_and_what_it_came_to(tmp_path: Path, columns: int) -> None:
    """After `y`: a bar with figures while it works, then counts, grouped errors, what to do."""
    write_ids(tmp_path / "ids.txt", [*reversed(RUN), "abc"])
    with running_in_thread(FaultyServer(_some_fail)) as server:
        target = ("--base-url", server.base_url, "--rate", "100")
        with _run(tmp_path, "ids.txt", *target, columns=columns) as terminal:
            terminal.asked()
            assert server.connections == 0
            terminal.type("y")
            assert terminal.end() == 1
            bar, _, summary = terminal.words.partition("[y/N] y ")[2].partition(" outcome IDs ")
            _assert_fits(terminal, columns)
    bar = bar.replace(" · ", " ")  # what is wrapped has none at the ends of lines
    done = [int(each) for each in re.findall(r"(\d+)/80 ━", bar)]
    assert len(done) >= 3
    assert done == sorted(done)
    assert done[-1] == 80
    assert re.search(r"\d+% [0-9.]+ s so far ", bar)
    assert re.search(r"\d+ accepted (\d+ canceled )?.*1 invalid ", bar)
    assert "50 accepted 13 canceled 12 not_found 1 invalid 5 forbidden " in bar
    rates = re.findall(r"(\d+\.\d)/s of 100 (\d+) in flight", bar)
    assert len(rates) == len(done)
    assert max(int(in_flight) for _, in_flight in rates) >= 5
    assert 10 < float(rates[len(rates) // 2][0]) < 130
    for said in (
        "accepted 50 cancelling was requested; the run had not stopped yet ",
        "canceled 13 stopped ",
        "not_found 12 no such run ",
        "invalid 1 no instance ID; nothing was sent ",
        "forbidden 5 the token has no right to this workflow ",
        "63 succeeded, 18 failed in ",
        " with 80 requests (0 retries, 0 throttled). ",
        f"12 × not_found: HTTP 404: no {RUN[11]} ids.txt:69 ",
        "5 × forbidden: HTTP 403: no",
        "1 × invalid_id: not a UUID abc ids.txt:81 ",
        "The rows that failed say why: results.csv",
    ):
        assert said in summary
    assert summary.index("12 ×") < summary.index("5 ×")


@pytest.mark.parametrize("columns", [80, 200])
def test_ctrl_c_ends_a_run_with_the_command_that_finishes_it(tmp_path: Path, columns: int) -> None:
    """It says that it stops, shows the cursor again, and its last line, pasted, does the rest."""
    name = "stuck runs of the first quarter, exported on Monday by Mary's team.txt"
    write_ids(tmp_path / name, RUN)
    with running_in_thread(
        FaultyServer(lambda i, _n: Answer(answers.ok(i).data, delay_s=0.2))
    ) as server:
        target = ("--base-url", server.base_url, "--rate", "70")
        with _run(tmp_path, name, *target, columns=columns) as terminal:
            terminal.asked()
            terminal.type("y")
            terminal.wait_for("accepted")
            terminal.press("c")
            assert terminal.end() == 130
            assert re.search(r"stopping: waits up to 10 s for \d+ request", terminal.words)
            assert "in flight; Ctrl-C again cuts them off" in terminal.words
            assert "Stopped: interrupted by SIGINT" in terminal.words
            _assert_fits(terminal, columns)
            (line,) = [each for each in terminal.lines if each.startswith("To finish: ")]
            assert terminal.drawn.rindex("\x1b[?25h") > terminal.drawn.rindex("\x1b[?25l")
        done = len(Finished(0, "", "", tmp_path).rows())
        assert len(server.requests) == done < 80
        assert f"{80 - done} not reached" in terminal.words
        argv = shlex.split(line.removeprefix("To finish: "))
        assert argv[0] == "bulkcancel"
        with Terminal(argv, cwd=tmp_path, columns=columns) as terminal:
            terminal.asked()
            assert f"to cancel {80 - done} done before {done} " in terminal.words
            terminal.type("y")
            assert terminal.end() == 0
            _assert_fits(terminal, columns)
        assert _sent(server) == sorted(RUN)
    rows = Finished(0, "", "", tmp_path).rows()
    assert sorted(row["instanceId"] for row in rows) == sorted(RUN)


def test_yes_asks_nothing(tmp_path: Path, server: FaultyServer) -> None:
    """Plan and summary are shown as ever, and where the results are."""
    write_ids(tmp_path / "ids.txt", IDS)
    target = ("--base-url", server.base_url, "--rate", "1000")
    with _run(tmp_path, "ids.txt", *target, "--yes") as terminal:
        assert terminal.end() == 0
        assert "[y/N]" not in terminal.text
        assert "to cancel 30 " in terminal.words
        assert terminal.words.endswith("Results: results.csv")
    assert _sent(server) == sorted(IDS)


def test_the_token_is_typed_unseen(tmp_path: Path, server: FaultyServer) -> None:
    """Asked for where the environment holds none; what is typed does not appear, and works."""
    write_ids(tmp_path / "ids.txt", IDS)
    target = ("--base-url", server.base_url, "--rate", "1000")
    with _run(tmp_path, "ids.txt", *target, token=None) as terminal:
        terminal.wait_for("token: ")
        terminal.type(CANARY)
        terminal.asked()
        assert server.connections == 0
        terminal.type("y")
        assert terminal.end() == 0
        assert CANARY not in terminal.drawn
    assert {seen.headers["x-domo-developer-token"] for seen in server.requests} == {CANARY}
    assert _sent(server) == sorted(IDS)


@pytest.mark.parametrize(
    ("key", "code", "said"),
    [("m", 2, "it is empty"), ("d", 130, "nothing was sent"), ("c", 130, "nothing was sent")],
)
def test_a_token_that_is_not_typed(
    tmp_path: Path, server: FaultyServer, key: str, code: int, said: str
) -> None:
    """Enter, the end of input and Ctrl-C end it, and the terminal shows again what is typed."""
    write_ids(tmp_path / "ids.txt", IDS)
    run = shlex.join(command("run", "ids.txt", "--base-url", server.base_url))
    script = f"trap : INT; {run}; echo code $?; stty -a"
    with Terminal(["bash", "-c", script], cwd=tmp_path, token=None) as terminal:
        terminal.wait_for("token: ")
        terminal.press(key)
        assert terminal.end() == 0
        assert said in terminal.text
        assert f" code {code} " in terminal.words
        assert re.search(r"(?<!-)\becho\b", terminal.words.partition(" code ")[2])
    assert server.connections == 0
    assert [path.name for path in tmp_path.iterdir()] == ["ids.txt"]


@pytest.mark.parametrize(("answer", "sent"), [("n", 0), ("y", 30)])
def test_ids_are_piped_and_a_terminal_is_there(
    tmp_path: Path, server: FaultyServer, answer: str, sent: int
) -> None:
    """Token and confirmation are asked on the terminal, not taken from the list of IDs."""
    write_ids(tmp_path / "ids.txt", ["y", *IDS])
    run = shlex.join(command("run", "-", "--base-url", server.base_url, "--rate", "1000"))
    script = f"cat ids.txt | {run}"
    with Terminal(["bash", "-c", script], cwd=tmp_path, token=None) as terminal:
        terminal.wait_for("token: ")
        terminal.type(CANARY)
        terminal.asked()
        assert "to cancel as they come " in terminal.words
        assert server.connections == 0
        terminal.type(answer)
        assert terminal.end() == (1 if sent else 130)  # "y" is an invalid row
    assert _sent(server) == sorted(IDS)[:sent]
    assert (tmp_path / "results.csv").exists() == bool(sent)


def test_a_dumb_terminal_gets_no_bar(tmp_path: Path, server: FaultyServer) -> None:
    """Where a cursor cannot be moved, nothing is drawn over, and question and summary remain."""
    server.plan = lambda i, _n: Answer(answers.ok(i).data, delay_s=0.1)
    write_ids(tmp_path / "ids.txt", IDS)
    target = ("--base-url", server.base_url, "--rate", "100")
    with _run(tmp_path, "ids.txt", *target, term="dumb") as terminal:
        terminal.asked()
        terminal.type("y")
        assert terminal.end() == 0
        assert "\x1b" not in terminal.drawn
        assert "in flight" not in terminal.text
        assert "30 succeeded, 0 failed" in terminal.words
        _assert_fits(terminal, 80)


@pytest.mark.parametrize("token", [CANARY, None])
def test_a_dry_run_asks_nothing(tmp_path: Path, server: FaultyServer, token: str | None) -> None:
    """Neither for the token nor whether to begin: what would be asked for is no fault."""
    write_ids(tmp_path / "ids.txt", IDS)
    target = ("--base-url", server.base_url, "--dry-run")
    with _run(tmp_path, "ids.txt", *target, token=token) as terminal:
        assert terminal.end() == 0
        assert "to cancel 30 " in terminal.words
        assert terminal.words.endswith("Dry run: nothing was sent.")
        assert "token: " not in terminal.text
    assert server.connections == 0
    assert [path.name for path in tmp_path.iterdir()] == ["ids.txt"]


def test_quiet_shows_nothing(tmp_path: Path, server: FaultyServer) -> None:
    """A run that goes well leaves the terminal as it was."""
    write_ids(tmp_path / "ids.txt", IDS)
    target = ("--base-url", server.base_url, "--rate", "200", "--yes", "--quiet")
    with _run(tmp_path, "ids.txt", *target) as terminal:
        assert terminal.end() == 0
        assert terminal.drawn == ""
    assert _sent(server) == sorted(IDS)


def test_quiet_still_tells_why_a_run_was_stopped(tmp_path: Path, server: FaultyServer) -> None:
    """A refused token is told, in words, without plan, bar or table."""
    server.plan = lambda _i, _n: answers.problem(401)
    write_ids(tmp_path / "ids.txt", IDS)
    target = ("--base-url", server.base_url, "--yes", "--quiet")
    with _run(tmp_path, "ids.txt", *target) as terminal:
        assert terminal.end() == 3
        assert f"{server.host} refused the token" in terminal.words
        for unwanted in ("to cancel", "in flight", "succeeded", "Stopped:"):
            assert unwanted not in terminal.text


def test_json_lines_on_a_terminal_come_alone(tmp_path: Path, server: FaultyServer) -> None:
    """Who asks for `--log-format json` gets neither plan nor bar between the lines."""
    write_ids(tmp_path / "ids.txt", IDS)
    target = ("--base-url", server.base_url, "--rate", "200", "--yes", "--log-format", "json")
    with _run(tmp_path, "ids.txt", *target) as terminal:
        assert terminal.end() == 0
        finished = Finished(0, "", terminal.drawn, tmp_path)
        assert len(finished.events("run.finished")) == 1
        assert [line for line in terminal.lines if line and not line.startswith("{")] == []
