"""Every option of the commands: its flag, its environment variable, its key in a settings file.

The models below are their only definition: names, types, defaults, checks and help all come from
it. A value comes from the flag, else the environment (`BULKCANCEL_` and the name in capitals),
else the settings file, else the default.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeAlias

from cyclopts import Group, Parameter
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, model_validator

from bulkcancel.engine import DEFAULT_ATTEMPTS, DEFAULT_CONCURRENCY, DEFAULT_RATE_PER_S
from bulkcancel.inputs import Format  # noqa: TC001 - pydantic reads the annotations
from bulkcancel.models import SENT_AGAIN, Outcome
from bulkcancel.quantities import (
    MaxFailures,
    Shard,
    parse_duration,
    parse_failures,
    parse_outcomes,
    parse_rate,
    parse_shard,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cyclopts import Token

_TARGET = Group.create_ordered("Target")
_TOKEN = Group.create_ordered("Token (or set DOMO_DEVELOPER_TOKEN)")
_INPUT = Group.create_ordered("Input")
_PACE = Group.create_ordered("Pace")
_TROUBLE = Group.create_ordered("Trouble")
_RESULTS = Group.create_ordered("Results")
_SAFETY = Group.create_ordered("Safety")
_EXIT = Group.create_ordered("Exit")
_SEEN = Group.create_ordered("What is seen")
_SETTINGS = Group.create_ordered("Settings")


def _positive(text: str) -> float:
    seconds = parse_duration(text)
    if seconds <= 0:
        raise ValueError("the duration must be above 0")
    return seconds


def _sent_again(text: str) -> frozenset[Outcome]:
    outcomes = parse_outcomes(text)
    if Outcome.INVALID in outcomes:
        raise ValueError("invalid rows hold no instance ID: there is nothing to send again")
    return outcomes


def _read_by(parse: Callable[[str], object]) -> PlainValidator:
    """Return what reads an option's text; a default may also be the value itself."""
    return PlainValidator(lambda value: parse(value) if isinstance(value, str) else value)


def as_given(_type: object, tokens: Sequence[Token]) -> str:
    """Return an argument as it was typed: `-` and `` are no paths, `./x` and `x//` stay so."""
    return tokens[0].value


# A path to shells, which complete it, and to help; a field holds it as it was typed.
# Declared as text, for cyclopts' flags and help; what a field then holds is the parsed value.
if TYPE_CHECKING:
    Seconds: TypeAlias = float
    PositiveSeconds: TypeAlias = float
    Rate: TypeAlias = float | None
    Failures: TypeAlias = MaxFailures
    Share: TypeAlias = Shard
    Outcomes: TypeAlias = frozenset[Outcome]
    SentAgain: TypeAlias = frozenset[Outcome]
    FileName: TypeAlias = str
else:
    Seconds = Annotated[str, _read_by(parse_duration)]
    PositiveSeconds = Annotated[str, _read_by(_positive)]
    Rate = Annotated[str, _read_by(parse_rate)]
    Failures = Annotated[str, _read_by(parse_failures)]
    Share = Annotated[str, _read_by(parse_shard)]
    Outcomes = Annotated[str, _read_by(parse_outcomes)]
    SentAgain = Annotated[str, _read_by(_sent_again)]
    FileName = Annotated[Path, PlainValidator(str)]
_FLAG = Parameter(negative="", show_default=False)


