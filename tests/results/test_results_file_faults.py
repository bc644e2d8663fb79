"""What goes wrong with an open results file is noticed, said once and never half written."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from bulkcancel.errors import OutputError, ResultsError
from bulkcancel.models import Outcome
from bulkcancel.results.codec import Format, encode
from tests.results.test_codec import a_result
from tests.support.results import opened
from tests.support.runs import make_ids

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results.csv"


@pytest.mark.parametrize("fault", ["deleted", "replaced", "replaced by a link"])
def test_a_file_taken_away_is_noticed(results: Path, fault: str) -> None:
    """Rows written to a file that nobody can open any more would be lost in silence."""
    elsewhere = results.with_name("elsewhere.csv")
    file = opened(results)
    file.sync()
    results.rename(elsewhere)
    if fault == "replaced":
        results.touch()
    elif fault == "replaced by a link":
        results.symlink_to(elsewhere)
    with pytest.raises(
        ResultsError, match="deleted" if fault == "deleted" else "replaced"
    ) as first:
        file.sync()
    with pytest.raises(ResultsError) as again:
        file.write([a_result()])
    assert again.value is first.value
    file.close()
    assert elsewhere.read_bytes() == Format.CSV.header


@pytest.mark.parametrize("size", [0, 10, -1])
def test_a_file_cut_short_is_noticed(results: Path, size: int) -> None:
    """As `> results.csv` or a log rotation does: rows that were written are gone."""
    file = opened(results)
    file.write([a_result()])
    file.sync()
    os.truncate(results, size if size >= 0 else results.stat().st_size + size)
    with pytest.raises(ResultsError, match="cut short"):
        file.sync()
    file.close()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_an_fsync_error_is_final(results: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A second fsync would succeed and mean nothing: the pages are gone. It is not asked."""
    calls: list[int] = []

    def fails_once(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            raise OSError(code, os.strerror(code))

    file = opened(results)
    monkeypatch.setattr(os, "fsync", fails_once)
    with pytest.raises(ResultsError, match=os.strerror(code)) as first:
        file.sync()
    for call in (file.sync, lambda: file.write([a_result()])):
        with pytest.raises(ResultsError) as again:
            call()
        assert again.value is first.value
    file.close()
    assert len(calls) == 1
    assert results.read_bytes() == Format.CSV.header


def test_a_short_write_leaves_whole_rows(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a row that went through before the disk was full is taken back."""
    one, other = make_ids(2)
    real_write, room = os.write, 50
    file = opened(results)
    file.write([a_result(one)])
    before = results.read_bytes()

    def until_full(descriptor: int, data: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken, room = real_write(descriptor, data[:room]), 0
        return taken

    monkeypatch.setattr(os, "write", until_full)
    with pytest.raises(ResultsError, match=r"No space.*--resume"):
        file.write([a_result(other)])
    file.close()
    assert results.read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write it")
def test_a_read_only_file_is_refused(results: Path) -> None:
    """A mode that forbids writing is meant."""
    opened(results).close()
    results.chmod(0o400)
    with pytest.raises(OutputError, match="cannot be read and written"):
        opened(results, "resume")


@pytest.mark.parametrize("form", Format)
def test_rows_follow_a_tail_torn_at_any_byte(tmp_path: Path, form: Format) -> None:
    """Reopened after a power cut, the file goes on right behind its last whole row."""
    one, two, new = (a_result(each, model_name='é, "b"') for each in make_ids(3))
    whole = form.header + encode([one, two], form)
    ends = [len(form.header), len(form.header + encode([one], form)), len(whole)]
    path = tmp_path / f"results.{form}"
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        file = opened(path, "resume")
        file.write([new])
        file.close()
        kept = max((end for end in ends if end <= size), default=len(form.header))
        assert path.read_bytes() == whole[:kept] + encode([new], form)
        assert file.resumed is not None
        assert len(file.resumed.done) == max(ends.index(kept), 0)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_repair_that_fails_changes_nothing(
    results: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Older rows are taken out in one step or not at all: exit 5, the file as it was."""
    one, two = make_ids(2)
    rows = [a_result(one, Outcome.FAILED), a_result(two), a_result(one)]
    results.write_bytes(Format.CSV.header + encode(rows, Format.CSV))
    before = results.read_bytes()

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(os if call == "fsync" else Path, call, fails)
        with pytest.raises(ResultsError, match=r"cannot repair.*No space"):
            opened(results, "resume")
    assert results.read_bytes() == before
    assert list(results.parent.iterdir()) == [results]
    opened(results, "resume").close()
    assert results.read_bytes() == Format.CSV.header + encode(rows[1:], Format.CSV)
