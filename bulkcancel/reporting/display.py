"""All that a person or a log sees of a run: plan, bar, events, summary. Never results."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Self

import anyio

from bulkcancel.errors import CRASHED, BulkcancelError, InterruptedRunError, UsageError, fault_of
from bulkcancel.reporting.log import check_log_file, close_log_file, make_logger, open_log_file
from bulkcancel.reporting.plan import print_plan
from bulkcancel.reporting.progress import Bar, Gauge, ReadingBar, log_progress, print_progress
from bulkcancel.reporting.reporter import LogObserver
from bulkcancel.reporting.summary import print_summary, write_summary
from bulkcancel.reporting.terminal import (
    drawable,
    logs_are_json,
    stderr_console,
    stream_is_terminal,
)
from bulkcancel.text import conceal, visible

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import TextIO

    from structlog.typing import FilteringBoundLogger

    from bulkcancel.reporting.plan import Plan
    from bulkcancel.reporting.summary import Summary


@dataclass(frozen=True, slots=True)
class DisplayOptions:
    """What is shown of a run, and where."""

    log_format: str
    """`console`, `json`, or `auto`: as standard error is a terminal or not."""
    log_level: str | None
    """`None`: what suits the format."""
    log_file: str | None
    quiet: bool
    summary: str | None
    """Where the summary goes as JSON; `-` is standard output."""
    metrics: str | None
    """Where its figures go for Prometheus; `-` is standard output."""
    rows_on_stdout: bool
    dry_run: bool
    command: str = "run"
    """What its events are named by."""


class Display:
    """Chooses by the terminal and the settings what is drawn and what is logged.

    Leaving it as a context closes the log file.
    """

    def __init__(self, options: DisplayOptions) -> None:
        self._options = options
        self._console = stderr_console()
        as_json = logs_are_json(options.log_format)
        self._draws = not as_json and not options.quiet
        # Rows and a bar on one terminal would wipe each other out.
        shared = options.rows_on_stdout and stream_is_terminal(sys.stdout)
        shows = self._draws and self._console.is_terminal and not shared
        self._bars = shows and drawable(self._console)
        self._lines = shows and not self._bars
        self._as_json = as_json
        self._write_metrics = _metrics_writer() if options.metrics else None
        self._file: TextIO | None = None
        self._begin_log()

    def _begin_log(self) -> None:
        self.log = self._logger(console=True)
        self.observer = LogObserver(self.log)

    def _logger(self, *, console: bool) -> FilteringBoundLogger:
        options = self._options
        default = "error" if options.quiet else "warning" if self._draws else "info"
        return make_logger(
            console=self._write if console else None,
            console_level=options.log_level or default,
            json_console=self._as_json,
            file=self._file,
            file_level=options.log_level or "info",
        )

    def _write(self, line: str) -> None:
        breaks = self._console.is_terminal and not self._as_json
        self._console.print(line, markup=False, soft_wrap=not breaks)

    def _print(self, text: str) -> None:
        """Print a sentence; a terminal gets it broken between words."""
        self._console.print(text, markup=False, soft_wrap=not self._console.is_terminal)

    def open_log_file(self) -> None:
        """Write the log to its file as well; a dry run only checks that this is possible.

        Raises `UsageError`.
        """
        path = self._options.log_file
        if path and self._options.dry_run:
            check_log_file(path)
        elif path:
            self._file = open_log_file(path)
            self._begin_log()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            close_log_file(self._file)

    def failed(self, error: Exception) -> int:
        """Show why the command failed before or after the run itself; return the exit code.

        It is an event where logs are JSON, else a sentence.
        """
        code, text, name = CRASHED, fault_of(error), ""
        if isinstance(error, BulkcancelError):
            code, text, name = error.exit_code, conceal(str(error)), "bulkcancel: "
        command = self._options.command
        if isinstance(error, InterruptedRunError) and command == "run":
            text = f"{text}: nothing was sent"
        event = f"{command}.failed" if code in {3, 4, 5} else f"{command}.refused"
        self._logger(console=self._as_json).error(event, error=text, exit_code=code)
        if not self._as_json:
            self._write(f"{name}{visible(text)}")
        return code

    @contextmanager
    def reading(self) -> Iterator[Callable[[int, int], None] | None]:
        """Show reading progress; yield a callback for (bytes read, bytes in all), or `None`."""
        if not self._bars:
            yield None
            return
        with ReadingBar(self._console) as bar:
            yield bar.update

    def plan(self, plan: Plan) -> None:
        """Show what is about to be done."""
        self.log.info("run.planned", **plan.as_event())
        if self._draws:
            print_plan(self._console, plan)

    def say(self, text: str) -> None:
        """Show one sentence."""
        event = f"{self._options.command}.note"
        self.log.info(event, text=text)
        if self._draws:
            self._print(text)

    def finished(self, text: str, **figures: object) -> None:
        """Show what a command without a summary came to: one sentence, or its figures."""
        event = f"{self._options.command}.finished"
        self.log.info(event, **figures)
        if self._draws:
            self._print(text)

    @asynccontextmanager
    async def progress(self, gauge: Gauge) -> AsyncIterator[None]:
        """Show the run as it goes on."""
        self.observer.gauge = gauge
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(log_progress, gauge, self.log)
            if self._lines:
                tasks.start_soon(print_progress, gauge, self._print)
            if self._bars:
                with Bar(self._console, gauge):
                    yield
            else:
                yield
            tasks.cancel_scope.cancel()

    def summary(self, summary: Summary) -> None:
        """Show the summary, and write it where `--summary` and `--metrics` say."""
        # Why a run ended early is logged even where little else is shown.
        tell = self.log.error if summary.reason and not self._draws else self.log.info
        tell("run.finished", **summary.as_event())
        if self._draws:
            print_summary(self._console, summary)
        if self._options.summary:
            try:
                write_summary(self._options.summary, summary)
            except UsageError as broken:  # the exit code is about the cancels
                self.observer.summary_lost(str(broken))
        if self._write_metrics is not None and self._options.metrics:
            try:
                self._write_metrics(self._options.metrics, summary)
            except UsageError as broken:
                self.observer.metrics_lost(str(broken))


def _metrics_writer() -> Callable[[str, Summary], None]:
    """Load what writes metrics: at the start, as it may be missing."""
    writer: Callable[[str, Summary], None]
    writer = import_module("bulkcancel.reporting.metrics").write_metrics
    return writer
