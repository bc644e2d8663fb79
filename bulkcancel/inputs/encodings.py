"""Which encoding a text is in: the one named, UTF-8, or a careful guess."""

from __future__ import annotations

import codecs
import re

from bulkcancel.errors import UsageError


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
