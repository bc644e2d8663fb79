"""The rows of a results file as it is now: read without repairing, locking or writing anything."""

from __future__ import annotations

import math
import os
import stat
from typing import TYPE_CHECKING

from bulkcancel.errors import InputError
from bulkcancel.results.codec import Format, decode
from bulkcancel.text import shorten, visible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from bulkcancel.models import CancelResult

_BLOCK = 1 << 20
_LONGEST = 1 << 20
"""Of a line, in bytes; what is longer is no row of ours."""
_MOST_NOTES = 20
_MOST_BROKEN_AT_THE_START = 1000
_OTHERS_MARKS = b"\xef\xbb\xbf\r"
"""What spreadsheets and editors put around a first line: a byte order mark, a carriage return."""
_FIRST_KEY = b'{"instanceId": "'


class RowReader:
    """Reads the rows of one open results file, CSV or JSON Lines as its first line tells.

    Iterate once; then the figures are complete. A plain file is read up to the size that it has
    when the reading begins, or to `until`: a run may go on writing it. Memory is bounded, whatever
    the file holds. Raises `InputError` where it is no results file or cannot be read.
    """

    def __init__(self, file: BinaryIO, name: str, *, until: int | None = None) -> None:
        self.name = name
        self.form = Format.CSV
        self.rows = 0
        self.unreadable = 0
        """Whole lines that do not parse."""
        self.torn = 0
        """Bytes of a last line that is not whole: it was cut, or is being written."""
        self.notes: list[str] = []
        """Which lines these are, up to twenty."""
        self.whole = 0
        """Bytes up to the end of the last whole line."""
        self._file = file
        self._until = until

    def __iter__(self) -> Iterator[CancelResult]:
        lines = self._lines()
        first = next(lines, None)
        number = 1
        if first is not None and first.strip(_OTHERS_MARKS) == Format.CSV.header[:-1] != first:
            raise InputError(
                f"{self.name} was saved by another program, which changes line ends and figures: "
                "name the file that a run has written"
            )
        if first is not None and first + b"\n" != Format.CSV.header:
            self.form = Format.JSONL
            number, lines = 0, self._with(first, lines)
        form, header = self.form, Format.CSV.header[:-1]
        for line in lines:
            number += 1
            try:
                row = decode(line, form)
            except ValueError as error:
                if line != header:  # of a second file that was put behind the first
                    self._cannot_read(number, error)
                continue
            self.rows += 1
            yield row
        if self.unreadable and not self.rows and form is Format.JSONL:
            raise self._not_ours()

    @staticmethod
    def _with(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
        yield first
        yield from others

    def _lines(self) -> Iterator[bytes]:
        """Yield the whole lines, without their ends."""
        rest = b""
        left = self._size()
        while left > 0:
            try:
                block = self._file.read(int(min(_BLOCK, left)))
            except OSError as error:
                raise InputError(f"cannot read {self.name}: {error.strerror or error}") from None
            if not block:
                break
            left -= len(block)
            *lines, last = block.split(b"\n")
            if lines:
                lines[0] = rest + lines[0]
                rest = b""
                yield from lines
            self.whole += len(block) - len(last) + (self.torn if lines else 0)
            self.torn = len(last) + (0 if lines else self.torn)
            rest = (rest + last)[:_LONGEST]
        if rest:
            self._check_torn(rest)

    def _size(self) -> float:
        if self._until is not None:
            return self._until
        about = os.fstat(self._file.fileno())
        return about.st_size if stat.S_ISREG(about.st_mode) else math.inf

    def _check_torn(self, rest: bytes) -> None:
        if not self.whole:  # nothing but a piece of a line: is it ours?
            starts = (Format.CSV.header, _FIRST_KEY)
            if not any(rest.startswith(start) or start.startswith(rest) for start in starts):
                raise self._not_ours()
        self._note(
            f"{self.name}: its last row is not whole ({self.torn:,} bytes): it is being written, "
            "or was cut off"
        )

    def _cannot_read(self, number: int, error: ValueError) -> None:
        self.unreadable += 1
        if not self.rows and self.unreadable >= _MOST_BROKEN_AT_THE_START:
            raise self._not_ours()
        said = shorten(visible(str(error)), 80)
        self._note(f"{self.name}:{number} does not parse ({said})")

    def _not_ours(self) -> InputError:
        return InputError(
            f"{self.name} is not a results file of bulkcancel (its columns differ): name one that "
            "a run has written"
        )

    def _note(self, text: str) -> None:
        if len(self.notes) < _MOST_NOTES:
            self.notes.append(text)
