"""What `--summary` writes, key by key: a model that reads it back, and its JSON Schema."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from bulkcancel.models import Outcome  # noqa: TC001 - pydantic reads the annotations

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
Count = Annotated[int, Field(ge=0)]


class _Checked(BaseModel):
    # Built when it is first used: a run only writes what this describes.
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)


class FailureGroup(_Checked):
    """Failures of one kind."""

    error: str = Field(
        description="As in the results' error column; an ID in it is an ellipsis (…)."
    )
    count: Count = Field(description="How many IDs or input rows failed so.")
    example: str = Field(description="The first of these IDs, or what the input row held.")
    source: str = Field(description="Where that stands in the input, as FILE:LINE.")


class RunSummary(_Checked):
    """Summary of one run of bulkcancel.

    `rows_in` = `results` + `duplicates` + `filtered` + `unanswered` + `not_reached`.

    For Python: `RunSummary.model_validate_json(Path("summary.json").read_bytes())`; raises
    pydantic's `ValidationError` if that is no summary of this version.
    """

    schema_version: Literal[1] = Field(
        description="Of these keys. A new key raises it; none is renamed, left out or given "
        "another meaning."
    )
    version: str = Field(description="Of bulkcancel.")
    host: str = Field(description="The server, as in the results; sandbox for --sandbox.")
    inputs: list[str] = Field(description="The inputs as they were named; - is standard input.")
    shard: str = Field(description="As 3/8; empty where there are no shards.")
    output: str = Field(description="The results file as it was named; - is standard output.")
    exit_code: int = Field(ge=0, le=255, description="Of the run.")
    reason: str = Field(description="Why the run ended early; empty where it did not.")
    rows_in: Count = Field(description="Input rows that were read.")
    duplicates: Count = Field(description="Rows whose ID had come before: sent once.")
    filtered: Count = Field(description="Rows left out by --where, or of other shards.")
    other_shards: Count = Field(description="Of filtered, rows of other shards.")
    unanswered: Count = Field(
        description="IDs sent, and without a final answer when the run stopped."
    )
    not_reached: Count = Field(
        description="IDs and invalid rows without a result, nothing of which was sent."
    )
    results: Count = Field(description="Input rows that have a row in the results.")
    already_done: Count = Field(description="Of results, those that an earlier run left.")
    kept_failures: Count = Field(
        description="Failures that an earlier run left in the results file; they make the exit "
        "code 1."
    )
    looks_ended: str = Field(
        description="Why accepted IDs were no longer looked at; empty where that was not given up."
    )
    outcomes: dict[Outcome, Count] = Field(
        description="Rows written by this run, by outcome; outcomes that no row has are left out."
    )
    errors: list[FailureGroup] = Field(
        description="Failures of this run by kind, the most frequent first (in the log event the "
        "first 20)."
    )
    requests: Count = Field(description="Cancels sent, retries included.")
    retries: Count = Field(description="Of requests, those of IDs that had been sent before.")
    throttled: Count = Field(description="Answers that said to go slower.")
    looks: Count = Field(
        description="Requests that asked what has become of an ID that was accepted."
    )
    started_at: AwareDatetime = Field(description="UTC.")
    ended_at: AwareDatetime = Field(description="UTC.")
    seconds: float = Field(ge=0, description="How long it took, by a clock that is never set.")
    resume_command: str = Field(
        description="What finishes the job, quoted for a POSIX shell; empty where nothing is left."
    )
    resume_needs: str = Field(
        description="What to do besides, in words; empty where the command works alone."
    )
    ok: list[Outcome] = Field(description="Outcomes that --ok counts as success.")


def schema_text() -> str:
    """Return the JSON Schema of a summary (draft 2020-12), as the text of a file."""
    schema = {"$schema": _DIALECT, **RunSummary.model_json_schema()}
    return f"{json.dumps(schema, indent=2, ensure_ascii=False)}\n"
