"""One result as one line of the results file, and back."""

from __future__ import annotations

import csv
import enum
import json
import math
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from operator import itemgetter
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from bulkcancel.errors import UsageError
from bulkcancel.ids import is_plain_id, pack, parse_instance_id
from bulkcancel.models import COLUMNS, CancelResult, Outcome, timestamp
from bulkcancel.text import cell

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import UnionType

_TYPES: dict[str, type | UnionType] = dict(
    zip(
        COLUMNS,
        (
            str, str, str | None, str | None, str | None, str | None, int | None, int, str,
            float | None, str, str, str,
        ),
        strict=True,
    )
)  # fmt: skip
"""The type of each column in JSON."""
_LONG, _LONG_LINE = 200, 1000
_EPOCH, _SECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(seconds=1)
_NEEDS_QUOTES = re.compile('[",\r\n]')
_GUARDED = re.compile(r"'(?:[=+@-]|\\x0[9d])")
_NUMBERS = {"httpStatus": "[0-9]+", "attempts": "[0-9]+", "latencyMs": r"[0-9]+\.[0-9]"}
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_OUTCOME, _HOST = COLUMNS.index("outcome"), COLUMNS.index("host")
_LATENCY, _FINISHED = COLUMNS.index("latencyMs"), COLUMNS.index("finishedAt")
_LATENCY_CELL = re.compile(_NUMBERS["latencyMs"])
_SENT = {str(each): each for each in Outcome if each is not Outcome.INVALID}
_cells_of = itemgetter(*COLUMNS)


class Format(enum.StrEnum):
    """How results are written."""

    CSV = "csv"
    JSONL = "jsonl"

    @property
    def header(self) -> bytes:
        """The first line: the column names in CSV, nothing in JSON Lines."""
        return (",".join(COLUMNS) + "\n").encode() if self is Format.CSV else b""


def format_of(path: str, asked: str) -> Format:
    """Return the format asked for, or the one that the name of a results file stands for.

    Standard output (`-`) is CSV. Raises `UsageError` for any other name.
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
    if form is Format.JSONL:
        return b"".join(map(_json_line, results))
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
    """Return the cell of a text that is likely to come again; long ones are not cached."""
    return _cached(text) if text is None or len(text) < _LONG else _quoted(text)


def _json_line(r: CancelResult) -> bytes:
    return json.dumps(r.as_dict()).encode("ascii") + b"\n"


class StoredRow(NamedTuple):
    """What a resumed run needs of a row."""

    instance_id: bytes | None
    """The packed ID, `None` for an `invalid` row."""
    text: str
    """The ID cell as stored: what an `invalid` row is known by."""
    outcome: Outcome
    host: str


def identify(line: bytes, form: Format) -> StoredRow:
    """Return what a resumed run needs of a line without its line end; checks no other cells.

    Raises `ValueError` with what is wrong.
    """
    # On its own, as a million rows are read back before a resumed run begins.
    return _stored(_split(line, form))


def decode(line: bytes, form: Format) -> CancelResult:
    """Return the result that `encode` wrote as a line, given without its line end.

    `finished_at` is aware, in UTC, to the millisecond; the latency is to 0.1 ms. JSON gives every
    text back as it was. CSV gives it back as `visible` shows it and without the apostrophe that
    `cell` puts before a formula (a text that itself began with `'=` loses that one too); an empty
    cell is `None` where the field may be `None`. Raises `ValueError` with what is wrong.
    """
    cells = list(_split(line, form))
    if form is Format.CSV and len(line) < _LONG_LINE and (plain := _plain(cells)) is not None:
        return plain
    row = _stored(cells)
    if form is Format.CSV:
        cells = [_value(name, text) for name, text in zip(COLUMNS, cells, strict=True)]
    for name, value in zip(COLUMNS, cells, strict=True):
        fits = isinstance(value, _TYPES[name]) and not isinstance(value, bool)
        if not fits or (isinstance(value, int | float) and not 0 <= value < math.inf):
            raise ValueError(f"{name} cannot be {value!r}")
    finished_at = cells[_FINISHED]
    if not _TIMESTAMP.fullmatch(finished_at):
        raise ValueError(f"{finished_at!r} is no time in UTC with milliseconds")
    cells[_OUTCOME], cells[_FINISHED] = row.outcome, datetime.fromisoformat(finished_at)
    return CancelResult._make(cells)


def _plain(cells: Sequence[str]) -> CancelResult | None:
    """Return the result of a CSV row such as nearly all are, `None` for any other.

    Twice as fast as going by the table of types: for who reads a million rows.
    """
    instance_id, word, _, _, _, _, status, attempts, error, latency, at, _, source = cells
    outcome = _SENT.get(word)
    if (
        outcome is None
        or is_plain_id(instance_id) is None
        or instance_id != instance_id.lower()
        or "'" in (error[:1], source[:1])
        or _LATENCY_CELL.fullmatch(latency) is None
        or _TIMESTAMP.fullmatch(at) is None
    ):
        return None
    http_status, sent = _known_value("httpStatus", status), _known_value("attempts", attempts)
    latency_ms, finished_at = float(latency), datetime.fromisoformat(at)
    if type(sent) is not int or type(http_status) is str or latency_ms == math.inf:
        return None
    return _new_result(
        (instance_id, outcome, *map(_text_or_none, cells[2:6]), http_status, sent, error,
         latency_ms, finished_at, _known_value("host", cells[_HOST]), source)
    )  # fmt: skip


def _split(line: bytes, form: Format) -> Sequence[Any]:
    """Return the cells of a line in the order of the columns: texts in CSV, values in JSON."""
    text = line.decode("utf-8")
    if "\x00" in text:
        raise ValueError("it holds NUL bytes")
    if form is Format.JSONL:
        return _split_json(text)
    if '"' in text:
        try:
            (cells,) = csv.reader([text], strict=True)
        except csv.Error as error:
            raise ValueError(str(error)) from None
    else:
        cells = text.split(",")
    if len(cells) != len(COLUMNS):
        raise ValueError(f"it has {len(cells)} cells instead of {len(COLUMNS)}")
    return cells


def _split_json(text: str) -> Sequence[Any]:
    try:
        row = json.loads(text)
    except RecursionError as error:
        raise ValueError(str(error)) from None
    if not isinstance(row, dict) or row.keys() != _TYPES.keys():
        raise ValueError("its keys are not those of a result")
    cells: Sequence[Any] = _cells_of(row)
    if not all(isinstance(cells[at], str) for at in (0, _OUTCOME, _HOST)):
        raise ValueError("instanceId, outcome or host is no text")
    return cells


def _stored(cells: Sequence[Any]) -> StoredRow:
    text, outcome, host = cells[0], Outcome(cells[_OUTCOME]), cells[_HOST]
    if outcome is Outcome.INVALID:
        return StoredRow(None, text, outcome, host)
    if parse_instance_id(text) != text:
        raise ValueError(f"{text!r} is no instance ID")
    return StoredRow(pack(text), text, outcome, host)


def _value(name: str, text: str) -> object:
    """Return a CSV cell as JSON would hold it; a cell that is no number stays a text."""
    if name in _NUMBERS and re.fullmatch(_NUMBERS[name], text):
        return float(text) if name == "latencyMs" else int(text)
    if not text and isinstance(None, _TYPES[name]):
        return None
    return text[1:] if _GUARDED.match(text) else text


_known_value = lru_cache(maxsize=4096)(_value)
"""Of words that come again and again: a status, a model, a host."""
_text_or_none = partial(_known_value, "status")
_new_result = CancelResult._make
