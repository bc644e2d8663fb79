"""What this process has for a terminal: where to draw, whom to ask."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from typing import TextIO


def stderr_console() -> Console:
    """Return the console on standard error; standard output is for results alone."""
    return Console(stderr=True, highlight=False)


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
