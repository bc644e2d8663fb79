"""What is no plain file is written to and never replaced: devices, FIFOs, links, mounts."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bulkcancel.errors import OutputError, ResultsError
from bulkcancel.results.atomic import is_mount, replacing, sync_directory
from bulkcancel.results.codec import Format
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import Finished, bulkcancel, command, environment, write_ids
from tests.support.results import content, opened, result
from tests.support.runs import make_ids

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")
IDS = make_ids(4)


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with running_in_thread(FaultyServer()) as started:
        yield started


@pytest.fixture
def run(tmp_path: Path, server: FaultyServer) -> Callable[..., Finished]:
    """Cancels four IDs with these options more."""
    write_ids(tmp_path / "ids.txt", IDS)
    target = ("ids.txt", "--base-url", server.base_url, "--rate", "500")
    return lambda *options: bulkcancel("run", *target, *options, cwd=tmp_path)


def _check(summary: str) -> None:
    assert json.loads(summary)["outcomes"] == {"accepted": 4}


def _lies(path: Path) -> tuple[int, int]:
    there = path.lstat()
    return there.st_ino, there.st_mode


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "link"])
def test_a_summary_on_standard_output(
    tmp_path: Path, run: Callable[..., Finished], name: str
) -> None:
    """By whatever name, also by a link to it, and nothing is put in the place of the name."""
    link = tmp_path / "link"
    link.symlink_to("/dev/stdout")
    before = _lies(link)
    done = run("--summary", name)
    assert done.code == 0, done.stderr
    _check(done.stdout)
    assert _lies(link) == before


def _shell(tmp_path: Path, server: FaultyServer, redirected: str, *options: str) -> int:
    """Cancel four IDs in a shell that redirects the output."""
    write_ids(tmp_path / "ids.txt", IDS)
    target = ("ids.txt", "--base-url", server.base_url, "--rate", "500")
    done = subprocess.run(
        ["bash", "-c", f'echo before > out.txt; "$@" {redirected}', "bash",
         *command("run", *target, *options)],
        cwd=tmp_path, env=environment(), stdin=subprocess.DEVNULL, capture_output=True,
        check=False, timeout=30,
    )  # fmt: skip
    return done.returncode


@pytest.mark.parametrize("at", [1, 3])
def test_a_redirected_stream_is_added_to(tmp_path: Path, server: FaultyServer, at: int) -> None:
    """`>> out.txt` is a plain file behind the stream: what it held before stays."""
    out = tmp_path / "out.txt"
    name = "/dev/stdout" if at == 1 else f"/dev/fd/{at}"
    assert _shell(tmp_path, server, f"{at}>> out.txt", "--summary", name) == 0
    said, summary = out.read_text().split("\n", 1)
    assert said == "before"
    _check(summary)


def test_the_log_and_the_summary_share_standard_output(run: Callable[..., Finished]) -> None:
    """A container's output is one stream, for the log's lines and the summary's."""
    done = run("--log-file", "/dev/stdout", "--summary", "/dev/stdout")
    assert done.code == 0, done.stderr
    log, summary = done.stdout.split("\n{\n", 1)
    assert json.loads(log.splitlines()[-1])["event"] == "run.finished"
    _check("{" + summary)


@pytest.mark.parametrize(
    "options",
    [
        ("-o", "-", "--summary", "-"),
        ("-o", "-", "--summary", "/dev/stdout"),
        ("-o", "-", "--log-file", "/dev/stdout"),
        ("--log-file=-",),
        ("--log-file", "log", "--summary", "log"),
        ("--log-file", "ids.txt"),
    ],
)
def test_two_things_do_not_mix(
    server: FaultyServer, run: Callable[..., Finished], options: tuple[str, ...]
) -> None:
    """Rows with a log or a summary in between could be read by nobody: refused, exit 2."""
    done = run(*options)
    assert done.code == 2
    assert "name" in done.stderr
    assert server.requests == []


def test_results_and_summary_by_the_name_of_the_file(tmp_path: Path, server: FaultyServer) -> None:
    """`-o - --summary out.txt > out.txt` would put the summary in the place of the results."""
    assert _shell(tmp_path, server, "> out.txt", "-o", "-", "--summary", "out.txt") == 2
    assert server.requests == []


@pytest.mark.parametrize("option", ["--log-file", "--summary"])
def test_a_device_may_be_named_more_than_once(run: Callable[..., Finished], option: str) -> None:
    """Standard input is /dev/null here: a log or a summary that goes there destroys nothing."""
    device = Path("/dev/null")
    before = _lies(device)
    assert run(option, "/dev/null").code == 0
    assert _lies(device) == before


@pytest.mark.parametrize("leads_to", ["file", "nothing yet"])
@pytest.mark.parametrize("option", ["--log-file", "--summary"])
def test_a_link_stays_a_link(
    tmp_path: Path, run: Callable[..., Finished], option: str, leads_to: str
) -> None:
    """The file that it leads to is written; a longer text that was there does not show through."""
    link, real = tmp_path / "link", tmp_path / "real"
    if leads_to == "file":
        real.write_text("{}\n" if option == "--log-file" else "x" * 20_000)
    link.symlink_to("real")
    assert run(option, "link").code == 0
    assert link.is_symlink()
    if option == "--summary":
        _check(real.read_text())
    else:
        assert json.loads(real.read_text().splitlines()[-1])["event"] == "run.finished"


