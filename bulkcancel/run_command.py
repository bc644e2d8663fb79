"""`bulkcancel run`: settings in, exit code out; opens everything, wires it, closes it."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack, ExitStack, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import anyio
import cyclopts
from cyclopts import Parameter

from bulkcancel.accounts import again_of, plan_of, policy_of, summary_of
from bulkcancel.client import DomoClient
from bulkcancel.collector import Collector
from bulkcancel.display import Display
from bulkcancel.engine import Engine, Policy
from bulkcancel.errors import (
    BulkcancelError,
    DeclinedError,
    InputError,
    InterruptedRunError,
    OutputError,
    StoppedError,
    UsageError,
    unwrapped,
)
from bulkcancel.files import check_files
from bulkcancel.inputs import Inputs, open_inputs
from bulkcancel.ledger import Ledger, StreamLedger
from bulkcancel.mistakes import unknown_option
from bulkcancel.progress import Gauge
from bulkcancel.quantities import parse_duration
from bulkcancel.rows import format_of
from bulkcancel.sandbox_options import SandboxOptions
from bulkcancel.settings import RunSettings
from bulkcancel.settings_sources import from_environment_and_file
from bulkcancel.signals import SIGNALS
from bulkcancel.stats import Stats
from bulkcancel.stop import Stop
from bulkcancel.summary import write_summary
from bulkcancel.system import LoopFactory, loop_factory
from bulkcancel.target import base_url_of, host_of
from bulkcancel.terminal import confirm, is_interactive
from bulkcancel.text import visible
from bulkcancel.token import SANDBOX_TOKEN, read_token

if TYPE_CHECKING:
    from collections.abc import Sequence

app = cyclopts.App(
    name="run",
    help="Cancel every instance listed in the inputs.",
    help_epilogue="Every option can also be set in the environment (BULKCANCEL_RATE=5) or in a "
    "TOML file (~/.config/bulkcancel/config.toml, or --config). Flag beats environment beats "
    "file.",
    config=from_environment_and_file,
    result_action="return_value",
)


_ENDING_S = 1.8  # after the grace: rows are with the system, only the summary is still to come


@app.default
def run(
    *inputs: Annotated[
        str,
        Parameter(
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
    for text in inputs:
        if text.startswith("-") and text != "-":
            raise UsageError(
                unknown_option(
                    text,
                    [f"--{name.replace('_', '-')}" for name in RunSettings.model_fields],
                    "see bulkcancel run --help (a file of that name: put ./ before it)",
                )
            )
    with Display(settings) as display:
        try:
            check_files(inputs, settings)
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
        self._stats = Stats()
        self._stop = Stop()

    def run(self) -> int:
        """Do it all; return the exit code. Raises `BulkcancelError` for what prevents a start."""
        settings = self._settings
        new_loop = loop_factory(settings.loop)
        host = "127.0.0.1" if settings.sandbox else host_of(self._base_url())
        with self._display.reading() as on_progress:
            inputs = open_inputs(self._paths, settings, host, on_progress)
        self._check_count(inputs)
        token = SANDBOX_TOKEN  # where nothing is sent, or to nobody
        if not settings.sandbox and inputs.to_cancel != 0:
            token = read_token(settings.token_file, ask=not settings.dry_run)
        ledger = self._reserve_ledger(host)
        policy = policy_of(settings, inputs, ledger.resumed)
        if ledger.resumed is not None:
            inputs.skip(ledger.resumed)
            inputs.notes.extend(ledger.resumed.notes)
        plan = plan_of(settings, inputs, policy, host)
        self._display.plan(plan)
        told = len(inputs.notes)
        if settings.dry_run:
            self._display.say("Dry run: nothing was sent.")
            return 0
        if plan.to_cancel == 0 and not inputs.invalid:
            self._display.say("Nothing to cancel.")
        elif not settings.yes and is_interactive():
            how_many = "the listed runs" if plan.to_cancel is None else f"{plan.to_cancel:,} runs"
            if not confirm(f"Cancel {how_many} on {host}?"):
                raise DeclinedError("not confirmed: nothing was sent")
        ledger.begin()
        began = time.monotonic()
        error = self._work(inputs, ledger, token, policy, new_loop)
        seconds = time.monotonic() - began
        summary = summary_of(
            settings, inputs, self._stats, ledger.resumed, host=host, error=error, seconds=seconds
        )
        if inputs.is_open:
            self._tell_of_pipe(inputs.notes[told:], is_empty=not summary.rows_in and not error)
        self._display.summary(summary)
        if settings.summary:
            try:
                write_summary(settings.summary, summary)
            except UsageError as broken:  # the exit code is about the cancels
                self._display.observer.summary_lost(str(broken))
        return summary.exit_code

    def _tell_of_pipe(self, notes: Sequence[str], *, is_empty: bool) -> None:
        """Say what could not be said before it was read."""
        for note in notes:
            self._display.say(visible(note))
        if is_empty:
            self._display.say("Nothing to cancel.")

    def _base_url(self) -> str:
        return base_url_of(self._settings.instance, self._settings.base_url)

    def _check_count(self, inputs: Inputs) -> None:
        expected = self._settings.expect_count
        if expected is not None and not inputs.is_open and inputs.listed != expected:
            raise InputError(
                f"the input lists {inputs.listed:,} distinct IDs, not the {expected:,} of "
                "--expect-count: nothing was sent"
            )

    def _reserve_ledger(self, host: str) -> Ledger | StreamLedger:
        settings = self._settings
        ledger: Ledger | StreamLedger
        if settings.output == "-":
            if sys.stdout is None:
                raise OutputError("standard output is closed: choose another -o")
            form = format_of("-", settings.output_format)
            ledger = StreamLedger(sys.stdout.fileno(), form=form)
        else:
            ledger = Ledger.reserve(
                settings.output,
                host=host,
                resume=settings.resume,
                overwrite=settings.overwrite,
                form=settings.output_format,
                again=again_of(settings),
                dry_run=settings.dry_run,
            )
        self._resources.callback(ledger.close)
        return ledger

    def _work(
        self,
        inputs: Inputs,
        ledger: Ledger | StreamLedger,
        token: str,
        policy: Policy,
        new_loop: LoopFactory,
    ) -> BulkcancelError | None:
        """Run the event loop until all is done; return why it ended early, if it did."""
        try:
            anyio.run(
                self._cancel_all,
                inputs,
                ledger,
                token,
                policy,
                backend_options={"loop_factory": new_loop},
            )
            ledger.close()
            reason = ledger.failure or self._stop.reason
        except Exception as error:  # noqa: BLE001 - what was done is accounted for all the same
            reason = unwrapped(error)
        finally:
            SIGNALS.let_finish()
        if reason is None or isinstance(reason, BulkcancelError):
            return reason
        self._display.observer.crashed(reason, token)
        return StoppedError(
            f"bulkcancel itself failed ({type(reason).__name__}): please report what the log says"
        )

    async def _cancel_all(
        self,
        inputs: Inputs,
        ledger: Ledger | StreamLedger,
        token: str,
        policy: Policy,
    ) -> None:
        settings = self._settings
        if policy.concurrency < settings.concurrency:
            self._display.observer.out_of_descriptors()
        stop = self._stop
        loop = asyncio.get_running_loop()

        def on_signal(reason: InterruptedRunError, second: bool) -> None:  # noqa: FBT001
            with suppress(RuntimeError):  # the loop has just ended, and all with it
                loop.call_soon_threadsafe(request, reason, second)

        def request(reason: InterruptedRunError, second: bool) -> None:  # noqa: FBT001
            self._display.observer.stopping(str(reason))
            stop.request(reason, cut=second)

        SIGNALS.hand_to(on_signal, within_s=policy.grace_s + _ENDING_S)
        async with AsyncExitStack() as stack:
            if settings.sandbox:
                # Named by its place, as commands are: no other run pays for loading a server.
                server = import_module("bulkcancel.sandbox")
                sandbox = server.Sandbox(SandboxOptions(port=0))
                base_url = (await stack.enter_async_context(sandbox)).base_url
            else:
                base_url = self._base_url()
            client = DomoClient(
                token=token,
                base_url=base_url,
                timeout_s=parse_duration(settings.timeout),
                max_connections=policy.concurrency,
            )
            await stack.enter_async_context(client)
            engine = Engine(
                client, policy, stats=self._stats, stop=stop, observer=self._display.observer
            )
            gauge = Gauge(
                self._stats,
                total=inputs.to_write,
                ceiling_per_s=policy.rate_per_s,
                pace_per_s=lambda: engine.pacer.rate_per_s,
            )
            async with self._display.progress(gauge):
                await engine.run(inputs.items(), Collector(ledger, self._stats).collect)
