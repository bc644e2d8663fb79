"""`write_whole`: a plain file is replaced whole, all else is written in place."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bulkcancel.results import replacing, write_whole

posix = pytest.mark.skipif(not hasattr(os, "fchmod"), reason="modes of POSIX")


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@posix
@pytest.mark.parametrize("mode", [0o600, 0o644])
@pytest.mark.parametrize("before", [None, 0o600, 0o666])
def test_a_plain_file_has_the_mode_that_was_asked_for(
    tmp_path: Path, mode: int, before: int | None
) -> None:
    """Whatever mode the old file has, and however little the umask leaves."""
    path = tmp_path / "file"
    if before is not None:
        path.write_text("old")
        path.chmod(before)
    umask = os.umask(0o077)
    try:
        write_whole(str(path), b"new\n", mode=mode)
    finally:
        os.umask(umask)
    assert path.read_bytes() == b"new\n"
    assert _mode(path) == mode
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@posix
def test_where_modes_cannot_be_set_the_file_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems have none."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refuse)
    write_whole(str(tmp_path / "file"), b"new\n", mode=0o644)
    assert (tmp_path / "file").read_bytes() == b"new\n"


@posix
@pytest.mark.parametrize("there", [False, True])
def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path, there: bool) -> None:
    """A longer text that was there does not show through."""
    real, link = tmp_path / "real", tmp_path / "link"
    if there:
        real.write_text("x" * 100)
    link.symlink_to("real")
    write_whole(str(link), b"new\n", mode=0o640)
    assert link.is_symlink()
    assert real.read_bytes() == b"new\n"
    if not there:
        assert _mode(real) == 0o640


def test_what_is_half_written_has_another_kind_of_name(tmp_path: Path) -> None:
    """A program that reads all files of one kind, `*.prom`, sees the old one or the new one."""
    path = tmp_path / "job.prom"
    path.write_text("old")
    with replacing(path) as file:
        file.write(b"new")
        assert [each.name for each in tmp_path.iterdir() if each.suffix == ".prom"] == ["job.prom"]
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    """`-` is no file."""
    write_whole("-", b"new\n")
    assert capfd.readouterr().out == "new\n"
    assert not Path("-").exists()


def test_what_prevents_it_is_an_error_of_the_system(tmp_path: Path) -> None:
    """Nothing is left behind."""
    with pytest.raises(FileNotFoundError):
        write_whole(str(tmp_path / "none" / "file"), b"new\n")
    assert list(tmp_path.iterdir()) == []
