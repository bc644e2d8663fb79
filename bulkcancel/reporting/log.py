"""Log events: one line each, JSON for machines, plain words for a terminal; nothing secret."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import structlog

from bulkcancel.errors import UsageError
from bulkcancel.results import open_in_place
from bulkcancel.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict, FilteringBoundLogger

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class _Logger:
    """Writes finished lines to the console and to the log file; what structlog wraps."""

    def __init__(
        self,
        console: Callable[[str], None] | None,
        file: TextIO | None,
        *,
        console_level: str,
        json_console: bool,
    ) -> None:
        self._console = console
        self._console_level = LEVELS[console_level]
        self._file = file
        self._json_console = json_console
        self._json = structlog.processors.JSONRenderer(ensure_ascii=True)

    def msg(self, **event: object) -> None:
        """Render and write one event."""
        line = str(self._json(None, "", dict(event)))
        if self._file is not None:
            try:
                self._file.write(line + "\n")
                self._file.flush()
            except (OSError, ValueError) as error:  # the run goes on without it
                self._file = None
                self.msg(level="error", event="log.lost", reason=str(error))
        if self._console is not None and LEVELS[str(event["level"])] >= self._console_level:
            self._console(line if self._json_console else _plain(dict(event)))

    debug = info = warning = error = critical = msg


def _plain(event: EventDict) -> str:
    clock = str(event.pop("timestamp", ""))[11:19]
    level, name = event.pop("level", ""), event.pop("event", "")
    rest = "  ".join(f"{key}={visible(str(value))}" for key, value in event.items())
    return f"{clock} {level:<7} {visible(str(name))}  {rest}".rstrip()


def open_log_file(path: str) -> TextIO:
    """Open what `path` leads to for appending, mode 0600 if new. Raises `UsageError`."""
    try:
        descriptor = open_in_place(Path(path), os.O_APPEND)
    except OSError as error:
        raise UsageError(f"cannot write the log file {path}: {error.strerror}") from None
    return os.fdopen(descriptor, "a", encoding="utf-8")


def close_log_file(file: TextIO) -> None:
    """Close a log file; what a full disk did not take is lost, which has been logged."""
    with contextlib.suppress(OSError):
        file.close()


def make_logger(
    *,
    console: Callable[[str], None] | None,
    console_level: str,
    json_console: bool,
    file: TextIO | None,
    file_level: str,
) -> FilteringBoundLogger:
    """Return a logger for one run; nothing global is configured."""
    lowest = min(LEVELS[console_level], LEVELS[file_level] if file else logging.ERROR)
    logger: FilteringBoundLogger = structlog.wrap_logger(
        _Logger(console, file, console_level=console_level, json_console=json_console),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(lowest),
    )
    return logger


def check_log_file(path: str) -> None:
    """Raise `UsageError` if `open_log_file` would; makes no file."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        if not os.access(Path(path).parent, os.W_OK):
            raise UsageError(f"cannot write the log file {path}: name another") from None
    except OSError as error:
        raise UsageError(f"cannot write the log file {path}: {error.strerror}") from None
    else:
        open_log_file(path).close()
