"""A results file read as it is: torn, growing, damaged or another program's; nothing is written."""

from __future__ import annotations

import os
import threading
import tracemalloc
from pathlib import Path

import pytest

from bulkcancel.errors import InputError
from bulkcancel.models import CancelResult, Outcome
from bulkcancel.results.codec import Format, encode
from bulkcancel.results.earlier.reading import RowReader
from tests.support.results import content, result
from tests.support.runs import make_ids

forms = pytest.mark.parametrize("form", Format)
ROWS = [
    result(make_ids(3)[0]),
    result(make_ids(3)[1], Outcome.FAILED, error='server_error: "\né'),
    result("no ID, \n at all", Outcome.INVALID, latency_ms=None),
]


def _read(path: Path) -> tuple[RowReader, list[CancelResult]]:
    with path.open("rb") as file:
        reader = RowReader(file, path.name)
        return reader, [*reader]


@forms
def test_every_row_is_read(tmp_path: Path, form: Format) -> None:
    """In their order, and nothing is said of a whole file."""
    path = tmp_path / "results"
    path.write_bytes(content(form, *ROWS))
    reader, rows = _read(path)
    assert [row.outcome for row in rows] == [row.outcome for row in ROWS]
    assert rows[0].instance_id == ROWS[0].instance_id
    assert (reader.form, reader.rows, reader.whole) == (form, 3, path.stat().st_size)
    assert (reader.unreadable, reader.torn, reader.notes) == (0, 0, [])


@forms
def test_a_file_cut_anywhere_gives_its_whole_rows(tmp_path: Path, form: Format) -> None:
    """Also one cut in its header, or of nothing; it is said, and the file stays as it is."""
    whole = content(form, *ROWS)
    path = tmp_path / "results"
    around_ends = [
        at + n for at in range(len(whole)) if whole[at : at + 1] == b"\n" for n in (0, 1)
    ]
    for end in sorted({*range(0, len(whole), 9), *around_ends}):
        path.write_bytes(whole[:end])
        reader, rows = _read(path)
        ends = whole[:end].rfind(b"\n") + 1
        assert len(rows) == max(0, whole[:end].count(b"\n") - len(form.header.splitlines()))
        assert (reader.torn, reader.whole, reader.unreadable) == (end - ends, ends, 0)
        assert len(reader.notes) == (end > ends)
        assert path.read_bytes() == whole[:end]


@forms
def test_a_line_that_does_not_parse_is_named(tmp_path: Path, form: Format) -> None:
    """And only it is left out; the name is shown safely, twenty at most."""
    path = tmp_path / "results"
    bad = b"\x1b[2J torn\n" * 30
    path.write_bytes(content(form, ROWS[0]) + bad + encode(ROWS[1:], form))
    reader, rows = _read(path)
    assert (len(rows), reader.unreadable, len(reader.notes)) == (3, 30, 20)
    assert reader.notes[0].startswith(f"results:{3 if form is Format.CSV else 2} does not parse")
    assert "\x1b" not in "".join(reader.notes)


def test_two_files_put_together_are_one(tmp_path: Path) -> None:
    """The second header is no row."""
    path = tmp_path / "results"
    path.write_bytes(content(Format.CSV, ROWS[0]) + content(Format.CSV, ROWS[1]))
    reader, rows = _read(path)
    assert (len(rows), reader.unreadable) == (2, 0)


@pytest.mark.parametrize(
    "data",
    [b"id,state\n1,2\n", b"hello", b'{"a": 1}\n', b"\xff\xfe" * 9, b"x" * 3_000_000, b"x\n" * 2000],
)
def test_what_is_no_results_file_is_refused(tmp_path: Path, data: bytes) -> None:
    """Early, and with its name."""
    path = tmp_path / "other"
    path.write_bytes(data)
    with pytest.raises(InputError, match="other is not a results file of bulkcancel"):
        _read(path)


def test_a_file_is_read_to_the_size_it_had(tmp_path: Path) -> None:
    """A run that writes faster than it is read does not keep the reader for ever."""
    path = tmp_path / "results"
    path.write_bytes(content(Format.CSV, ROWS[0]))
    with path.open("rb") as file, path.open("ab") as run:
        rows = []
        for row in RowReader(file, "results"):
            rows.append(row)
            run.write(encode([ROWS[1]], Format.CSV))
            run.flush()
            assert len(rows) < 10
    assert len(rows) == 1


def test_a_line_without_an_end_takes_no_room(tmp_path: Path) -> None:
    """What is longer than any row of ours is passed over: one line that does not parse."""
    path = tmp_path / "results"
    path.write_bytes(content(Format.CSV, ROWS[0]) + b"x" * 8_000_000 + b"\n")
    with path.open("ab") as file:
        file.write(encode([ROWS[1]], Format.CSV))
    tracemalloc.start()
    reader, rows = _read(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 6_000_000
    assert (len(rows), reader.unreadable) == (2, 1)
    assert reader.whole == path.stat().st_size


def test_a_pipe_is_read_as_it_comes() -> None:
    """To its end, in whatever pieces."""
    data = content(Format.JSONL, *ROWS)
    read_end, write_end = os.pipe()

    def write() -> None:
        with os.fdopen(write_end, "wb", buffering=0) as pipe:
            for at in range(0, len(data), 100):
                pipe.write(data[at : at + 100])

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(read_end, "rb", buffering=0) as file:
        rows = [*RowReader(file, "-")]
    writer.join()
    assert [row.source for row in rows] == [row.source for row in ROWS]
