"""Running bulkcancel as a process of its own, as users and schedulers do."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.warm_start import WarmProcess

Process = subprocess.Popen[bytes] | WarmProcess
CANARY = "DDCI-canary-0123456789abcdef"

LATE_TIMER = """
from bulkcancel.cli import process
class LateTimer(process.threading.Timer):
    def __init__(self, interval, *arguments):
        super().__init__(interval + 60, *arguments)
process.threading.Timer = LateTimer
"""
"""A fault under which a stop that hangs is seen: the timer that ends it comes a minute late."""


def environment(**extra: str) -> dict[str, str]:
    """An environment without settings of the user who runs the tests, with a token to look for."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BULKCANCEL_", "DOMO_"))
    }
    return {**kept, "DOMO_DEVELOPER_TOKEN": CANARY, "HOME": "/nonexistent", **extra}


def command(*arguments: str | Path, fault: str = "") -> list[str]:
    """The command line of one bulkcancel process; `fault` is Python that breaks it beforehand."""
    broken = ["-c", f"{fault}\nfrom bulkcancel.__main__ import main\nmain()"]
    return [sys.executable, *(broken if fault else ["-m", "bulkcancel"]), *map(str, arguments)]


@dataclass(frozen=True)
class Finished:
    """A process that has ended."""

    code: int
    stdout: str
    stderr: str
    directory: Path

    def rows(self, name: str = "results.csv") -> list[dict[str, str]]:
        """The rows of a results file, CSV or JSON Lines."""
        with (self.directory / name).open(encoding="utf-8", newline="") as file:
            if name.endswith(".jsonl"):
                return [json.loads(line) for line in file]
            return list(csv.DictReader(file))

    def events(self, name: str) -> list[dict[str, object]]:
        """The JSON events of that name on standard error."""
        lines = [json.loads(line) for line in self.stderr.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]


def bulkcancel(
    *arguments: str | Path,
    cwd: Path,
    stdin: bytes | Path | None = None,
    env: dict[str, str] | None = None,
    timeout_s: float = 60,
    fault: str = "",
    cold: bool = False,
) -> Finished:
    """Run one command to its end; the token must appear in nothing it leaves behind.

    `stdin` is what is piped in, or the file that standard input is redirected from. The process
    is forked from one that has the modules loaded (see `warm_start`). It is started anew if
    `cold`, on Windows, or where `env` has other variables for Python itself than the tests have.
    """
    data = stdin if isinstance(stdin, bytes) else None
    with Path(stdin if isinstance(stdin, Path) else os.devnull).open("rb") as file:
        process = _start(
            arguments,
            cwd=cwd,
            stdin=file.fileno() if data is None else subprocess.PIPE,
            env=environment() if env is None else env,
            fault=fault,
            cold=cold,
        )
    try:
        out, err = process.communicate(data, timeout_s)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return _finished(process, out, err, cwd)


def _start(
    arguments: Sequence[str | Path],
    *,
    cwd: Path,
    stdin: int,
    env: Mapping[str, str],
    fault: str,
    cold: bool,
) -> Process:
    if cold or sys.platform == "win32" or _for_python(env) != _for_python(os.environ):
        return subprocess.Popen(
            command(*arguments, fault=fault),
            cwd=cwd,
            env=env,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    words = [str(each) for each in arguments]
    return WarmProcess(words, cwd=cwd, stdin=stdin, env=env, fault=fault)


def _for_python(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith("PYTHON")}


@contextmanager
def running(
    *arguments: str | Path,
    cwd: Path,
    stdin: int = subprocess.DEVNULL,
    fault: str = "",
    name: str = "run",
    cold: bool = False,
) -> Iterator[Process]:
    """Run that command of bulkcancel with these arguments; it is killed when the block ends.

    It is forked or started as by `bulkcancel`.
    """
    process = _start(
        (name, *arguments), cwd=cwd, stdin=stdin, env=environment(), fault=fault, cold=cold
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: Process, cwd: Path, within_s: float) -> Finished:
    """Wait for the end of a process: within this time, without a traceback, without the token."""
    out, err = process.communicate(timeout=within_s)
    finished = _finished(process, out, err, cwd)
    assert "Traceback" not in finished.stderr
    return finished


def _finished(process: Process, out: bytes, err: bytes, cwd: Path) -> Finished:
    assert process.returncode is not None
    finished = Finished(process.returncode, out.decode("utf-8"), err.decode("utf-8"), cwd)
    assert_no_canary(finished)
    assert_it_adds_up(finished, resumed="--resume" in str(process.args))
    return finished


def assert_it_adds_up(finished: Finished, *, resumed: bool) -> None:
    """Where a run said what it came to: each input row is accounted for, each result is a row."""
    lines = [line for line in finished.stderr.splitlines() if line.startswith("{")]
    for end in [json.loads(line) for line in lines if '"event": "run.finished"' in line]:
        names = ("results", "duplicates", "filtered", "unanswered", "not_reached")
        parts = [end[name] for name in names]
        assert sum(parts) == end["rows_in"], end
        assert min(parts) >= 0, end
        assert sum(end["outcomes"].values()) == end["results"] - end["already_done"], end
        output = end["output"]
        if output == "-":
            assert len(list(csv.DictReader(io.StringIO(finished.stdout)))) == end["results"]
        elif "itself failed" in end["reason"]:
            continue  # a bug may have come between a row and its count
        elif (finished.directory / output).exists():  # else somebody deleted it
            rows = len(finished.rows(output))
            # What an earlier run has left may be of IDs that are not in this input.
            assert rows >= end["results"] if resumed else rows == end["results"], (rows, end)


def assert_no_canary(finished: Finished) -> None:
    """The token is in no output and in no file of the working directory."""
    assert CANARY not in finished.stdout
    assert CANARY not in finished.stderr
    for path in finished.directory.rglob("*"):
        if path.is_file() and path.name != "token.txt":
            assert CANARY.encode() not in path.read_bytes(), path


def write_ids(path: Path, ids: Sequence[str]) -> Path:
    """A plain list of IDs."""
    path.write_text("".join(f"{each}\n" for each in ids))
    return path
