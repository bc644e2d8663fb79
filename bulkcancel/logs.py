"""Log events: one line each, JSON for machines, plain words for a terminal; nothing secret."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Protocol, TextIO

import structlog

from bulkcancel.errors import UsageError
from bulkcancel.text import visible

if TYPE_CHECKING:
    from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class Sink(Protocol):
    """Where a finished line goes."""

    def write_line(self, line: str) -> None:
        """Write one line; never raise because nobody reads it."""


class StreamSink:
    """A text stream that may be closed under us (`2>&1 | head -1`)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write_line(self, line: str) -> None:
        """Write the line, or drop it once the stream is gone."""
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass


class _Logger:
    """Writes finished lines to every sink; what structlog wraps."""

    def __init__(self, console: Sink | None, file: Sink | None, *, json_console: bool) -> None:
        self._console = console
        self._file = file
        self._json_console = json_console
        self._json = structlog.processors.JSONRenderer(ensure_ascii=True)

    def msg(self, **event: object) -> None:
        """Render and write one event."""
        line = str(self._json(None, "", dict(event)))
        if self._file is not None:
            self._file.write_line(line)
        if self._console is not None:
            self._console.write_line(line if self._json_console else _plain(dict(event)))

    debug = info = warning = error = critical = msg


def _plain(event: EventDict) -> str:
    clock = str(event.pop("timestamp", ""))[11:19]
    level, name = event.pop("level", ""), event.pop("event", "")
    rest = "  ".join(f"{key}={visible(str(value))}" for key, value in event.items())
    return f"{clock} {level:<7} {visible(str(name))}  {rest}".rstrip()


def open_log_file(path: str) -> TextIO:
    """Open `path` for appending, readable by its owner alone. Raises `UsageError`."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise UsageError(f"cannot write the log file {path}: {error.strerror}") from None
    return os.fdopen(descriptor, "a", encoding="utf-8")


def make_logger(
    *, console: Sink | None, file: TextIO | None, level: str, json_console: bool
) -> FilteringBoundLogger:
    """Return a logger of this run's own; nothing global is configured."""
    logger: FilteringBoundLogger = structlog.wrap_logger(
        _Logger(console, StreamSink(file) if file else None, json_console=json_console),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
    )
    return logger


def stderr_sink() -> Sink:
    """Return the sink of a process whose standard error is no terminal."""
    return StreamSink(sys.stderr)
