"""What this process has for a terminal: where to draw, whom to ask."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich.console import Console

if TYPE_CHECKING:
    from typing import TextIO


class Stderr(io.TextIOBase):
    """Standard error, which may be closed under us (`2>&1 | head -1`): the rest is dropped."""

    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write, or drop."""
        try:
            return sys.stderr.write(text)
        except (OSError, ValueError, AttributeError):
            return len(text)

    def flush(self) -> None:
        """Flush, if anybody is there."""
        try:
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):
            return

    def isatty(self) -> bool:
        """Whether standard error is a terminal."""
        return sys.stderr is not None and sys.stderr.isatty()

    def fileno(self) -> int:
        """Return the descriptor, for the terminal's size."""
        return sys.stderr.fileno()


def stderr_console() -> Console:
    """Return the console on standard error; standard output is for results alone."""
    return Console(file=cast("TextIO", Stderr()), highlight=False)


def is_interactive() -> bool:
    """Whether somebody sits there: standard error is a terminal that can be asked."""
    return sys.stderr.isatty() and (sys.stdin.isatty() or _open_terminal() is not None)


def confirm(question: str) -> bool:
    """Ask on the terminal; only `y` or `yes` is a yes.

    The answer is read from the terminal itself where standard input holds the IDs.
    """
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    source = sys.stdin if sys.stdin.isatty() else _open_terminal()
    if source is None:
        return False
    return source.readline().strip().lower() in {"y", "yes"}


def _open_terminal() -> TextIO | None:
    try:
        return Path("/dev/tty").open(encoding="utf-8")
    except OSError:
        return None


def drawable(console: Console) -> bool:
    """Whether a bar can be drawn: a terminal that is not `dumb`."""
    return console.is_terminal and os.environ.get("TERM") != "dumb"
