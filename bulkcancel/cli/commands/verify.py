"""`bulkcancel verify`: which of the accepted runs have stopped by now, and their rows updated."""

from __future__ import annotations

import asyncio
import csv
import os
import sys
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import anyio
import cyclopts
from cyclopts import Parameter

from bulkcancel.cli.process import SIGNALS, loop_options
from bulkcancel.cli.server import Server
from bulkcancel.cli.settings import RunSettings, ServerSettings
from bulkcancel.cli.settings_sources import from_environment_and_file, refuse_options
from bulkcancel.engine import Engine, Policy, Stats, Stop, Verification
from bulkcancel.errors import BulkcancelError, InterruptedRunError, UsageError, unwrapped
from bulkcancel.models import CancelResult, Outcome
from bulkcancel.reporting import Display, DisplayOptions, Gauge
from bulkcancel.results import ResultsFile
from bulkcancel.text import cell

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
    "something does, or nobody can tell.",
    config=partial(
        from_environment_and_file,
        fields=ServerSettings.model_fields,
        known=RunSettings.model_fields,
    ),
    result_action="return_value",
)

_ONE_LOOK = Verification(timeout_s=0.0, refusals=25, patience_s=600.0)
_ENDING_S = 15.0
_COLUMNS = ("instanceId", "status", "modelName", "source")


@app.default
def verify(
    *results: Annotated[
        str,
        Parameter(
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
    options = DisplayOptions(
        log_format=settings.log_format,
        log_level=settings.log_level,
        log_file=settings.log_file,
        quiet=settings.quiet,
        summary=None,
        rows_on_stdout=True,
        dry_run=False,
        command="verify",
    )
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
        self._runs: list[CancelResult] = []
        """Rows whose run goes on."""

    def run(self) -> int:
        """Do it all; return the exit code. Raises `BulkcancelError` for what prevents it."""
        loop = loop_options(self._settings.loop)
        files = self._reserve()
        unseen = sum(resumed.unseen_count for _, resumed in files)
        if not unseen:
            self._display.say("Nothing to ask: no row is accepted or unconfirmed.")
            return 0
        self._server.prepare()
        reason = self._look(files, unseen, loop)
        self._update(files)
        if self._confirmer is not None and self._confirmer.gave_up is not None:
            reason = reason or self._confirmer.gave_up
        SIGNALS.let_finish()
        self._print_what_runs()
        stopped = sum(self._stats.outcomes[each] for each in (Outcome.CANCELED, Outcome.COMPLETED))
        self._tell(stopped, unseen - stopped - len(self._runs), reason)
        if reason is not None:
            return reason.exit_code
        return int(stopped < unseen)

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
            )
            self._resources.callback(file.close)
            if file.resumed is not None:
                files.append((file, file.resumed))
        return files

    def _look(
        self, files: list[tuple[ResultsFile, Resumed]], unseen: int, loop: dict[str, bool]
    ) -> BulkcancelError | None:
        """Look at them all; return why that ended early, if it did."""
        try:
            anyio.run(self._look_at_all, files, unseen, backend_options=loop)
            reason = self._stop.reason
        except Exception as error:  # noqa: BLE001 - what was found until then is kept
            reason = unwrapped(error)
        if reason is None or isinstance(reason, BulkcancelError):
            return reason
        raise reason

    async def _look_at_all(self, files: list[tuple[ResultsFile, Resumed]], unseen: int) -> None:
        def request(reason: InterruptedRunError, second: bool) -> None:  # noqa: FBT001
            self._display.observer.stopping(str(reason))
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
            ids = chain.from_iterable(resumed.ids_unseen() for _, resumed in files)
            async with self._display.progress(gauge):
                await engine.run((), _drain, ids)

    def _update(self, files: list[tuple[ResultsFile, Resumed]]) -> None:
        if self._confirmer is None:
            return
        findings = self._confirmer.findings
        for file, _ in files:
            if findings.outcomes:
                file.bring_up_to_date(findings.of, self._on_change)
            file.close()

    def _on_change(self, _old: CancelResult, new: CancelResult, _earlier: bool) -> None:  # noqa: FBT001
        self._stats.outcomes[new.outcome] += 1
        if new.outcome is Outcome.UNCONFIRMED:
            self._runs.append(new)

    def _print_what_runs(self) -> None:
        if not self._runs or sys.stdout is None:
            return
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow(_COLUMNS)
        for each in self._runs:
            texts = (each.instance_id, each.status, each.model_name, each.source)
            rows.writerow([cell(text or "") for text in texts])
        sys.stdout.flush()

    def _tell(self, stopped: int, unknown: int, reason: BulkcancelError | None) -> None:
        parts = [f"{stopped:,} {'has' if stopped == 1 else 'have'} stopped"]
        if self._runs:
            parts.append(f"{len(self._runs):,} still {'runs' if len(self._runs) == 1 else 'run'}")
        if unknown:
            parts.append(f"{unknown:,} not told")
        said = f"Of {stopped + len(self._runs) + unknown:,} accepted: {', '.join(parts)}."
        self._display.finished(
            f"{said} Stopped early: {reason}." if reason else said,
            stopped=stopped,
            still_running=len(self._runs),
            not_told=unknown,
            looks=self._stats.looks,
            reason=str(reason or ""),
        )


async def _drain(results: MemoryObjectReceiveStream[CancelResult]) -> None:
    """Wait until there can be no results: nothing is cancelled."""
    async for _ in results:
        pass
