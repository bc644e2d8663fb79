"""`bulkcancel verify`: which of the accepted runs have stopped by now, and their rows updated."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Annotated

import anyio
import cyclopts
from cyclopts import Parameter

from bulkcancel.cli.process import SIGNALS, loop_options
from bulkcancel.cli.server import Server
from bulkcancel.cli.settings import FileName, RunSettings, ServerSettings, as_given
from bulkcancel.cli.settings_sources import from_environment_and_file, refuse_options
from bulkcancel.cli.wiring import display_options_of
from bulkcancel.engine import Engine, Policy, Stats, Stop, Verification
from bulkcancel.errors import (
    BulkcancelError,
    InterruptedRunError,
    ResultsError,
    UsageError,
    unwrapped,
)
from bulkcancel.ids import IdSet, pack
from bulkcancel.models import CancelResult, Outcome
from bulkcancel.quantities import count_of
from bulkcancel.reporting import Display, Gauge
from bulkcancel.results import ResultsFile, write_all
from bulkcancel.text import cell, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyio.streams.memory import MemoryObjectReceiveStream

    from bulkcancel.engine import Confirmer
    from bulkcancel.results import Resumed

app = cyclopts.App(
    name="verify",
    help="Ask which of the accepted runs have stopped by now, and bring their rows up to date.",
    help_epilogue="Read-only, by calls that Domo does not document: they may change. What still "
    "runs is printed as CSV, an input for bulkcancel run. Exit codes: 0 nothing runs any more, 1 "
    "something does, or nobody can tell.\n\n"
    "Examples:\n"
    "  bulkcancel verify results.csv --instance acme\n"
    "  bulkcancel verify monday.csv tuesday.csv --instance acme --quiet\n"
    "  bulkcancel verify results.csv --instance acme > running.csv",
    help_format="plaintext",
    config=partial(
        from_environment_and_file,
        fields=ServerSettings.model_fields,
        known=RunSettings.model_fields,
    ),
    version_flags=["--version", "-V"],
    result_action="return_value",
)

_ONE_LOOK = Verification(timeout_s=0.0, refusals=25, patience_s=60.0)
_ENDING_S = 15.0
_COLUMNS = ("instanceId", "status", "modelName", "source")


@app.default
def verify(
    *results: Annotated[
        FileName,
        Parameter(
            converter=as_given,
            allow_leading_hyphen=True,
            show_default=False,
            help="Results files of earlier runs, such as those of several shards or days.",
        ),
    ],
    settings: Annotated[ServerSettings, Parameter(name="*")] = ServerSettings(),  # noqa: B008
) -> int:
    """Ask once after every accepted or unconfirmed row; print what still runs."""
    SIGNALS.loaded()
    refuse_options(results, ServerSettings.model_fields)
    options = display_options_of(settings, "verify", rows_on_stdout=True)
    with Display(options) as display:
        try:
            display.open_log_file()
            with ExitStack() as resources:
                return _VerifyCommand(results, settings, display, resources).run()
        except Exception as error:  # noqa: BLE001 - all that ends it is told in one way
            return display.failed(error)


class _VerifyCommand:
    """One look at every row that has not been seen to stop."""

    def __init__(
        self,
        names: Sequence[str],
        settings: ServerSettings,
        display: Display,
        resources: ExitStack,
    ) -> None:
        self._names = names
        self._settings = settings
        self._display = display
        self._resources = resources
        self._server = Server(settings)
        self._stats, self._stop = Stats(), Stop()
        self._confirmer: Confirmer | None = None
        self._unseen = IdSet()
        """IDs to be asked after."""
        self._counted = IdSet()
        self._runs: list[CancelResult] = []
        """Rows whose run goes on."""
        self._written = False
        """Whether the files say what was found."""

    def run(self) -> int:
        """Do it all; return the exit code. Raises `BulkcancelError` for what prevents it."""
        loop = loop_options(self._settings.loop)
        files = self._reserve()
        for _, resumed in files:
            for each in resumed.ids_unseen():
                self._unseen.add(each)
        unseen = len(self._unseen)
        unreadable = sum(resumed.unreadable for _, resumed in files)
        if unreadable:
            self._display.say(
                f"{count_of(unreadable, 'row')} cannot be read and not asked about (bulkcancel run "
                "--resume mends the file)"
            )
        if not unseen:
            self._display.say("Nothing to ask: no row is accepted or unconfirmed.")
            return int(unreadable > 0)
        if self._settings.sandbox:
            raise UsageError(
                "a sandbox started now knows of none of these cancels: rehearse with run --verify, "
                "or start bulkcancel sandbox and give its --base-url to run and to verify"
            )
        self._server.prepare()
        reason = self._look(unseen, loop)
        reason = self._update(files) or reason
        if self._confirmer is not None and self._confirmer.gave_up is not None:
            reason = reason or self._confirmer.gave_up
        SIGNALS.let_finish()
        reason = self._print_what_runs() or reason
        self._tell(unseen, reason)
        if reason is not None:
            return reason.exit_code
        return int(self._found(Outcome.CANCELED, Outcome.COMPLETED) < unseen or unreadable > 0)

    def _found(self, *outcomes: Outcome) -> int:
        """Return of how many IDs one of these was found."""
        return sum(self._stats.outcomes[each] for each in outcomes)

    def _reserve(self) -> list[tuple[ResultsFile, Resumed]]:
        if not self._names or not all(self._names):
            raise UsageError("no results file is named: bulkcancel verify results.csv")
        if len({os.path.realpath(name) for name in self._names}) < len(self._names):
            raise UsageError("a results file is named twice: name each once")
        files = []
        for name in self._names:
            if not os.path.exists(name):  # noqa: PTH110 - pathlib's raises where nobody may look
                raise UsageError(f"there is no results file {name}")
            file = ResultsFile.reserve(
                name,
                host=self._server.host,
                mode="resume",
                form="auto",
                again=frozenset(),
                dry_run=False,
                asks=True,
            )
            self._resources.callback(file.close)
            if file.resumed is not None:
                files.append((file, file.resumed))
        return files

    def _look(self, unseen: int, loop: dict[str, bool]) -> BulkcancelError | None:
        """Look at them all; return why that ended early, if it did."""
        try:
            anyio.run(self._look_at_all, unseen, backend_options=loop)
            reason = self._stop.reason
        except Exception as error:  # noqa: BLE001 - what was found until then is kept
            reason = unwrapped(error)
        if reason is None or isinstance(reason, BulkcancelError):
            return reason
        raise reason

    async def _look_at_all(self, unseen: int) -> None:
        def request(reason: InterruptedRunError, second: bool) -> None:  # noqa: FBT001
            self._display.observer.stopping(str(reason), in_flight=0, grace_s=0.0, cut=second)
            self._stop.request(reason, cut=second)

        SIGNALS.hand_to_loop(asyncio.get_running_loop(), request, within_s=_ENDING_S)
        policy = Policy(rate_per_s=self._settings.rate, verification=_ONE_LOOK)
        async with self._server.open() as client:
            engine = Engine(
                client,
                policy,
                stats=self._stats,
                stop=self._stop,
                observer=self._display.observer,
                host=self._server.host,
            )
            self._confirmer = engine.confirmer
            gauge = Gauge(
                self._stats,
                total=unseen,
                ceiling_per_s=policy.rate_per_s,
                pace_per_s=lambda: engine.pacer.rate_per_s,
                asks_only=True,
            )
            async with self._display.progress(gauge):
                await engine.run((), _drain, self._unseen)

    def _update(self, files: list[tuple[ResultsFile, Resumed]]) -> BulkcancelError | None:
        """Bring every file up to date; return why one of them could not be."""
        failure: BulkcancelError | None = None
        findings = None if self._confirmer is None else self._confirmer.findings
        for file, _ in files:
            try:
                if findings is not None and findings.outcomes:
                    file.bring_up_to_date(findings.of, self._on_change)
                file.close()
            except ResultsError as error:  # the others may be well
                failure = failure or error
        self._written = failure is None and len(self._counted) > 0
        return failure

    def _on_change(self, old: CancelResult, new: CancelResult, _earlier: bool) -> None:  # noqa: FBT001
        packed = pack(old.instance_id)
        if not self._counted.add(packed):  # in another file as well, or twice in one
            return
        self._stats.outcomes[new.outcome] += 1
        if new.outcome is Outcome.UNCONFIRMED:
            self._runs.append(new)

    def _print_what_runs(self) -> ResultsError | None:
        """Print what still runs on standard output; return why that could not be done."""
        if not self._runs or sys.stdout is None:
            return None
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(_COLUMNS)
        for each in self._runs:
            texts = (each.instance_id, each.status, each.model_name, each.source)
            rows.writerow([cell(text or "") for text in texts])
        try:
            write_all(sys.stdout.fileno(), text.getvalue().encode("utf-8", "backslashreplace"))
        except BrokenPipeError:  # whoever reads has enough of it: `| head -1`
            return None
        except OSError as error:
            return ResultsError(f"cannot print what still runs ({error.strerror})")
        return None

    def _tell(self, unseen: int, reason: BulkcancelError | None) -> None:
        stopped = self._found(Outcome.CANCELED, Outcome.COMPLETED)
        runs = self._found(Outcome.UNCONFIRMED)
        unknown = unseen - stopped - runs
        parts = [f"{stopped:,} {'has' if stopped == 1 else 'have'} stopped"]
        if runs:
            parts.append(f"{runs:,} still {'runs' if runs == 1 else 'run'}")
        if unknown:
            parts.append(f"{unknown:,} not told")
        said = f"Of {unseen:,} accepted: {', '.join(parts)}."
        if self._written and len(self._names) == 1:
            said += f" {visible(self._names[0])} says so now."
        elif self._written:
            said += " The results files say so now."
        self._display.finished(
            f"{said} Stopped early: {reason}." if reason else said,
            stopped=stopped,
            still_running=runs,
            not_told=unknown,
            looks=self._stats.looks,
            reason=str(reason or ""),
        )


async def _drain(results: MemoryObjectReceiveStream[CancelResult]) -> None:
    """Wait until there can be no results: nothing is cancelled."""
    async for _ in results:
        pass
