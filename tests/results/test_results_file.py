"""The results file: private, never clobbered, and a loss is noticed while it can be repaired."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import closing
from pathlib import Path

import pytest

from bulkcancel.errors import BusyError, OutputError
from bulkcancel.results.codec import Format, encode
from bulkcancel.results.results_file import Mode
from tests.results.test_codec import a_result
from tests.support.results import opened, reserved
from tests.support.runs import make_ids

NAMES = ("results.csv", "results.jsonl")
MODES: tuple[Mode, ...] = ("new", "resume", "overwrite")
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _names() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def _written(name: str, ids: list[str]) -> bytes:
    with closing(opened(name)) as file:
        file.write([a_result(each) for each in ids])
    return Path(name).read_bytes()


@posix
@pytest.mark.parametrize("umask", [0, 0o022, 0o077, 0o777])
@pytest.mark.parametrize("name", NAMES)
def test_a_new_file_is_its_owners_alone(name: str, umask: int) -> None:
    """Mode 0600 from the first byte, whatever the umask; the file is there before any row."""
    before = os.umask(umask)
    try:
        with closing(opened(name)):
            assert stat.S_IMODE(Path(name).stat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert _names() == [name]


@posix
def test_a_file_open_to_others_is_closed_to_them() -> None:
    """Resuming or filling a file that others may read takes that right away."""
    _written("results.csv", make_ids(2))
    Path("results.csv").chmod(0o666)
    with closing(opened("results.csv", "resume")):
        assert stat.S_IMODE(Path("results.csv").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", NAMES)
def test_an_existing_file_is_refused(name: str) -> None:
    """Results are neither appended to nor replaced unless asked; nothing is left beside them."""
    before = _written(name, make_ids(2))
    with pytest.raises(OutputError, match=r"resume=True.*overwrite=True"):
        opened(name)
    assert Path(name).read_bytes() == before
    assert _names() == [name]


@pytest.mark.parametrize("name", NAMES)
def test_overwrite_replaces(name: str) -> None:
    """The old rows are gone, the new ones stand alone."""
    one, other = make_ids(2)
    _written(name, [one])
    with closing(opened(name, "overwrite")) as file:
        file.write([a_result(other)])
        assert file.resumed is None
    form = Format(name.split(".")[1])
    assert Path(name).read_bytes() == form.header + encode([a_result(other)], form)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", MODES)
def test_an_empty_file_is_as_good_as_none(name: str, mode: Mode) -> None:
    """`mktemp` and `touch` make no results."""
    Path(name).touch()
    with closing(opened(name, mode)):
        pass
    assert Path(name).read_bytes() == Format(name.split(".")[1]).header


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("text", ["id,name\n1,a\n", "\n", "[]\n", "\ufeffinstanceId\n"])
def test_another_programs_file_is_never_touched(name: str, mode: Mode, text: str) -> None:
    """`-o` may be a slip of the hand: the input itself, say."""
    Path(name).write_text(text, encoding="utf-8")
    with pytest.raises(OutputError):
        opened(name, mode)
    assert Path(name).read_text(encoding="utf-8") == text
    assert _names() == [name]


@posix
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["directory", "link", "dangling link", "FIFO", "device"])
def test_only_a_plain_file_will_do(kind: str, mode: Mode, tmp_path: Path) -> None:
    """What a link points to is not ours to write; a directory or a FIFO holds no results."""
    path = tmp_path / "results.csv"
    (tmp_path / "other.csv").write_bytes(Format.CSV.header)
    match kind:
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to("other.csv")
        case "dangling link":
            path.symlink_to("missing.csv")
        case "FIFO":
            os.mkfifo(path)
        case "device":
            try:
                os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
            except OSError:
                pytest.skip("making a device is not permitted here")
    with pytest.raises(OutputError) as caught:
        opened("results.csv", mode)
    assert caught.value.exit_code == 2
    assert _names() == ["other.csv", "results.csv"]
    assert (tmp_path / "other.csv").read_bytes() == Format.CSV.header


def test_the_directory_must_be_there() -> None:
    """A missing directory is not made: it may be a mount that failed."""
    with pytest.raises(OutputError, match="no directory"):
        opened("missing/results.csv")
    Path("file").touch()
    with pytest.raises(OutputError, match="no directory"):
        opened("file/results.csv")
    assert _names() == ["file"]


def test_closing_again_is_harmless_and_lets_go() -> None:
    """A second run is refused while the file is open, and welcome after."""
    file = opened("results.csv")
    with pytest.raises(BusyError):
        opened("results.csv", "resume")
    file.close()
    file.close()
    with closing(opened("results.csv", "resume")):
        pass


def test_reserving_changes_nothing() -> None:
    """Who answers no to the question finds no file; a second run is refused meanwhile."""
    file = reserved("results.csv")
    with pytest.raises(BusyError):
        reserved("results.csv")
    file.close()
    assert _names() == []
