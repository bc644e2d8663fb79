"""One result as one line of the results file, and back."""

from __future__ import annotations

import csv
import enum
import json
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

from bulkcancel.errors import UsageError
from bulkcancel.ids import pack, parse_instance_id
from bulkcancel.models import Outcome
from bulkcancel.text import cell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bulkcancel.models import CancelResult

COLUMNS = (
    "instanceId", "outcome", "status", "modelName", "modelVersion", "modelId", "httpStatus",
    "attempts", "error", "latencyMs", "finishedAt", "host", "source",
)  # fmt: skip
_LONG = 200
_EPOCH, _SECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(seconds=1)
_NEEDS_QUOTES = re.compile('[",\r\n]')
_OUTCOME, _HOST = COLUMNS.index("outcome"), COLUMNS.index("host")


class Format(enum.StrEnum):
    """How results are written."""

    CSV = "csv"
    JSONL = "jsonl"

    @property
    def header(self) -> bytes:
        """The first line: the column names in CSV, nothing in JSON Lines."""
        return (",".join(COLUMNS) + "\n").encode() if self is Format.CSV else b""


def format_of(path: str, asked: str = "auto") -> Format:
    """Return the format asked for, or the one that the name of a results file stands for.

    Standard output (`-`) is CSV. Raises `UsageError` for a name that tells nothing.
    """
    if asked != "auto":
        return Format(asked)
    suffix = ".csv" if path == "-" else PurePath(path).suffix.lower()
    if suffix not in {".csv", ".jsonl"}:
        raise UsageError(
            f"the results file {path} must end in .csv or .jsonl (or be -), or give --output-format"
        )
    return Format(suffix[1:])


def encode(results: Sequence[CancelResult], form: Format) -> bytes:
    """Return one whole line for each result, each ended by a line feed and holding no other."""
    return _csv(results) if form is Format.CSV else _jsonl(results)


def _csv(results: Sequence[CancelResult]) -> bytes:
    return "".join(map(_csv_line, results)).encode("utf-8", "backslashreplace")


def _csv_line(r: CancelResult) -> str:
    # A fast path: a run names the same few words, models and hosts over and over, and most other
    # cells need no quotes. The csv module on all thirteen cells takes twice as long.
    latency = "" if r.latency_ms is None else f"{r.latency_ms:.1f}"
    instance_id = r.instance_id if r.outcome is not Outcome.INVALID else _quoted(r.instance_id)
    return (
        f"{instance_id},{r.outcome},{_known(r.status)},{_known(r.model_name)},"
        f"{_known(r.model_version)},{_known(r.model_id)},{r.http_status or ''},{r.attempts},"
        f"{_quoted(r.error) if r.error else ''},{latency},{timestamp(r.finished_at)},"
        f"{_known(r.host)},{_quoted(r.source)}\n"
    )


def _quoted(text: str | None) -> str:
    """Return one harmless CSV cell, quoted where RFC 4180 asks for it."""
    text = cell(text) if text else ""
    if _NEEDS_QUOTES.search(text) is None:
        return text
    return '"' + text.replace('"', '""') + '"'


_cached = lru_cache(maxsize=4096)(_quoted)


def _known(text: str | None) -> str:
    """Return the cell of a text that is likely to come again; long ones are not kept for it."""
    return _cached(text) if text is None or len(text) < _LONG else _quoted(text)


def _jsonl(results: Sequence[CancelResult]) -> bytes:
    return b"".join(
        json.dumps(
            {
                "instanceId": r.instance_id,
                "outcome": r.outcome,
                "status": r.status,
                "modelName": r.model_name,
                "modelVersion": r.model_version,
                "modelId": r.model_id,
                "httpStatus": r.http_status,
                "attempts": r.attempts,
                "error": r.error,
                "latencyMs": None if r.latency_ms is None else round(r.latency_ms, 1),
                "finishedAt": timestamp(r.finished_at),
                "host": r.host,
                "source": r.source,
            }
        ).encode("ascii")
        + b"\n"
        for r in results
    )


def timestamp(when: datetime) -> str:
    """Return ISO 8601 in UTC, to the millisecond."""
    # Rows come by the hundred in a second: only what lies within it is written out for each.
    return f"{_to_the_second((when - _EPOCH) // _SECOND)}.{when.microsecond // 1000:03}Z"


@lru_cache(maxsize=8)
def _to_the_second(timestamp_s: int) -> str:
    return datetime.fromtimestamp(timestamp_s, UTC).isoformat().removesuffix("+00:00")


class StoredRow(NamedTuple):
    """What matters of a row read back."""

    instance_id: bytes | None
    """The packed ID, `None` for an `invalid` row."""
    text: str
    """The ID cell as stored: what an `invalid` row is known by."""
    outcome: Outcome
    host: str


def decode(line: bytes, form: Format) -> StoredRow:
    """Return the row of one line, without its line end; raise `ValueError` with what is wrong."""
    text = line.decode("utf-8")
    if "\x00" in text:
        raise ValueError("it holds NUL bytes")
    return _decode_csv(text) if form is Format.CSV else _decode_json(text)


def _decode_csv(text: str) -> StoredRow:
    if '"' in text:
        try:
            (cells,) = csv.reader([text], strict=True)
        except csv.Error as error:
            raise ValueError(str(error)) from None
    else:
        cells = text.split(",")  # a million rows are read back before a resumed run begins
    if len(cells) != len(COLUMNS):
        raise ValueError(f"it has {len(cells)} cells instead of {len(COLUMNS)}")
    return _stored(cells[0], cells[_OUTCOME], cells[_HOST])


def _decode_json(text: str) -> StoredRow:
    row = json.loads(text)
    if not isinstance(row, dict) or set(row) != set(COLUMNS):
        raise ValueError("its keys are not those of a result")
    cells = row["instanceId"], row["outcome"], row["host"]
    if not all(isinstance(text, str) for text in cells):
        raise ValueError("instanceId, outcome or host is no text")
    return _stored(*cells)


def _stored(each: str, outcome: str, host: str) -> StoredRow:
    word = Outcome(outcome)
    if word is Outcome.INVALID:
        return StoredRow(None, each, word, host)
    if parse_instance_id(each) != each:
        raise ValueError(f"{each!r} is no instance ID")
    return StoredRow(pack(each), each, word, host)
