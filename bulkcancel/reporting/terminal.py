"""The terminal, if there is one: where to draw, and where to ask."""

from __future__ import annotations

import io
import os
import sys
import textwrap
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich.console import Console, ConsoleDimensions
from rich.segment import Segment, Segments

if TYPE_CHECKING:
    from typing import TextIO

    from rich.console import ConsoleRenderable

if sys.platform == "win32":
    import msvcrt

    def _drop_what_was_typed(_terminal: TextIO) -> None:
        while msvcrt.kbhit():
            msvcrt.getwch()

else:
    import termios

    def _drop_what_was_typed(terminal: TextIO) -> None:
        with suppress(OSError, ValueError, termios.error):
            termios.tcflush(terminal.fileno(), termios.TCIFLUSH)


class Stderr(io.TextIOBase):
    """Standard error; what nobody reads any more (`2>&1 | head -1`) is dropped."""

    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write, or drop."""
        try:
            return sys.stderr.write(text)
        except (OSError, ValueError, AttributeError):
            return len(text)

    def flush(self) -> None:
        """Flush, unless it is closed."""
        try:
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):
            return

    def isatty(self) -> bool:
        """Whether standard error is a terminal."""
        return stream_is_terminal(sys.stderr)

    def fileno(self) -> int:
        """Return the descriptor, for the terminal's size."""
        return sys.stderr.fileno()


def stderr_console() -> Console:
    """Return the console on standard error; standard output is for results alone."""
    console = Console(file=cast("TextIO", Stderr()), highlight=False, emoji=False)
    if console.is_dumb_terminal and console.is_terminal and "COLUMNS" not in os.environ:
        with suppress(OSError, ValueError, AttributeError):
            console.size = ConsoleDimensions(*os.get_terminal_size(sys.stderr.fileno()))
    return console


def print_table(console: Console, table: ConsoleRenderable) -> None:
    """Print it without spaces at the ends of lines: they wrap once a terminal is narrower."""
    for line in console.render_lines(table, pad=False):
        kept = list(line)
        while kept and not kept[-1].text.strip():
            kept.pop()
        if kept:
            last = kept.pop()
            kept.append(last._replace(text=last.text.rstrip()))
        console.print(Segments([*kept, Segment.line()]), end="")


def logs_are_json(log_format: str) -> bool:
    """Whether logs of the format `auto`, `console` or `json` are JSON lines on standard error."""
    return log_format == "json" or (log_format == "auto" and not stream_is_terminal(sys.stderr))


def is_interactive() -> bool:
    """Whether a person can be asked: standard error or input is a terminal, and one can be read."""
    somebody = stream_is_terminal(sys.stderr) or stream_is_terminal(sys.stdin)
    return somebody and _ask_on() is not None


def confirm(question: str) -> bool:
    """Ask on the terminal; only `y` or `yes` is a yes, and only if typed after the question.

    The answer is read from the terminal itself where standard input holds the IDs.
    """
    source = _ask_on()
    if source is not None:
        _drop_what_was_typed(source)
    if stream_is_terminal(sys.stderr):
        width = max(20, stderr_console().width - len(" yes"))
        sys.stderr.write("\n".join(textwrap.wrap(f"{question} [y/N]", width)) + " ")
        sys.stderr.flush()
    else:  # it goes to a file: the question must not
        try:
            Path("/dev/tty").write_text(f"{question} [y/N] ", encoding="utf-8")
        except OSError:
            return False
    if source is None:
        return False
    return source.readline().strip().lower() in {"y", "yes"}


def stream_is_terminal(stream: TextIO | None) -> bool:
    """Whether a standard stream, which is `None` where it was closed (`2>&-`), is a terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


@cache
def _ask_on() -> TextIO | None:
    if stream_is_terminal(sys.stdin):
        return sys.stdin
    try:
        return Path("/dev/tty").open(encoding="utf-8")
    except OSError:
        return None


def drawable(console: Console) -> bool:
    """Whether a bar can be drawn: a terminal that is not `dumb`."""
    return console.is_terminal and os.environ.get("TERM") != "dumb"
