"""What a run must not destroy: files of others, its own input, results it was not to replace."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import pytest

from bulkcancel.errors import BulkcancelError, BusyError, OutputError
from bulkcancel.models import Outcome
from bulkcancel.results.codec import Format, encode
from bulkcancel.results.results_file import Mode
from tests.results.test_codec import a_result
from tests.support.processes import bulkcancel
from tests.support.results import opened, reserved
from tests.support.runs import make_ids

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")


@pytest.mark.parametrize("first", ["instanceId", "id"])
def test_other_json_lines_are_not_resumed(tmp_path: Path, first: str) -> None:
    """A file of which no row is ours is another program's, not one to be emptied row by row."""
    path = tmp_path / "runs.jsonl"
    each = {"owner": "me", "status": "STUCK"}
    path.write_text("".join(json.dumps({first: x, **each}) + "\n" for x in make_ids(3)))
    before = path.read_bytes()
    with pytest.raises(OutputError):
        opened(path, "resume").close()
    assert path.read_bytes() == before


@pytest.mark.parametrize("option", ["--overwrite", "--resume"])
@pytest.mark.parametrize("kind", ["JSON Lines", "earlier results"])
def test_the_input_is_not_the_output(tmp_path: Path, kind: str, option: str) -> None:
    """`-o` naming an input is a slip: refused, exit 2, with the list of IDs intact."""
    ids = make_ids(3)
    if kind == "JSON Lines":
        path = tmp_path / "runs.jsonl"
        path.write_text("".join(json.dumps({"instanceId": x, "owner": "me"}) + "\n" for x in ids))
    else:
        path = tmp_path / "runs.csv"
        rows = [a_result(x, Outcome.FAILED)._replace(host="sandbox") for x in ids]
        path.write_bytes(Format.CSV.header + encode(rows, Format.CSV))
    before = path.read_bytes()
    done = bulkcancel("run", path, "--sandbox", "-o", path, option, cwd=tmp_path)
    assert done.code == 2, done.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", ["resume", "overwrite"])
def test_changing_a_file_waits_for_the_answer(tmp_path: Path, mode: Mode) -> None:
    """Who asks to resume or overwrite and then answers no keeps the earlier results."""
    path = tmp_path / "results.csv"
    rows = [a_result(each, Outcome.FAILED) for each in make_ids(3)]
    path.write_bytes(Format.CSV.header + encode(rows, Format.CSV) + b"torn")
    before = path.read_bytes()
    reserved(path, mode).close()
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["results.csv"]


@posix
@pytest.mark.parametrize("suffix", ["lock", "rewrite"])
def test_a_link_in_the_way_is_not_followed(tmp_path: Path, suffix: str) -> None:
    """In a directory shared with others, `.NAME.lock` may be a link to a file of ours."""
    path, precious = tmp_path / "results.csv", tmp_path / "precious"
    precious.write_text("precious")
    one, two = make_ids(2)
    rows = [a_result(one, Outcome.FAILED), a_result(two)]
    path.write_bytes(Format.CSV.header + encode(rows, Format.CSV))
    path.with_name(f".results.csv.{suffix}").symlink_to(precious)
    try:
        opened(path, "resume").close()
    except BulkcancelError as error:
        assert error.exit_code == 2  # noqa: PT017 - refusing is as good as replacing the link
    assert precious.read_text() == "precious"


@posix
def test_a_disk_without_locks_is_not_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network disks cannot lock: waiting for another run, as exit 6 advises, never helps."""
    import fcntl  # noqa: PLC0415 - not on Windows

    def fails(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", fails)
    with pytest.raises(BulkcancelError) as caught:
        opened(tmp_path / "results.csv")
    assert not isinstance(caught.value, BusyError)
    assert caught.value.exit_code == 2
