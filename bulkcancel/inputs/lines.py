"""Bytes of any usual encoding turned into numbered lines, strictly."""

from __future__ import annotations

import codecs
import re
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from bulkcancel.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STDIN = "-"
"""The name of standard input."""
_MAX_LINE_CHARS = 8 * 1024 * 1024
_LONGEST_BOM = 4
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16 LE, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)
_NOT_TEXT = (
    (b"PK\x03\x04", "is an Excel workbook or a ZIP file, not text: save it as CSV UTF-8"),
    (b"\x1f\x8b", "is compressed: pipe it in, as in gzip -dc FILE | bulkcancel run -"),
)


def check_encoding(name: str) -> None:
    """Raise `UsageError` unless Python can read text in the encoding `name`."""
    try:
        b"x".decode(name, "replace")
        codecs.getincrementaldecoder(name)
    except (LookupError, ValueError):
        raise UsageError(
            f"--encoding {name!r} is not known: name one such as utf-8, cp1252 or utf-16-le"
        ) from None


class Utf8OrWindows1252:
    """Decodes UTF-8, or else Windows-1252 where the bytes can be nothing else usual.

    The guess is taken only while no byte speaks against it: valid multi-byte UTF-8 anywhere in
    the file, bytes that Windows-1252 leaves undefined, and 0xFE or 0xFF (a broken UTF-16) all
    raise `UnicodeDecodeError`. Delimiters, quotes and line ends are ASCII in both, so a wrong
    guess can never move a cell.
    """

    _NON_ASCII = re.compile(rb"[\x80-\xff]+")
    _IMPLAUSIBLE = re.compile(rb"[\x81\x8d\x8f\x90\x9d\xfe\xff]")
    _LONGEST_HELD = 8

    def __init__(self) -> None:
        self.guessed = False
        """Whether Windows-1252 is being read."""
        self._saw_multibyte = False
        self._held = b""

    def decode(self, data: bytes, /, *, final: bool) -> str:
        """Return the text of `data` and of what was held back, all of it if `final`."""
        data = self._held + data
        if not self.guessed:
            try:
                text, used = codecs.utf_8_decode(data, "strict", final)
            except UnicodeDecodeError as error:
                if self._saw_multibyte or not data[: error.start].isascii():
                    raise
                self.guessed = True
            else:
                self._saw_multibyte |= not text.isascii()
                self._held = data[used:]
                return text
        return self._decode_windows_1252(data, final=final)

    def _decode_windows_1252(self, data: bytes, *, final: bool) -> str:
        self._held = b""
        for run in self._NON_ASCII.finditer(data):
            if run.end() == len(data) and not final and len(run[0]) <= self._LONGEST_HELD:
                self._held = run[0]  # the next chunk may show that it is UTF-8
                data = data[: run.start()]
            elif self._IMPLAUSIBLE.search(run[0]) or _is_utf8(run[0]):
                raise UnicodeDecodeError("utf-8", data, run.start(), run.end(), "mixed encodings")
        return data.decode("cp1252")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class _Decoder(Protocol):
    def decode(self, data: bytes, /, *, final: bool) -> str: ...


