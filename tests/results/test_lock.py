"""One run at a time on one results file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bulkcancel.errors import BusyError
from bulkcancel.results.lock import FileLock
from tests.support import faulty_answers as answers
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import bulkcancel, running, write_ids
from tests.support.runs import make_ids
from tests.support.waiting import until


def test_the_lock_names_its_holder_and_goes_with_it(tmp_path: Path) -> None:
    """Held: refused, saying by whom. Released: free, and no file of it is left."""
    path = tmp_path / "r.csv"
    lock = FileLock(path)
    with pytest.raises(BusyError, match=r"process \d+ on .* since \d{4}-.*r\.csv"):
        FileLock(path)
    lock.release()
    lock.release()
    assert list(tmp_path.iterdir()) == []
    FileLock(path).release()


@pytest.mark.skipif(sys.platform == "win32", reason="links")
def test_one_file_by_two_names_is_one_file(tmp_path: Path) -> None:
    """A directory reached through a link is still the same directory."""
    (tmp_path / "real").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    lock = FileLock(tmp_path / "real" / "r.csv")
    with pytest.raises(BusyError):
        FileLock(tmp_path / "alias" / "r.csv")
    lock.release()


def test_a_killed_run_holds_nothing(tmp_path: Path) -> None:
    """The next one takes over at once."""
    write_ids(tmp_path / "ids.txt", make_ids(50))
    silent = [True]
    server = FaultyServer(lambda i, _n: answers.silence() if silent else answers.ok(i))
    with running_in_thread(server):
        target = ("--base-url", server.base_url, "--rate", "1000")
        with running("ids.txt", *target, cwd=tmp_path):
            until(lambda: len(server.requests) >= 10)
            assert bulkcancel("run", "ids.txt", *target, "--resume", cwd=tmp_path).code == 6
        silent.clear()
        done = bulkcancel("run", "ids.txt", *target, "--resume", cwd=tmp_path)
        assert done.code == 0, done.stderr
        assert len(done.rows()) == 50
