"""The developer token: from the environment, a file or a hidden prompt, never an argument."""

from __future__ import annotations

import codecs
import getpass
import os
import re
from pathlib import Path

from bulkcancel.errors import TOKENS_PAGE, DeclinedError, UsageError
from bulkcancel.reporting import is_interactive

SANDBOX_TOKEN = "sandbox-token"  # noqa: S105 - no secret: the embedded sandbox takes any
_VARIABLES = ("DOMO_DEVELOPER_TOKEN", "DOMO_ACCESS_TOKEN")
_MAX_BYTES = 64 * 1024
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# A line of a shell, a .env or a settings file. What Base64 ends in (`abc==`) is no such line.
_ASSIGNMENT = re.compile(
    r"(?:export\s+|set\s+|\$env:)?[a-z_][\w.-]*(?:\s*=\s*|\s*:\s+)[^=\s]", re.IGNORECASE
)
_QUOTES = frozenset("\"'`\u201c\u201d\u2018\u2019")


def read_token(token_file: str | None, *, ask: bool = True) -> str:
    """Return the token, trimmed. Raises `UsageError` with the reason, never with the token.

    A file named by a setting comes first, then the environment, then a prompt without echo if
    there is a terminal. Without `ask` it is empty where it would be asked for.
    """
    if token_file:
        return _checked(_from_file(token_file), f"the token file {token_file}")
    for variable in _VARIABLES:
        if variable in os.environ:
            return _checked(os.environ[variable], variable)
    if is_interactive() and not ask:
        return ""
    if is_interactive():
        try:
            return _checked(getpass.getpass("Domo developer token: "), "what was typed")
        except EOFError:
            raise DeclinedError("no token was typed: nothing was sent") from None
    raise UsageError(
        f"no token: set DOMO_DEVELOPER_TOKEN, or give --token-file PATH (make one in {TOKENS_PAGE})"
    )


def _from_file(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_BYTES)
        if data.startswith(_UTF_16) or b"\0" in data:
            raise UsageError(
                f"the token file {path} is UTF-16 or holds NUL characters: save it as UTF-8"
            )
        return data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read the token file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"the token file {path} is not text") from None


def _checked(text: str, where: str) -> str:
    token = text.strip()
    if not token:
        raise UsageError(f"{where} holds no token: it is empty")
    if token[0] in _QUOTES or token[-1] in _QUOTES:
        raise UsageError(f"{where} holds the token in quotes: take them away")
    if _ASSIGNMENT.match(token):
        raise UsageError(
            f"{where} holds a line such as NAME=token: leave nothing in it but the token itself"
        )
    if not token.isascii():
        raise UsageError(f"{where} holds characters beyond ASCII: copy the token again")
    if not token.isprintable() or " " in token:
        raise UsageError(
            f"{where} holds a line break, a space or a control character within the token: "
            "copy it again, alone, without a word such as Bearer"
        )
    return token
