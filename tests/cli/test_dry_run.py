"""`--dry-run`: refuses what the real run would refuse, asks nothing, makes no file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkcancel.cli.app import run_cli
from bulkcancel.results.codec import Format
from bulkcancel.results.lock import FileLock
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import CANARY, bulkcancel, command, environment, write_ids
from tests.support.results import content, result
from tests.support.runs import make_ids

IDS = make_ids(30)
OURS = content(Format.CSV, result(IDS[0])._replace(host="HOST"))
THEIRS = content(Format.CSV, result(IDS[0]))


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with running_in_thread(FaultyServer()) as running:
        yield running


def _files(cwd: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in cwd.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("stored", "options", "variables", "code", "said"),
    [
        (OURS, "", {}, 2, "--resume goes on with it"),
        (THEIRS, "--resume", {}, 2, "holds a result of acme.domo.com"),
        (b"a,b\n1,2\n", "--resume", {}, 2, "is not a results file of bulkcancel"),
        (b"a,b\n1,2\n", "--overwrite", {}, 2, "is not a results file of bulkcancel"),
        (None, "-o none/results.csv", {}, 2, "there is no directory none"),
        (None, "-o results.xls", {}, 2, ".csv or .jsonl"),
        (None, "", {"DOMO_DEVELOPER_TOKEN": ""}, 2, "holds no token"),
        (None, "", {"DOMO_DEVELOPER_TOKEN": "a b"}, 2, "a space"),
        (None, "--token-file none.txt", {}, 2, "cannot read the token file none.txt"),
        (None, "", {"DOMO_DEVELOPER_TOKEN": None}, 2, "no token: set DOMO_DEVELOPER_TOKEN"),
        (None, "--instance acme", {}, 2, "give --instance or --base-url, not both"),
        (None, "--summary none/s.json", {}, 2, "the summary none/s.json"),
        (None, "--log-file none/run.log", {}, 2, "cannot write the log file none/run.log"),
        (None, "--log-file .", {}, 2, "cannot write the log file"),
        (None, "--expect-count 29", {}, 2, "lists 30 distinct IDs, not the 29"),
        (None, "--max-failures 101%", {}, 2, "--max-failures"),
        (None, "--concurrency 1025", {}, 2, "--concurrency"),
        (None, "--again failed", {}, 2, "--resume"),
        (OURS, "--resume", {}, 0, ""),
        (OURS, "--overwrite", {}, 0, ""),
        (None, "--expect-count 30 --summary s.json --log-file run.log", {}, 0, ""),
    ],
)  # fmt: skip
def test_it_refuses_what_the_real_run_refuses(
    *, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    server: FaultyServer, stored: bytes | None, options: str, variables: dict[str, str | None],
    code: int, said: str,
) -> None:  # fmt: skip
    """With the same code and the same words, and every file stays as it was."""
    write_ids(tmp_path / "ids.txt", IDS)
    if stored is not None:
        (tmp_path / "results.csv").write_bytes(stored.replace(b"HOST", server.host.encode()))
    before = _files(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, value in {**environment(), **variables}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    # What would be a prompt were there a terminal must not be one here either.
    monkeypatch.setattr("bulkcancel.cli.token.is_interactive", lambda: False)
    command_line = ["run", "ids.txt", "--base-url", server.base_url, *options.split()]
    assert run_cli([*command_line, "--dry-run"]) == code
    out, error = capfd.readouterr()
    assert said in error
    assert out == ""
    assert _files(tmp_path) == before
    if code:
        assert run_cli(command_line) == code
        assert said in capfd.readouterr().err
    assert server.connections == 0


def test_it_sees_that_another_run_is_under_way(tmp_path: Path) -> None:
    """Exit 6, naming it; the lock of a dead run is no lock, and stays as it is."""
    write_ids(tmp_path / "ids.txt", IDS)
    options = ("run", "ids.txt", "--sandbox", "--dry-run")
    lock = FileLock(tmp_path / "results.csv")
    done = bulkcancel(*options, cwd=tmp_path)
    assert done.code == 6
    assert " holds results.csv" in done.stderr
    lock.release()
    left = tmp_path / ".results.csv.lock"
    left.write_text("process 1 on a machine that lost its power")
    assert bulkcancel(*options, cwd=tmp_path).code == 0
    assert left.read_text() == "process 1 on a machine that lost its power"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX descriptors")
def test_it_sees_a_closed_standard_output(tmp_path: Path) -> None:
    """The real run could not write there either."""
    write_ids(tmp_path / "ids.txt", IDS)
    run = " ".join(command("run", "ids.txt", "--sandbox", "--dry-run", "-o", "-"))
    done = subprocess.run(
        ["sh", "-c", f"{run} >&-"], cwd=tmp_path, env=environment(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "standard output is closed" in done.stderr
    assert CANARY not in done.stderr


@pytest.mark.parametrize("output", ["results.csv", "results.jsonl"])
@pytest.mark.parametrize("options", [(), ("--resume",), ("--overwrite",)])
@pytest.mark.parametrize("left", ["nothing", "header", "torn header"])
def test_a_file_without_a_row_blocks_nobody(
    tmp_path: Path, server: FaultyServer, output: str, options: tuple[str, ...], left: str
) -> None:
    """What a run leaves that ended before its first answer is used by the next one."""
    header = Format(output.partition(".")[2]).header
    kept = {"nothing": b"", "header": header, "torn header": header[:30]}[left]
    (tmp_path / output).write_bytes(kept)
    write_ids(tmp_path / "ids.txt", IDS[:3])
    target = ("--base-url", server.base_url, "--rate", "10000", "-o", output, *options)
    assert bulkcancel("run", "ids.txt", *target, "--dry-run", cwd=tmp_path).code == 0
    assert (tmp_path / output).read_bytes() == kept
    done = bulkcancel("run", "ids.txt", *target, cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert len(done.rows(output)) == 3


@pytest.mark.parametrize("extra", [b"x", b"\n"])
def test_one_byte_more_than_the_header_is_kept(tmp_path: Path, extra: bytes) -> None:
    """It may be the beginning of a row: only who says so goes on with it or replaces it."""
    path = tmp_path / "results.csv"
    path.write_bytes(Format.CSV.header + extra)
    write_ids(tmp_path / "ids.txt", IDS[:3])
    done = bulkcancel("run", "ids.txt", "--sandbox", cwd=tmp_path)
    assert done.code == 2
    assert path.read_bytes() == Format.CSV.header + extra
