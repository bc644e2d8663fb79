"""All that a person or a log sees of a run: plan, bar, events, summary. Never results."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import anyio

from bulkcancel.errors import UsageError
from bulkcancel.logs import close_log_file, make_logger, open_log_file
from bulkcancel.observer import LogObserver
from bulkcancel.plan import print_plan
from bulkcancel.progress import Bar, Gauge, ReadingBar, log_progress
from bulkcancel.summary import print_summary, write_summary
from bulkcancel.terminal import drawable, stderr_console, stream_is_terminal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import ExitStack

    from bulkcancel.plan import Plan
    from bulkcancel.settings import RunSettings
    from bulkcancel.summary import Summary


class Display:
    """Chooses by the terminal and the settings what is drawn and what is logged."""

    def __init__(self, settings: RunSettings, resources: ExitStack) -> None:
        self._console = stderr_console()
        terminal = self._console.is_terminal
        as_json = settings.log_format == "json" or (settings.log_format == "auto" and not terminal)
        self._summary_path = settings.summary
        self._draws = not as_json and not settings.quiet
        # Rows and a bar on one terminal would wipe each other out.
        shared = settings.output == "-" and stream_is_terminal(sys.stdout)
        self._bars = self._draws and drawable(self._console) and not shared
        default = "error" if settings.quiet else "warning" if self._draws else "info"
        file = open_log_file(settings.log_file) if settings.log_file else None
        if file is not None:
            resources.callback(close_log_file, file)
        self.log = make_logger(
            console=lambda line: self._console.print(line, markup=False, soft_wrap=True),
            console_level=settings.log_level or default,
            json_console=as_json,
            file=file,
            file_level=settings.log_level or "info",
        )
        self.observer = LogObserver(self.log)

    @contextmanager
    def reading(self) -> Iterator[Callable[[int, int], None] | None]:
        """Show how far the inputs are read; yields what to call with bytes read and in all."""
        if not self._bars:
            yield None
            return
        with ReadingBar(self._console) as bar:
            yield bar.update

    def plan(self, plan: Plan) -> None:
        """Show what is about to be done."""
        self.log.info(
            "run.planned",
            host=plan.host,
            to_cancel=plan.to_cancel,
            already_done=plan.already_done,
            duplicates=plan.duplicates,
            invalid=len(plan.invalid),
            rate_per_s=plan.rate_per_s,
            concurrency=plan.concurrency,
            output=plan.output,
            notes=list(plan.notes),
        )
        if self._draws:
            print_plan(self._console, plan)

    def say(self, text: str) -> None:
        """Show one sentence."""
        self.log.info("run.note", text=text)
        if self._draws:
            self._console.print(text, markup=False, soft_wrap=True)

    @asynccontextmanager
    async def progress(self, gauge: Gauge) -> AsyncIterator[None]:
        """Show the run as it goes on."""
        self.observer.gauge = gauge
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(log_progress, gauge, self.log)
            if self._bars:
                with Bar(self._console, gauge):
                    yield
            else:
                yield
            tasks.cancel_scope.cancel()

    def summary(self, summary: Summary) -> None:
        """Show what the run came to, and write it where `--summary` says."""
        # What ended a run early is told even where little else is.
        tell = self.log.error if summary.reason and not self._draws else self.log.info
        tell("run.finished", **summary.as_event())
        if self._draws:
            print_summary(self._console, summary)
        if self._summary_path:
            try:
                write_summary(self._summary_path, summary)
            except UsageError as broken:  # the exit code is about the cancels
                self.observer.summary_lost(str(broken))
