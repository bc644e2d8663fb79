"""`bulkcancel find` as a process: piped into `run`, left by its reader, stopped by a signal."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.faulty_answers import Answer, End, http, ok
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import (
    LATE_TIMER,
    Finished,
    assert_no_canary,
    command,
    ended,
    environment,
    running,
)
from tests.support.runs import make_ids
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
CALL = "/api/workflow/v2/executions"


class Domo:
    """Runs that are listed until they are cancelled, 25 a page.

    One that `waits` gives no second page before something is cancelled.
    """

    def __init__(self, count: int, *, waits: bool) -> None:
        self.waits = waits
        self.running = make_ids(count)
        self.cancelled: list[str] = []

    def answer(self, path: str, _nth: int) -> Answer:
        """The plan of the server."""
        url = urlsplit(path)
        if url.path != CALL:
            self.running = [each for each in self.running if each != path]
            self.cancelled.append(path)
            return ok(path)
        offset = int(parse_qs(url.query)["offset"][0])
        if offset and not self.cancelled and self.waits:
            return http(503, b"{}", {"Retry-After": "0"})
        page = self.running[offset : offset + 25]
        rows = [{"id": each, "status": "IN_PROGRESS", "modelName": "=x"} for each in page]
        return http(200, json.dumps(rows).encode(), delay_s=0.05 if self.waits else 0)


def _shell(script: str, base_url: str, cwd: Path) -> Finished:
    """Run a line of bash in which `bulkcancel` is this one."""
    bulkcancel = 'bulkcancel() { "${command[@]}" "$@" --base-url "$url"; }'
    done = subprocess.run(
        ["bash", "-c", f'url=$1; shift; command=("$@"); {bulkcancel}; {script}', "bash", base_url,
         *command()],
        cwd=cwd, env=environment(BULKCANCEL_RATE="500"), stdin=subprocess.DEVNULL,
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    finished = Finished(done.returncode, done.stdout.decode(), done.stderr.decode(), cwd)
    assert_no_canary(finished)
    assert "Traceback" not in finished.stderr
    return finished


def test_all_that_runs_is_found_while_it_is_cancelled(tmp_path: Path) -> None:
    """`find | run -` begins with the first page; runs that leave the list make it skip none."""
    domo = Domo(160, waits=True)
    everything = set(domo.running)
    with running_in_thread(FaultyServer(domo.answer)) as server:
        done = _shell(
            "bulkcancel find | bulkcancel run - --yes; echo ${PIPESTATUS[@]}",
            server.base_url, tmp_path,
        )  # fmt: skip
    assert done.stdout == "0 0\n"
    assert set(domo.cancelled) == everything
    assert len(domo.cancelled) == len(everything)
    assert {row["outcome"] for row in done.rows()} == {"accepted"}
    (finished,) = done.events("find.finished")
    assert finished["found"] == 160


def test_a_reader_that_has_enough_ends_it_well(tmp_path: Path) -> None:
    """`find | head -1` has its line and is 0, without a word of the pipe."""
    domo = Domo(160, waits=False)
    with running_in_thread(FaultyServer(domo.answer)) as server:
        done = _shell(
            "bulkcancel find --quiet | head -1; echo ${PIPESTATUS[0]}", server.base_url, tmp_path
        )
    assert done.stdout.splitlines()[0].startswith("instanceId,status,")
    assert done.stdout.splitlines()[1] == "0"
    assert done.stderr == ""


def test_ctrl_c_ends_it_while_the_server_says_nothing(tmp_path: Path) -> None:
    """With the signal's code; nothing waits for the answer."""
    with running_in_thread(FaultyServer(lambda _path, _nth: Answer(end=End.SILENCE))) as server:
        target = ("--base-url", server.base_url)
        with running(*target, cwd=tmp_path, fault=LATE_TIMER, name="find") as process:
            until(lambda: bool(server.requests))
            process.send_signal(signal.SIGINT)
            done = ended(process, tmp_path, within_s=20)
    assert done.code == 130
    assert done.stdout.count("\n") == 1
    assert "interrupted by SIGINT" in done.stderr