class NumberedLines:
    r"""Iterates over `(number, line)` of one input, each as soon as its line end has come.

    Lines end with CR, LF or CRLF and with nothing else, and are numbered from 1. A byte order
    mark decides the encoding unless `encoding` does; without either it is UTF-8, or else
    Windows-1252 where that is safe, which `guessed` and a line in `notes` then say. Raises
    `InputError` with the file and the line at NUL, at bytes the encoding does not allow and at
    lines beyond 8 Mi characters.
    """

    def __init__(
        self, chunks: Iterable[bytes], *, name: str, encoding: str | None, notes: list[str]
    ) -> None:
        self.name = name
        self._chunks = chunks
        self._encoding = encoding
        self._notes = notes
        self._head = b""
        self._line = 1
        self._after_cr = False
        self._saw_header_again = False
        self._utf8_or_1252 = Utf8OrWindows1252()
        self._decoder: _Decoder = self._utf8_or_1252

    @property
    def guessed(self) -> bool:
        """Whether the text is read as Windows-1252 on a guess.

        Then all that is not ASCII is guessed: nothing that decides what is cancelled rests on it.
        """
        return self._utf8_or_1252.guessed

    @property
    def shown_name(self) -> str:
        """The input as messages call it."""
        return "standard input" if self.name == STDIN else self.name

    def note(self, text: str) -> None:
        """Add a fact about the inputs that the user should see, once."""
        if text not in self._notes:
            self._notes.append(text)

    def note_header_again(self, line: int) -> None:
        """Note, for the first of an input, that a repeated header is no row."""
        if not self._saw_header_again:
            self._saw_header_again = True
            self.note(
                f"{self.shown_name}, line {line}: the header again: skipped, here and wherever it "
                "comes"
            )

    def error(self, line: int, message: str) -> InputError:
        """Return an `InputError` that names this input and `line`."""
        return InputError(f"{self.shown_name}, line {line}: {message}")

    def not_utf8(self, line: int, where: str) -> InputError:
        """Return an `InputError` about bytes at `line` that cannot be read for sure."""
        return self.error(
            line,
            f"{where} holds bytes that are not UTF-8: name the file's encoding, for example "
            "--encoding cp1252",
        )

    def __iter__(self) -> Iterator[tuple[int, str]]:
        tail = ""
        for text in self._texts():
            lines = self._split(text)
            lines[0] = tail + lines[0]
            tail = lines.pop()
            if len(tail) > _MAX_LINE_CHARS:
                raise self.error(self._line, "is over 8 MiB long: is this a text file?")
            yield from enumerate(lines, self._line)
            self._line += len(lines)
        if tail:
            yield self._line, tail

    def _texts(self) -> Iterator[str]:
        """Yield what the chunks decode to, without a byte order mark and without empty text."""
        started = False
        for data, final in self._whole_chunks():
            if not started:
                self._choose_decoder(data)
            text = self._decode(data, final=final)
            if not started and text:
                started = True
                text = text.removeprefix("\ufeff")
            if text:
                yield text

    def _whole_chunks(self) -> Iterator[tuple[bytes, bool]]:
        """Yield the chunks, the first one long enough for any byte order mark, and an end."""
        head = b""
        rest = iter(self._chunks)
        for chunk in rest:
            head += chunk
            if len(head) >= _LONGEST_BOM:
                break
        self._head = head
        for chunk in chain([head], rest):
            yield chunk, False
        yield b"", True

    def _choose_decoder(self, head: bytes) -> None:
        for magic, message in _NOT_TEXT:
            if head.startswith(magic):
                raise InputError(f"{self.shown_name} {message}")
        if self._encoding is None:
            found = (encoding for mark, encoding in _BOMS if head.startswith(mark))
            self._encoding = next(found, None)
        if self._encoding is not None:
            self._decoder = codecs.getincrementaldecoder(self._encoding)()

    def _decode(self, data: bytes, *, final: bool) -> str:
        if self._encoding is None and b"\0" in data:
            raise self._nul(data[: data.index(b"\0")].decode("latin-1"))
        was_guessed = self.guessed
        try:
            text = self._decoder.decode(data, final=final)
        except UnicodeDecodeError as error:
            line = self._line_after(error.object[: error.start].decode(error.encoding, "replace"))
            if self._encoding is None:
                raise self.not_utf8(line, "this line") from None
            raise self.error(line, f"is not {self._encoding}: check --encoding") from None
        except UnicodeError as error:
            raise self.error(self._line, f"is not {self._encoding}: {error}") from None
        if self.guessed and not was_guessed:
            self.note(f"{self.shown_name} is not UTF-8: read as Windows-1252")
        if "\0" in text:
            raise self._nul(text[: text.index("\0")])
        return text

    def _nul(self, before: str) -> InputError:
        even, odd = self._head[:64:2], self._head[1:64:2]
        hint = "is this a text file?"
        for zeros, others, encoding in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
            if zeros.count(0) * 2 > len(zeros) and others.count(0) * 2 < len(others):
                hint = f"this looks like UTF-16 without its mark: try --encoding {encoding}"
        return self.error(self._line_after(before), f"holds a NUL character: {hint}")

    def _line_after(self, before: str) -> int:
        if self._after_cr:
            before = before.removeprefix("\n")
        return self._line + before.replace("\r\n", "\n").replace("\r", "\n").count("\n")

    def _split(self, text: str) -> list[str]:
        if self._after_cr:
            text = text.removeprefix("\n")  # the second half of a CRLF cut in two
        self._after_cr = text.endswith("\r")
        ends = text.count("\r")
        if not ends:
            return text.split("\n")
        lines = text.split("\r\n")
        if len(lines) - 1 == ends == text.count("\n"):
            return lines  # all CRLF: five times as fast as what mixed ends need
        return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
