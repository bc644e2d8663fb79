"""How a sandbox is asked to behave."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Final, Self, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)

from bulkcancel.errors import UsageError
from bulkcancel.quantities import parse_duration


def _seconds(value: str | float) -> float:
    try:
        return parse_duration(value) if isinstance(value, str) else value
    except ValueError as error:
        raise UsageError(str(error)) from None


# Seconds, or a text such as `50ms`, as an option of the command line takes it.
if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    Seconds: TypeAlias = float
else:
    Seconds = Annotated[str, PlainValidator(_seconds)]


# About 100 MB, and a second to make them.
_MOST_EXECUTIONS: Final = 100_000


class Options(BaseModel):
    """How the sandbox behaves; raises pydantic's `ValidationError`, `UsageError` for a duration.

    An answer takes `latency_s` plus or minus up to `jitter_s`, never less than nothing. Up to a
    tenth of a second's worth of `rate_limit_per_s` may come at once. Half of the errors (500, 502,
    503 or 504) and of the resets come after the request was carried out. Which IDs are in the share
    `never_settle` follows from each ID alone, not from `seed`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    port: int = Field(default=8099, description="Port to listen on; 0 for any free one.")
    token: str | None = Field(
        default=None, description="The only token accepted; any that is not empty if none is given."
    )
    latency_s: Seconds = Field(
        default="50ms", validate_default=True, description="How long an answer takes."
    )
    jitter_s: Seconds = Field(
        default="20ms", validate_default=True, description="By how much that varies."
    )
    rate_limit_per_s: float | None = Field(
        default=None, description="Requests a second beyond which it answers 429 with Retry-After."
    )
    error_rate: float = Field(
        default=0.0, description="Share of requests answered with a 5xx, 0 to 1."
    )
    reset_rate: float = Field(
        default=0.0, description="Share of requests whose connection is dropped, 0 to 1."
    )
    settle_s: Seconds = Field(
        default="1s",
        validate_default=True,
        description="How long a cancelled run still says IN_PROGRESS.",
    )
    never_settle: float = Field(
        default=0.0,
        description="Share of running instances that no cancel ever stops, 0 to 1; which ones "
        "follows from their IDs.",
    )
    no_v2: bool = Field(default=False, description="Answer no call of v2: 404.")
    no_readback: bool = Field(
        default=False, description="Answer no call that reads one instance or execution: 404."
    )
    executions: int = Field(
        default=300, description="How many executions the list of v2 holds, at most 100000."
    )
    list_needs_model: bool = Field(
        default=False, description="List executions of one model only: 400 without modelId."
    )
    seed: int = Field(default=0, description="Of the random errors, resets and jitter.")

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be 0 (any free one) to 65535, not {self.port}")
        if self.token is not None and not self.token.strip():
            raise ValueError("the token must not be empty; leave it out to accept any")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise ValueError("the token must be printable ASCII, on one line")
        for name in ("latency_s", "jitter_s", "settle_s"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                shown = name.removesuffix("_s")
                raise ValueError(f"the {shown} must be 0 or more seconds, not {value}")
        limit = self.rate_limit_per_s
        if limit is not None and not 0 < limit < math.inf:
            raise ValueError(f"the rate limit must be above 0 requests a second, not {limit}")
        if not 0 <= self.executions <= _MOST_EXECUTIONS:
            raise ValueError(
                f"the executions to list must be 0 to {_MOST_EXECUTIONS}, not {self.executions}"
            )
        return self

    @model_validator(mode="after")
    def _sensible_shares(self) -> Self:
        for name in ("error_rate", "reset_rate"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                shown = name.replace("_", " ")
                raise ValueError(f"the {shown} must be a share from 0 to 1, not {value}")
        if not 0 <= self.never_settle <= 1:
            raise ValueError(
                f"the runs that never settle must be a share from 0 to 1, not {self.never_settle}"
            )
        if self.error_rate + self.reset_rate > 1:
            raise ValueError("the error rate and the reset rate must not add up to more than 1")
        return self


class SandboxOptions(Options):
    """How the sandbox behaves, for Python callers; raises `UsageError` for what makes no sense."""

    if not TYPE_CHECKING:  # whose signature is that of the fields

        def __init__(self, **given: object) -> None:
            try:
                super().__init__(**given)
            except ValidationError as error:
                raise UsageError("; ".join(map(_sentence_of, error.errors()))) from None


def _sentence_of(complaint: ErrorDetails) -> str:
    said = complaint["msg"].removeprefix("Value error, ")
    if not complaint["loc"]:
        return said
    name = complaint["loc"][0]
    if complaint["type"] == "extra_forbidden":
        return (
            f"the sandbox has no option {name}: there are {', '.join(SandboxOptions.model_fields)}"
        )
    return f"{name}: {said[:1].lower()}{said[1:]}"
