"""`bulkcancel find`: executions listed by an unofficial call, as an input for `run`."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Annotated, Self

import anyio
import cyclopts
from cyclopts import Group, Parameter
from pydantic import ConfigDict, Field, model_validator

from bulkcancel.cli.commands.found import check_output, rows_to
from bulkcancel.cli.files import refuse_shared_files
from bulkcancel.cli.process import SIGNALS, loop_options
from bulkcancel.cli.server import Server, paced_get
from bulkcancel.cli.settings import FileName, PositiveSeconds, RunSettings, ServerSettings
from bulkcancel.cli.settings_sources import from_environment_and_file
from bulkcancel.cli.wiring import display_options_of
from bulkcancel.domo import Listing, Wanted, not_a_list
from bulkcancel.engine import DEFAULT_RATE_PER_S
from bulkcancel.errors import InterruptedRunError, NamingError, unwrapped
from bulkcancel.pacing import Pacer
from bulkcancel.reporting import Display
from bulkcancel.text import visible

if TYPE_CHECKING:
    from bulkcancel.cli.commands.found import Write

app = cyclopts.App(
    name="find",
    help="List executions, as an input for run, by an unofficial call that may change.",
    help_epilogue="Rows come page by page: with run after a pipe, cancelling begins "
    "with the first. What find asks changes nothing. "
    "Here --rate auto is the default rate. Options that run has as well can also be set in the "
    "environment (BULKCANCEL_RATE=5) or in its settings file. Exit codes: 0 listed to the end "
    "(also if nothing was found), 2 bad usage, 3 token refused, 4 stopped early, 5 the list could "
    "not be written, 129/130/143 stopped by a signal.\n\n"
    "Examples:\n"
    "  bulkcancel find --instance acme --older-than 6h -o stuck.csv\n"
    "  bulkcancel find --instance acme --trigger MANUAL,API --limit 100\n"
    "  bulkcancel find --instance acme | bulkcancel run - --instance acme --yes",
    help_format="plaintext",
    config=partial(
        from_environment_and_file,
        fields=ServerSettings.model_fields,
        known=RunSettings.model_fields,
    ),
    version_flags=["--version", "-V"],
    result_action="return_value",
)

_WANTED = Group.create_ordered("What is listed")
_ENDING_S = 0.8
_REPEATED = Parameter(group=_WANTED, negative="", show_default=False)


class FindSettings(ServerSettings):
    """The options of `bulkcancel find`."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: Annotated[list[str], _REPEATED] = Field(
        default_factory=list, description="Only executions of this workflow. Repeatable."
    )
    status: Annotated[list[str], _REPEATED] = Field(
        default_factory=lambda: ["IN_PROGRESS"],
        description="Only those with this status. Repeatable. Default: IN_PROGRESS.",
    )
    model_version: Annotated[str | None, Parameter(group=_WANTED)] = Field(
        None, description="Only those of this version of their workflow."
    )
    trigger: Annotated[list[str], _REPEATED] = Field(
        default_factory=list,
        description="Only those started this way, such as MANUAL. Repeatable.",
    )
    older_than: Annotated[PositiveSeconds | None, Parameter(group=_WANTED)] = Field(
        None, description="Only those started at least this long ago, by the server's clock: 6h."
    )
    limit: Annotated[int | None, Parameter(group=_WANTED)] = Field(
        None, ge=1, description="List at most this many."
    )
    output: Annotated[
        FileName, Parameter(name=["--output", "-o"], group=_WANTED, allow_leading_hyphen=True)
    ] = Field("-", description="File to write, .csv or .jsonl; - for standard output, as CSV.")

    @property
    def summary(self) -> None:
        """It has none."""

    @property
    def metrics(self) -> None:
        """It has none."""

    @model_validator(mode="after")
    def _no_empty_filter(self) -> Self:
        for flag, values in (
            ("--model-id", self.model_id),
            ("--status", self.status),
            ("--trigger", self.trigger),
        ):
            if not all(each.strip() for each in values):
                raise ValueError(f"{flag} is empty (is a variable empty?): leave it out")
        return self

    def wanted(self) -> Wanted:
        """Return which executions are to be listed."""
        return Wanted(
            statuses=_words(self.status),
            model_ids=tuple(dict.fromkeys(self.model_id)),
            model_version=self.model_version,
            triggers=_words(self.trigger),
            older_than_s=self.older_than,
        )


def _words(values: list[str]) -> tuple[str, ...]:
    """Return what is given, also where several stand in one text, with commas between them."""
    words = (word.strip() for value in values for word in value.split(","))
    return tuple(dict.fromkeys(word for word in words if word))


@app.default
def find(
    *,
    settings: Annotated[FindSettings, Parameter(name="*")] = FindSettings(),  # noqa: B008 - frozen
) -> int:
    """List executions, as an input for run."""
    SIGNALS.loaded()
    options = display_options_of(settings, "find", rows_on_stdout=settings.output == "-")
    with Display(options) as display:
        try:
            loop = loop_options(settings.loop)
            refuse_shared_files([], settings)
            check_output(settings.output)
            display.open_log_file()
            command = FindCommand(settings, display)
            anyio.run(command.run, backend_options=loop)
        except BrokenPipeError:  # whoever reads the list has enough of it: `| head -1`
            raise
        except Exception as error:  # noqa: BLE001 - all that ends it is told in one way
            reason = unwrapped(error)
            if isinstance(reason, NamingError):
                reason = reason.called("--ca-file")
            return display.failed(reason)
        finally:
            SIGNALS.let_finish()
    return 0


class FindCommand:
    """One run of the command. Raises what ends it early."""

    def __init__(self, settings: FindSettings, display: Display) -> None:
        self._settings = settings
        self._display = display
        self._server = Server(settings)
        self._server.prepare()
        self._found = 0

    async def run(self) -> None:
        """List until the end, or until a signal comes."""
        stopped: list[InterruptedRunError] = []
        with anyio.CancelScope() as scope:

            def stop(reason: InterruptedRunError, _second: bool) -> None:  # noqa: FBT001
                stopped.append(reason)
                scope.cancel()

            SIGNALS.hand_to_loop(asyncio.get_running_loop(), stop, within_s=_ENDING_S)
            self._display.say(
                "Executions are listed by calls that are unofficial and may change; nothing is "
                "changed"
            )
            with rows_to(self._settings.output, self._server.token) as write:
                await self._list(write)
        if stopped:
            raise stopped[0]

    async def _list(self, write: Write) -> None:
        settings, say = self._settings, self._display.say
        async with self._server.open() as client:
            listing = Listing(
                paced_get(client, Pacer(settings.rate or DEFAULT_RATE_PER_S)),
                settings.wanted(),
                base_url=client.base_url,
                not_a_list=lambda reply: not_a_list(reply, client),
                note=lambda text: say(visible(text)),
            )
            async with aclosing(listing.pages()) as pages:
                async for rows in pages:
                    left = None if settings.limit is None else settings.limit - self._found
                    write(rows[:left])
                    self._found += len(rows[:left])
                    if self._found == settings.limit:
                        break
        self._tell(listing)

    def _tell(self, listing: Listing) -> None:
        left_out = dict(sorted(listing.left_out.items()))
        text = f"{self._found:,} found on {self._server.host}"
        if left_out:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
            text += f"; left out: {reasons}"
        self._display.finished(text, host=self._server.host, found=self._found, left_out=left_out)