def test_a_summary_in_a_plain_file_is_replaced_whole(
    tmp_path: Path, run: Callable[..., Finished]
) -> None:
    """Who reads it meanwhile sees the old one or the new one."""
    path = tmp_path / "summary.json"
    path.write_text("old")
    with path.open() as reader:
        assert run("--summary", "summary.json").code == 0
        assert reader.read() == "old"
    _check(path.read_text())


@pytest.mark.parametrize("option", ["--log-file", "--summary"])
def test_a_fifo_is_written_to(tmp_path: Path, run: Callable[..., Finished], option: str) -> None:
    """Its reader gets it all, and it is a FIFO still."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    before = _lies(fifo)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()))
    reader.start()
    done = run(option, "fifo")
    assert done.code == 0, done.stderr
    reader.join(5)
    assert _lies(fifo) == before
    assert '"accepted": 4' in read[0]
    fifo.unlink()


def test_a_fifo_that_nobody_reads_holds_nothing_up(
    tmp_path: Path, server: FaultyServer, run: Callable[..., Finished]
) -> None:
    """A log is refused at the start; a summary is lost, which is said and costs nothing else."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    try:
        logged = run("--log-file", "fifo")
        assert (logged.code, server.requests) == (2, [])
        assert "start its reader first" in logged.stderr
        assert "start its reader first" in run("--log-file", "fifo", "--dry-run").stderr
        summed_up = run("--summary", "fifo")
        assert summed_up.code == 0
        assert len(summed_up.rows()) == len(IDS)
        (lost,) = summed_up.events("summary.lost")
        assert "nobody reads it" in str(lost["reason"])
    finally:
        fifo.unlink()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs mknod")
def test_a_disk_is_not_written_to(tmp_path: Path, run: Callable[..., Finished]) -> None:
    """`--summary /dev/sda` is a slip of the worst kind."""
    try:
        os.mknod(tmp_path / "disk", 0o060600, os.makedev(7, 250))
    except OSError:
        pytest.skip("making a device is not permitted here")
    done = run("--summary", "disk")
    assert done.code == 2
    assert "no file that can be written" in done.stderr
    assert not (tmp_path / "results.csv").exists()


@pytest.mark.parametrize(
    "code", sorted({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF})
)
def test_a_directory_that_cannot_be_synced_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Some network file systems say so of a directory; their files are as safe as others."""
    real = os.fsync

    def refuses_directories(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refuses_directories)
    path = tmp_path / "results.csv"
    path.write_bytes(content(Format.CSV) + b"broken\n")  # taken out by a rewrite
    opened(path, "resume").close()
    assert path.read_bytes() == Format.CSV.header


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_directory_that_fails_does_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A disk in trouble is no file system that lacks the call."""

    def fails(_descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match=os.strerror(code)):
        sync_directory(tmp_path)


def _in_a_mount(tmp_path: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command while `name` is a mount of its own, as `docker -v a-file:/a-file` makes it."""
    (tmp_path / "outside").touch()
    script = 'mount --bind outside "$1" || exit 99; shift; exec "$@"'
    try:
        done = subprocess.run(
            ["unshare", "--mount", "bash", "-c", script, "bash", name, *arguments],
            cwd=tmp_path, env=environment(), stdin=subprocess.DEVNULL, capture_output=True,
            check=False, timeout=30,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("needs unshare")
    if done.returncode == 99 or b"unshare" in done.stderr:
        pytest.skip("mounting is not permitted here")
    return done


@pytest.mark.parametrize("options", [(), ("--resume",), ("--overwrite",)])
@pytest.mark.parametrize("name", ["results.csv", "my results.csv"])
def test_results_that_are_a_mount_are_refused(
    tmp_path: Path, server: FaultyServer, name: str, options: tuple[str, ...]
) -> None:
    """They could not be resumed: exit 2 before the first request, with the way out."""
    write_ids(tmp_path / "ids.txt", IDS)
    (tmp_path / name).touch()
    target = ("run", "ids.txt", "--base-url", server.base_url, "-o", name)
    done = _in_a_mount(tmp_path, name, *command(*target, *options))
    assert done.returncode == 2, done.stderr
    assert b"mount its directory instead" in done.stderr
    assert server.requests == []


def test_a_summary_that_is_a_mount_is_written(tmp_path: Path, server: FaultyServer) -> None:
    """It need not be replaced."""
    write_ids(tmp_path / "ids.txt", IDS)
    (tmp_path / "s.json").touch()
    run = ("run", "ids.txt", "--base-url", server.base_url, "--summary", "s.json")
    assert _in_a_mount(tmp_path, "s.json", *command(*run)).returncode == 0
    _check((tmp_path / "outside").read_text())


def test_what_is_no_mount(tmp_path: Path) -> None:
    """Plain files, links, directories that are mounts and files that are not there."""
    path = tmp_path / "results.csv"
    path.touch()
    assert [is_mount(each) for each in (path, tmp_path, tmp_path / "none")] == [False] * 3


def test_a_mount_met_only_when_replacing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system does not tell its mounts: the same advice, and every row still there."""
    path = tmp_path / "results.csv"
    path.write_bytes(content(Format.CSV, result(IDS[1])) + b"broken\n")  # taken out by a rewrite
    before = path.read_bytes()

    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(Path, "replace", busy)
    with pytest.raises((OutputError, ResultsError), match="mount its directory instead"):
        opened(path, "resume")
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["results.csv"]
    with pytest.raises(OSError, match="mount its directory"), replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == before
