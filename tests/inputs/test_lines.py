"""Bytes to lines: encodings, line ends, and what is not text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bulkcancel.errors import InputError, UsageError
from bulkcancel.inputs import InputOptions, check_files
from tests.support.input_files import A, B, C, check, ids, places

if TYPE_CHECKING:
    from pathlib import Path

TEXT = f"instanceId,name\r\n{A},Zoë 📊 ÿ\r\n{B},x\r\n"


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        b"\xff\xfe" + TEXT.encode("utf-16-le"),
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        b"\xff\xfe\0\0" + TEXT.encode("utf-32-le"),
        b"\0\0\xfe\xff" + TEXT.encode("utf-32-be"),
    ],
)
def test_byte_order_marks_are_read(tmp_path: Path, content: bytes) -> None:
    """Whatever Excel and Notepad save is read by its mark, without being told."""
    assert ids(check(tmp_path, content)) == [A, B]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16", "utf-8", "utf-7", "gb18030"])
def test_a_named_encoding_is_used(tmp_path: Path, encoding: str) -> None:
    """`--encoding` decides, with a byte order mark in the file or without."""
    content = "\ufeff" + TEXT if encoding != "utf-16" else TEXT
    assert ids(check(tmp_path, content.encode(encoding), encoding=encoding)) == [A, B]


@pytest.mark.parametrize("encoding", ["klingon", "hex", "utf-8\0", "undefined", ""])
def test_an_unknown_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    """A name that is no text encoding is a mistake in the usage, not in the file."""
    with pytest.raises(UsageError, match="--encoding"):
        check(tmp_path, TEXT, encoding=encoding)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_refused_with_the_way_out(tmp_path: Path, encoding: str) -> None:
    """It is not read as something else; the message names the option that reads it."""
    with pytest.raises(InputError, match=rf"line 1: .*--encoding {encoding}"):
        check(tmp_path, TEXT.encode(encoding))


def test_latin_1_in_another_column_is_read_with_a_note(tmp_path: Path) -> None:
    """A name in Windows-1252 does not stop a run that only needs the ID column."""
    checked = check(tmp_path, f"instanceId,name\n{A},Zoë\n{B},“x”\n".encode("cp1252"))
    assert ids(checked) == [A, B]
    assert any("runs.csv is not UTF-8: read as Windows-1252" in note for note in checked.notes)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (f"instanceId,name\n{A},ok\n{B[:-1]}\xe9,x\n".encode("latin-1"), 3),
        (f"instanceId,n\xe4me\n{A},ok\n".encode("latin-1"), 1),
        (f"instanceId,name\n{A},Zoë\n{B},".encode() + b"Zo\xeb\n", 3),
        (
            f"instanceId,name\n{A},".encode()
            + f"Zo\xeb\n{B},".encode("latin-1")
            + "Zoë\n".encode(),
            3,
        ),
        (f"instanceId,name\n{A},x\n{B},".encode() + b"\x81\n", 3),
        (f"instanceId,name\r{A},x\r\n{B},".encode() + b"\xff\n", 3),
    ],
    ids=["in the ID", "in the header", "after UTF-8", "before UTF-8", "undefined", "0xFF"],
)
def test_bytes_that_cannot_be_read_for_sure_are_refused(
    tmp_path: Path, content: bytes, line: int
) -> None:
    """Where a guess could decide what is cancelled, the file and the line are named instead."""
    with pytest.raises(InputError, match=rf"runs\.csv, line {line}: .*--encoding cp1252"):
        check(tmp_path, content)


def test_bad_bytes_where_a_condition_looks_are_refused(tmp_path: Path) -> None:
    """`--where` must not compare guessed text."""
    content = f"instanceId,name\n{A},Zoë\n".encode("latin-1")
    with pytest.raises(InputError, match=r'line 2: .*"name".*--encoding'):
        check(tmp_path, content, where=("name!=x",))
    assert ids(check(tmp_path, content, where=("name=Zoë",), encoding="latin-1")) == [A]


def test_bad_bytes_far_behind_good_utf_8_are_refused(tmp_path: Path) -> None:
    """What the beginning of a large file showed is remembered at its end."""
    rows = f"{A},x\n" * 5000
    with pytest.raises(InputError, match=r"line 5003: .*--encoding cp1252"):
        check(tmp_path, f"instanceId,n\n{A},Zoë\n{rows}{B},".encode() + b"Zo\xeb\n")


def test_a_named_encoding_is_strict(tmp_path: Path) -> None:
    """What `--encoding` or a byte order mark claims is held to."""
    bad = f"instanceId,name\n{A},Zo\xeb\n".encode("latin-1")
    with pytest.raises(InputError, match="line 2: is not utf-8"):
        check(tmp_path, bad, encoding="utf-8")
    with pytest.raises(InputError, match="line 2: is not utf-8"):
        check(tmp_path, b"\xef\xbb\xbf" + bad)


def test_bad_bytes_are_found_beyond_the_first_chunk(tmp_path: Path) -> None:
    """The line named is right in a large file, and nothing before it hides it."""
    rows = f"{A},{'x' * 100}\r\n".encode() * 5000
    with pytest.raises(InputError, match="line 5002:"):
        check(tmp_path, b"instanceId,name\r\n" + rows + f"{B},".encode() + b"\xff\r\n" + rows)


@pytest.mark.parametrize("encoding", [None, "latin-1", "utf-16"])
def test_a_nul_is_refused(tmp_path: Path, encoding: str | None) -> None:
    """A hole in the file (a disk that was full) is named by its line."""
    content = f"instanceId\n{A}\n\0\0\0\n{B}\n".encode(encoding or "utf-8")
    with pytest.raises(InputError, match=r"runs\.csv, line 3: holds a NUL"):
        check(tmp_path, content, encoding=encoding)


@pytest.mark.parametrize(("content", "what"), [(b"PK\x03\x04..", "Excel"), (b"\x1f\x8b..", "gzip")])
def test_what_is_no_text_is_called_by_its_name(tmp_path: Path, content: bytes, what: str) -> None:
    """A workbook or a compressed file gets the step that makes it readable."""
    with pytest.raises(InputError, match=what):
        check(tmp_path, content)


def test_line_ends_may_be_mixed(tmp_path: Path) -> None:
    """CR, LF and CRLF each end one line, and the lines are counted like that."""
    checked = check(tmp_path, f"instanceId,n\r{A},1\r\n{B},2\n{C},3\r\r\n\n")
    assert places(checked) == ["runs.csv:2", "runs.csv:3", "runs.csv:4"]


@pytest.mark.parametrize("mark", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028"])
def test_nothing_else_ends_a_line(tmp_path: Path, mark: str) -> None:
    """A form feed or U+2028 inside a name does not tear its row in two."""
    checked = check(tmp_path, f"name,instanceId\nx{mark}y,{A}\n")
    assert (ids(checked), checked.counts.rows) == ([A], 1)


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_lines_are_counted_right_wherever_a_chunk_ends(tmp_path: Path, end: str) -> None:
    """A line end cut in two by the reading is one line end."""
    count = 45_000
    checked = check(tmp_path, end.join(["instanceId"] + ["x"] * count + [A]))
    assert (checked.counts.invalid, places(checked)) == (count, [f"runs.csv:{count + 2}"])


@pytest.mark.parametrize("content", ["", "\n", "\ufeff", "instanceId,name\n", " \r\n\r\n", "# x\n"])
def test_nothing_to_cancel_is_no_error(tmp_path: Path, content: str) -> None:
    """An empty file, a header alone or blank lines hold no targets and are no mistake."""
    checked = check(tmp_path, content)
    assert (len(checked), checked.counts.rows) == (0, 0)


def test_what_cannot_be_opened_is_said_in_a_sentence(tmp_path: Path) -> None:
    """A missing file and a directory are told apart."""
    with pytest.raises(InputError, match=r"cannot read .*gone\.csv: No such file"):
        check_files([str(tmp_path / "gone.csv")], InputOptions())
    with pytest.raises(InputError, match="it is a directory"):
        check_files([str(tmp_path)], InputOptions())


def test_a_line_without_end_is_refused(tmp_path: Path) -> None:
    """A file that never ends its first line does not fill the memory."""
    with pytest.raises(InputError, match="line 1: is over 8 MiB"):
        check(tmp_path, b"x" * 9_000_000)
