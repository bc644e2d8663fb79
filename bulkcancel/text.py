"""Foreign text made safe to show, to store and to log; which known word was meant."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# C0, DEL, C1, line separators, bidirectional and all other formatting marks (category Cf), lone
# surrogates: all that can move a cursor, forge a line, hide or reorder what a person reads.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001-\U000e007f]"
)
_FORMULA = frozenset("=+-@\t\r")
REDACTED = "[token]"
# The colon and the slashes before a login: `http://user:password@`, also without the scheme.
_LOGIN = re.compile(r"(\w[\w.+-]*:/*)\S*@")
# As Domo's begin, or one long word of letters and digits that is part of no path or name. (An ID
# without its dashes has 32 of them.)
_TOKEN = re.compile(
    r"\bDDCI[\w-]{8,}"
    r"|(?<![\w./\\-])(?=[A-Z+=]*[0-9])(?=[0-9+=]*[A-Z])[A-Z0-9+=]{33,}(?![\w./\\-])",
    re.IGNORECASE,
)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def visible(text: str) -> str:
    r"""Return `text` with every control, bidi and invisible character as `\xNN` or `\uNNNN`."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(_escape, text)


def cell(text: str) -> str:
    """Return `text` as a CSV cell that no spreadsheet takes for a formula and that is one line.

    A leading `= + - @`, TAB or CR gets an apostrophe before it (OWASP, CSV Injection).
    """
    return ("'" if text[:1] in _FORMULA else "") + visible(text)


def shorten(text: str, limit: int = 200) -> str:
    """Return `text` cut to `limit` characters, the cut marked by `…`."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def redact(text: str, secret: str) -> str:
    """Return `text` without `secret`, in case a server echoes the token back."""
    return text.replace(secret, REDACTED) if secret and secret in text else text


def conceal(text: str) -> str:
    """Return a message without what may be secret in the words that it repeats.

    They come from a command line or a settings file: an address with a login, or a token pasted in
    the wrong place.
    """
    return _TOKEN.sub("[what looks like a token]", _LOGIN.sub(r"\1[login]@", text))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Ask whether the known word that is most like `word` was meant; empty if none is like it."""
    close = closest(word, known)
    return f"did you mean {close}?" if close else ""


def closest(word: str, known: Iterable[str]) -> str:
    """Return the known word that is most like `word`; empty if none is like it."""
    return next(iter(difflib.get_close_matches(word, list(known), 1, 0.7)), "")
