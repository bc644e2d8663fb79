"""A pipe: each ID comes out as soon as its line is complete."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from bulkcancel.errors import InputError
from bulkcancel.inputs import CheckedInput, InputOptions, stream
from bulkcancel.models import InvalidRow, Target
from tests.support.input_files import A, B, C, check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Pipe:
    """A real pipe, read by `stream` with the write end still open."""

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe()
        self.checked = CheckedInput()
        self.items = stream(self._chunks(), InputOptions(), self.checked)

    def _chunks(self) -> Iterator[bytes]:
        while chunk := os.read(self._read_end, 65536):
            yield chunk

    def write(self, text: str | bytes) -> None:
        os.write(self.write_end, text.encode() if isinstance(text, str) else text)

    def close(self) -> None:
        os.close(self.write_end)
        os.close(self._read_end)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Give a pipe and close both its ends afterwards."""
    made = Pipe()
    yield made
    made.close()


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("before", "line", "number"),
    [
        ("", f"{A}\n", 1),
        ("", f"{A}\r", 1),
        ("", f"{A}\r\n", 1),
        ("\n# x\n", f"{A} # y\n", 3),
        ("instanceId\n", f"{A}\n", 2),
        ("name;Instance ID\r\n", f'"x\ny";{A}\r\n', 2),
        ("", f"x,{A}\n", 1),
        ("", f'{{"id": "{A}"}}\n', 1),
        ("", f'"{A}"\n', 1),
        ("\ufeffinstanceId,n\n", f"{A},Zoë\n", 2),
        ("Stuck runs\n\ninstanceId,n\n", f"{A},x\n", 4),
    ],
)
def test_an_id_comes_out_while_the_pipe_is_open(
    pipe: Pipe, before: str, line: str, number: int
) -> None:
    """Neither the format nor the encoding needs a byte more than the line itself."""
    pipe.write(before + line)
    assert next(pipe.items) == Target(A, f"-:{number}")
    assert pipe.checked.counts.targets == 1


@pytest.mark.timeout(20)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_bytes_that_trickle_are_the_same(pipe: Pipe, encoding: str) -> None:
    """One byte at a time, marks and line ends cut anywhere: the same targets."""
    text = f"name,instanceId\r\nZoë 📊,{A}\r\n\r\n“x”,{B}\r\nx,bad\r\nlast,{C}\r\n"
    data = text.encode("utf-8-sig" if encoding == "utf-8" else encoding)

    def trickle() -> None:
        for byte in data:
            os.write(pipe.write_end, bytes([byte]))

    writer = threading.Thread(target=trickle)
    writer.start()
    items = [next(pipe.items) for _ in range(4)]
    writer.join()
    assert items == [
        Target(A, "-:2"),
        Target(B, "-:4"),
        InvalidRow("bad", "-:5", "not a UUID"),
        Target(C, "-:6"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("first", [1, 2, 3])
def test_a_mark_may_come_byte_by_byte(encoding: str, first: int) -> None:
    """A first read of one byte of it decides nothing."""
    data = f"instanceId,n\n{A},Zoë\n".encode(encoding)
    chunks = [data[:1], data[1:first], data[first:]]
    items = stream(chunks, InputOptions(), CheckedInput())
    assert list(items) == [Target(A, "-:2")]


@pytest.mark.timeout(20)
def test_a_missing_column_is_told_at_the_first_id(pipe: Pipe) -> None:
    """What may be a title is one no longer once there is a row; no further line is waited for."""
    pipe.write(f"model,name\n{A},x\n")
    with pytest.raises(InputError, match=r"standard input, line 1: .*--column"):
        next(pipe.items)


@pytest.mark.timeout(20)
def test_what_comes_before_a_broken_line_still_comes_out(pipe: Pipe) -> None:
    """A quote that is never closed is noticed at the pipe's end, never passed over."""
    pipe.write(f'instanceId,n\n{A},x\n{B},"y\n{C},z\n')
    assert next(pipe.items) == Target(A, "-:2")
    os.close(pipe.write_end)
    with pytest.raises(InputError, match=r"standard input, line 3: .*never closed"):
        next(pipe.items)
    pipe.write_end = os.open(os.devnull, os.O_WRONLY)


def test_a_guess_is_given_up_when_a_character_is_cut_in_two() -> None:
    """UTF-8 after Latin-1 speaks against the guess even where a chunk ends inside it."""
    data = f"instanceId,n\n{A},Zo\xeb\n".encode("latin-1")
    chunks = [data, f"{B},Zo".encode() + b"\xc3", b"\xab\n"]
    items = stream(chunks, InputOptions(), CheckedInput())
    assert next(items) == Target(A, "-:2")
    with pytest.raises(InputError, match=r"line 3: .*--encoding"):
        next(items)


def test_a_pipe_goes_on_where_the_files_ended(tmp_path: Path) -> None:
    """IDs of the files are duplicates in the pipe."""
    checked = check(tmp_path, f"{A}\n")
    items = stream([f"{A}\n{B}\n{C}\n".encode()], InputOptions(), checked)
    assert list(items) == [Target(B, "-:2"), Target(C, "-:3")]
    counts = checked.counts
    assert (counts.rows, counts.targets, counts.duplicates) == (4, 3, 1)


def test_a_pipe_that_ends_without_a_line_end_is_read_to_its_end() -> None:
    """The last line counts although nothing follows it, even one that is cut in a character."""
    data = f"instanceId,n\n{A},Zo\xeb".encode("latin-1")
    items = stream([data], InputOptions(), CheckedInput())
    assert list(items) == [Target(A, "-:2")]
