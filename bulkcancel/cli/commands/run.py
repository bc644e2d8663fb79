"""`bulkcancel run`: settings in, exit code out; opens everything, wires it, closes it."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import anyio
import cyclopts
from cyclopts import Parameter

from bulkcancel.cli.files import refuse_shared_files
from bulkcancel.cli.process import SIGNALS, loop_options
from bulkcancel.cli.server import Server
from bulkcancel.cli.settings import FileName, RunSettings, as_given
from bulkcancel.cli.settings_sources import from_environment_and_file, refuse_options
from bulkcancel.cli.sources import Inputs, open_inputs
from bulkcancel.cli.wiring import (
    bring_up_to_date,
    display_options_of,
    plan_of,
    policy_of,
    reserve_results,
    summary_of,
)
from bulkcancel.engine import Confirmer, Engine, Policy, Stats, Stop
from bulkcancel.errors import (
    BulkcancelError,
    DeclinedError,
    InputError,
    InterruptedRunError,
    NamingError,
    StoppedError,
    unwrapped,
)
from bulkcancel.reporting import Display, Gauge, confirm, is_interactive
from bulkcancel.results import ResultsFile, ResultsWriter
from bulkcancel.text import visible

if TYPE_CHECKING:
    from bulkcancel.reporting import Plan
    from bulkcancel.results import ResultsStream

app = cyclopts.App(
    name="run",
    help="Cancel every instance listed in the inputs.",
    help_epilogue="Every option can also be set in the environment (BULKCANCEL_RATE=5) or in a "
    "TOML file (~/.config/bulkcancel/config.toml, or --config). Flag beats environment beats "
    "file.\n\n"
    "Examples:\n"
    "  bulkcancel run stuck.csv --instance acme --dry-run\n"
    "  bulkcancel run stuck.csv --instance acme --expect-count 15000 --yes\n"
    "  bulkcancel run stuck.csv --instance acme --resume\n"
    "  bulkcancel run runs.csv --instance acme --where status=IN_PROGRESS --verify",
    help_format="plaintext",
    config=partial(
        from_environment_and_file,
        fields=RunSettings.model_fields,
        known=RunSettings.model_fields,
    ),
    version_flags=["--version", "-V"],
    result_action="return_value",
)


_FLAGS = {
    "max_outage_s": "--max-outage",
    "deadline_s": "--deadline",
    "max_failures": "--max-failures",
    "max_failure_share": "--max-failures",
    "ca_file": "--ca-file",
}
"""What the command line calls arguments of the library."""

_REWRITING_S = 15.0  # of a million rows, on a slow disk
_ENDING_S = 1.8  # after the grace: rows are with the system, only the summary is still to come


@app.default
def run(
    *inputs: Annotated[
        FileName,
        Parameter(
            converter=as_given,
            allow_leading_hyphen=True,
            show_default=False,
            help="Files of instance IDs: CSV, TSV, JSON Lines or one ID a line; or an ID, or an "
            "executions page's address, itself. - for standard input, which is also read when "
            "something is piped into it and no file is given.",
        ),
    ],
    settings: Annotated[RunSettings, Parameter(name="*")] = RunSettings(),  # noqa: B008 - frozen
) -> int:
    """Cancel every instance listed in the inputs, and write one result row for each ID."""
    SIGNALS.loaded()
    refuse_options(inputs, RunSettings.model_fields)
    options = display_options_of(
        settings,
        rows_on_stdout=settings.output == "-",
        summary=settings.summary,
        metrics=settings.metrics,
        dry_run=settings.dry_run,
    )
    with Display(options) as display:
        try:
            refuse_shared_files(inputs, settings)
            display.open_log_file()
            with ExitStack() as resources:
                return RunCommand(inputs, settings, display, resources).run()
        except Exception as error:  # noqa: BLE001 - all that ends it is told in one way
            return display.failed(error)


class RunCommand:
    """One run of the command; `run` reads top to bottom as what happens."""

    def __init__(
        self,
        inputs: tuple[str, ...],
        settings: RunSettings,
        display: Display,
        resources: ExitStack,
    ) -> None:
        self._settings = settings
        self._resources = resources
        self._display = display
        self._paths = inputs
        self._server = Server(settings, timeout_s=settings.timeout)
        self._stats = Stats(ok=settings.ok)
        self._stop = Stop()
        self._confirmer: Confirmer | None = None
        self._unseen = 0
        """IDs of earlier runs that were accepted, and not seen to stop."""
        self._notes_told = 0
        self._start_clock()

    def run(self) -> int:
        """Do it all; return the exit code. Raises `BulkcancelError` for what prevents a start."""
        settings = self._settings
        loop = loop_options(settings.loop)
        with self._display.reading() as on_progress:
            inputs = open_inputs(self._paths, settings, self._server.host, on_progress)
        self._check_count(inputs)
        sends = inputs.to_cancel != 0 or (settings.resume and settings.verify)
        self._server.prepare(needs_token=sends, ask=not settings.dry_run)
        results = reserve_results(settings, self._server.host)
        self._resources.callback(results.close)
        policy = policy_of(settings, inputs, results.resumed)
        if results.resumed is not None:
            inputs.skip(results.resumed)
            self._unseen = results.resumed.unseen_count
            inputs.notes.extend(results.resumed.notes)
        if settings.dry_run:
            self._display.plan(self._plan(inputs, policy))
            self._display.say("Dry run: nothing was sent.")
            return 0
        error = self._work(inputs, results, policy, loop)
        return self._finish(inputs, results, error)

    def _check_count(self, inputs: Inputs) -> None:
        expected = self._settings.expect_count
        if expected is not None and not inputs.has_pipe and inputs.listed != expected:
            raise InputError(
                f"the input lists {inputs.listed:,} distinct IDs, not the {expected:,} of "
                "--expect-count: nothing was sent"
            )

    def _work(
        self,
        inputs: Inputs,
        results: ResultsStream,
        policy: Policy,
        loop: dict[str, bool],
    ) -> BulkcancelError | None:
        """Show the plan, ask, and cancel; return why it ended early, if it did.

        Whatever goes wrong once the plan may have been seen is returned: a summary tells of it.
        """
        try:
            self._confirm(self._plan(inputs, policy), inputs)
            results.begin()
            self._start_clock()
            anyio.run(self._cancel_all, inputs, results, policy, backend_options=loop)
            if self._confirmer is not None and isinstance(results, ResultsFile):
                bring_up_to_date(results, self._confirmer.findings, self._stats)
            results.close()
            reason = results.failure or self._stop.reason
        except Exception as error:  # noqa: BLE001 - a reason like the others
            reason = unwrapped(error)
        finally:
            SIGNALS.let_finish()
        if isinstance(reason, NamingError):
            return reason.called(_FLAGS[reason.name])
        if reason is None or isinstance(reason, BulkcancelError):
            return reason
        self._display.observer.crashed(reason, self._server.token)
        return StoppedError(
            f"bulkcancel itself failed ({type(reason).__name__}): please report what the log says"
        )

    def _plan(self, inputs: Inputs, policy: Policy) -> Plan:
        server = self._server
        return plan_of(
            self._settings, inputs, policy, server.host, proxy=server.proxy, unseen=self._unseen
        )

    def _confirm(self, plan: Plan, inputs: Inputs) -> None:
        """Show the plan and, on a terminal, ask. Raises `DeclinedError`."""
        self._display.plan(plan)
        self._notes_told = len(inputs.notes)
        if plan.to_cancel == 0 and not inputs.invalid:
            self._display.say("Nothing to cancel.")
            return
        if self._settings.yes or not is_interactive():
            return
        if not confirm(f"Cancel {plan.asked_about} on {self._server.host}?"):
            raise DeclinedError("not confirmed: nothing was sent")

    def _start_clock(self) -> None:
        self._started_at, self._began = datetime.now(UTC), time.monotonic()

    def _finish(self, inputs: Inputs, results: ResultsStream, error: BulkcancelError | None) -> int:
        """Show the summary of the run and return its exit code."""
        gave_up = self._confirmer and self._confirmer.gave_up
        summary = summary_of(
            self._settings,
            inputs,
            self._stats,
            results.resumed,
            host=self._server.host,
            error=error,
            looks_ended=str(gave_up) if gave_up else "",
            started_at=self._started_at,
            seconds=time.monotonic() - self._began,
        )
        if inputs.has_pipe:
            for note in inputs.notes[self._notes_told :]:  # a pipe's, known once it was read
                self._display.say(visible(note))
            if not summary.rows_in and not error:
                self._display.say("Nothing to cancel.")
        self._display.summary(summary)
        return summary.exit_code

    async def _cancel_all(self, inputs: Inputs, results: ResultsStream, policy: Policy) -> None:
        settings = self._settings
        if policy.concurrency < settings.concurrency:
            self._display.observer.out_of_descriptors()
        stop = self._stop

        def request(reason: InterruptedRunError, second: bool) -> None:  # noqa: FBT001
            self._display.observer.stopping(
                str(reason), in_flight=self._stats.in_flight, grace_s=policy.grace_s, cut=second
            )
            stop.request(reason, cut=second)

        rewrites = settings.verify or (results.resumed is not None and results.resumed.again)
        within_s = policy.grace_s + (_REWRITING_S if rewrites else _ENDING_S)
        SIGNALS.hand_to_loop(asyncio.get_running_loop(), request, within_s=within_s)
        async with self._server.open() as client:
            engine = Engine(
                client,
                policy,
                stats=self._stats,
                stop=stop,
                observer=self._display.observer,
                host=self._server.host,
            )
            self._confirmer = engine.confirmer
            gauge = Gauge(
                self._stats,
                total=inputs.to_cancel,
                ceiling_per_s=policy.rate_per_s,
                pace_per_s=lambda: engine.pacer.rate_per_s,
            )
            async with self._display.progress(gauge):
                collect = ResultsWriter(results, self._stats.count).collect
                unseen = results.resumed.ids_unseen() if results.resumed else ()
                await engine.run(inputs.items(), collect, unseen)