class ServerSettings(BaseModel):
    """The options of every command that talks to a server."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    instance: Annotated[str | None, Parameter(group=_TARGET)] = Field(
        None,
        description="The Domo instance: acme, acme.domo.com or its address (or set DOMO_INSTANCE).",
    )
    base_url: Annotated[str | None, Parameter(group=_TARGET)] = Field(
        None,
        description="Another address to send to, such as a gateway: https, or http on loopback.",
    )
    sandbox: Annotated[bool, _FLAG, Parameter(group=_TARGET)] = Field(
        default=False, description="Run against a sandbox started for this run: nothing is real."
    )
    proxy: Annotated[str | None, Parameter(group=_TARGET)] = Field(
        None,
        description="HTTP proxy to go through, http://[user:password@]host:port, or none. Default: "
        "HTTPS_PROXY or ALL_PROXY, less NO_PROXY.",
    )
    ca_file: Annotated[FileName | None, Parameter(group=_TARGET)] = Field(
        None,
        description="File of certificates (PEM) to trust besides the system's and SSL_CERT_FILE.",
    )
    token_file: Annotated[FileName | None, Parameter(group=_TOKEN)] = Field(
        None,
        description="File that holds the token, instead of the environment variable "
        "DOMO_DEVELOPER_TOKEN or DOMO_ACCESS_TOKEN. Asked for on a terminal if there is none.",
    )
    rate: Annotated[Rate, Parameter(group=_PACE)] = Field(
        f"{DEFAULT_RATE_PER_S:g}",
        validate_default=True,
        description="Most requests a second, retries included; also 600/m, or auto to search for "
        "what the server allows.",
    )
    log_format: Annotated[Literal["auto", "console", "json"], Parameter(group=_SEEN)] = Field(
        "auto", description="auto: console on a terminal, else JSON lines."
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None, Parameter(group=_SEEN)
    ] = Field(
        None, description="Default: warning on a terminal (the bar shows the rest), else info."
    )
    log_file: Annotated[FileName | None, Parameter(group=_SEEN)] = Field(
        None, description="Also write the log there, as JSON lines, from level info on."
    )
    quiet: Annotated[bool, _FLAG, Parameter(name=["--quiet", "-q"], group=_SEEN)] = Field(
        default=False, description="Show errors only: no plan, no bar, no summary."
    )
    loop: Annotated[Literal["auto", "asyncio", "uvloop"], Parameter(group=_SETTINGS)] = Field(
        "auto", description="Event loop; auto: uvloop where it is installed."
    )
    config: Annotated[FileName | None, Parameter(group=_SETTINGS)] = Field(
        None,
        description="Settings file (TOML), instead of the user's own bulkcancel/config.toml.",
    )

    @model_validator(mode="after")
    def _given(self) -> Self:
        for name, value in self:
            if value == "":
                flag = f"--{name.replace('_', '-')}"
                raise ValueError(f"{flag} is empty (is a variable empty?): leave it out")
        if self.sandbox and self.base_url:
            raise ValueError("give --sandbox or --base-url, not both")
        return self


class RunSettings(ServerSettings):
    """The options of `bulkcancel run`."""

    column: Annotated[str | None, Parameter(group=_INPUT)] = Field(
        None, description="Name of the column that holds the instance IDs (or its number)."
    )
    format: Annotated[Format, Parameter(group=_INPUT)] = Field(
        "auto", description="How the inputs are written."
    )
    encoding: Annotated[str | None, Parameter(group=_INPUT)] = Field(
        None, description="Their text encoding, if not UTF-8 or UTF-16 with a BOM."
    )
    where: Annotated[list[str], Parameter(group=_INPUT, negative="", show_default=False)] = Field(
        default_factory=list,
        description="Take only rows with COLUMN=VALUE (or COLUMN!=VALUE). Repeatable: all must "
        "hold.",
    )
    limit: Annotated[int | None, Parameter(group=_INPUT)] = Field(
        None, ge=1, description="Send at most this many IDs; with --resume, the next so many."
    )
    expect_count: Annotated[int | None, Parameter(group=_INPUT)] = Field(
        None,
        ge=0,
        description="Refuse the input unless it lists exactly this many distinct IDs (a pipe: said "
        "at its end).",
    )
    shard: Annotated[Share | None, Parameter(group=_INPUT)] = Field(
        None,
        description="Take share I of N alone, as in 0/8 to 7/8: an ID belongs to one by its hash. "
        "--rate is that of all shares together.",
    )
    burst: Annotated[int, Parameter(group=_PACE)] = Field(
        1, ge=1, le=10_000, description="Requests that may go at once after a pause."
    )
    concurrency: Annotated[int, Parameter(group=_PACE)] = Field(
        DEFAULT_CONCURRENCY, ge=1, le=1024, description="Most requests in flight at a time."
    )
    attempts: Annotated[int, Parameter(group=_TROUBLE)] = Field(
        DEFAULT_ATTEMPTS, ge=1, le=100, description="Most attempts for one ID."
    )
    timeout: Annotated[PositiveSeconds, Parameter(group=_TROUBLE)] = Field(
        "30", validate_default=True, description="Longest time for one attempt."
    )
    max_failures: Annotated[Failures, Parameter(group=_TROUBLE, show_default=False)] = Field(
        MaxFailures(),
        description="Stop after this many failed IDs, or this share of all: 50, 5%.",
    )
    max_outage: Annotated[PositiveSeconds, Parameter(group=_TROUBLE)] = Field(
        "10m",
        validate_default=True,
        description="Stop when the server has given nothing but trouble for this long.",
    )
    deadline: Annotated[PositiveSeconds | None, Parameter(group=_TROUBLE)] = Field(
        None, description="Stop after this long, whatever is left."
    )
    grace: Annotated[Seconds, Parameter(group=_TROUBLE)] = Field(
        "10s",
        validate_default=True,
        description="How long a stop waits for the requests in flight.",
    )
    output: Annotated[
        FileName, Parameter(name=["--output", "-o"], group=_RESULTS, allow_leading_hyphen=True)
    ] = Field("results.csv", description="Results file, .csv or .jsonl; - for standard output.")
    output_format: Annotated[Literal["auto", "csv", "jsonl"], Parameter(group=_RESULTS)] = Field(
        "auto", description="How results are written; auto: by the file's name, - is CSV."
    )
    resume: Annotated[bool, _FLAG, Parameter(group=_RESULTS)] = Field(
        default=False, description="Go on with an earlier run's results file."
    )
    again: Annotated[SentAgain, Parameter(group=_RESULTS, show_default=False)] = Field(
        SENT_AGAIN,
        description="With --resume: the outcomes, separated by commas, whose IDs are sent again. "
        "Default: forbidden,failed,unconfirmed.",
    )
    overwrite: Annotated[bool, _FLAG, Parameter(group=_RESULTS)] = Field(
        default=False, description="Replace an earlier run's results file."
    )
    dry_run: Annotated[bool, _FLAG, Parameter(group=_SAFETY)] = Field(
        default=False, description="Check the input, show the plan, send nothing."
    )
    yes: Annotated[bool, _FLAG, Parameter(name=["--yes", "-y"], group=_SAFETY)] = Field(
        default=False, description="Do not ask for confirmation on a terminal."
    )
    verify: Annotated[bool, _FLAG, Parameter(group=_SAFETY)] = Field(
        default=False,
        description="After a cancel was accepted, ask until the run has stopped (by a call that "
        "Domo does not document; read-only).",
    )
    verify_timeout: Annotated[PositiveSeconds, Parameter(group=_SAFETY)] = Field(
        "2m",
        validate_default=True,
        description="How long --verify asks after one ID, from the first answer on.",
    )
    ok: Annotated[Outcomes, Parameter(group=_EXIT, show_default=False)] = Field(
        frozenset(),
        description="Outcomes, separated by commas, that count as success for the exit code and "
        "--max-failures, such as not_found.",
    )
    summary: Annotated[FileName | None, Parameter(group=_SEEN, allow_leading_hyphen=True)] = Field(
        None, description="Write the summary there, as JSON; - for standard output."
    )
    metrics: Annotated[str | None, Parameter(group=_SEEN, allow_leading_hyphen=True)] = Field(
        None,
        description="Write the figures there for Prometheus's node exporter, which reads names "
        "that end in .prom; - for standard output.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.resume and self.overwrite:
            raise ValueError("--resume keeps the results file, --overwrite replaces it: give one")
        if self.output == "-" and (self.resume or self.overwrite):
            raise ValueError("--resume and --overwrite need a results file: give -o FILE")
        if self.output == "-" and self.verify:
            raise ValueError("--verify brings a results file up to date: give -o FILE")
        if "verify_timeout" in self.model_fields_set and not self.verify:
            raise ValueError("--verify-timeout is how long --verify asks: give --verify as well")
        if "again" in self.model_fields_set and not self.resume:
            raise ValueError("--again says what --resume sends again: give --resume as well")
        return self
