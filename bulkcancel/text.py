"""Foreign text made safe to show, to store and to log."""

from __future__ import annotations

import re

# C0, DEL, C1, line separators, bidirectional and all other formatting marks (category Cf), lone
# surrogates: all that can move a cursor, forge a line, hide or reorder what a person reads.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001-\U000e007f]"
)
_FORMULA = frozenset("=+-@\t\r")
REDACTED = "[token]"


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
