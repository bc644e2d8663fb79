"""Lines of a results file to the byte: as they are written, as they are read, how one is refused.

`test_codec` shows the same with any text; here each rule has its own example.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkcancel.errors import UsageError
from bulkcancel.ids import pack
from bulkcancel.models import COLUMNS, CancelResult, Outcome, timestamp
from bulkcancel.results import codec
from bulkcancel.results.codec import (
    Format,
    StoredRow,
    decode,
    encode,
    format_of,
    identify,
)

ID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
HEADER = (
    "instanceId,outcome,status,modelName,modelVersion,modelId,httpStatus,attempts,error,"
    "latencyMs,finishedAt,host,source"
)
FINISHED = datetime(2024, 1, 2, 3, 4, 5, 67000, tzinfo=UTC)
RESULT = CancelResult(
    ID, Outcome.REJECTED, "DONE", "Invoices", "1.1.0", "a8afdc89", 409, 3, "rejected: HTTP 409",
    12.3, FINISHED, "acme.domo.com", "ids.csv:2",
)  # fmt: skip
CSV_LINE = (
    f"{ID},rejected,DONE,Invoices,1.1.0,a8afdc89,409,3,rejected: HTTP 409,12.3,"
    "2024-01-02T03:04:05.067Z,acme.domo.com,ids.csv:2"
)
JSON_LINE = (
    f'{{"instanceId": "{ID}", "outcome": "rejected", "status": "DONE", "modelName": "Invoices", '
    '"modelVersion": "1.1.0", "modelId": "a8afdc89", "httpStatus": 409, "attempts": 3, '
    '"error": "rejected: HTTP 409", "latencyMs": 12.3, "finishedAt": "2024-01-02T03:04:05.067Z", '
    '"host": "acme.domo.com", "source": "ids.csv:2"}'
)
LINES = {Format.CSV: CSV_LINE, Format.JSONL: JSON_LINE}
TEXTS = ("status", "model_name", "model_version", "model_id", "error", "host", "source")
forms = pytest.mark.parametrize("form", Format)


def _cells_of(result: CancelResult) -> list[str]:
    """The cells of a line of CSV in which no quotes are expected."""
    return encode([result], Format.CSV).decode().removesuffix("\n").split(",")


@forms
def test_a_line_is_written_and_read_to_the_byte(form: Format) -> None:
    """Nothing is quoted, spaced or ordered in another way than published; all of it comes back."""
    line = LINES[form].encode()
    assert encode([RESULT], form) == line + b"\n"
    assert encode([], form) == b""
    assert encode([RESULT, RESULT], form) == (line + b"\n") * 2
    assert decode(line, form) == RESULT
    assert identify(line, form) == StoredRow(pack(ID), ID, Outcome.REJECTED, "acme.domo.com")


def test_the_header_names_the_columns() -> None:
    """In CSV alone, and as one line."""
    assert tuple(HEADER.split(",")) == COLUMNS
    assert [form.header for form in Format] == [f"{HEADER}\n".encode(), b""]


@forms
def test_what_is_not_there_comes_back_as_nothing(form: Format) -> None:
    """An empty cell, or null; a zero is a value."""
    silent = RESULT._replace(
        status=None, model_name=None, model_version=None, model_id=None, http_status=None,
        attempts=0, error="", latency_ms=None, source="",
    )  # fmt: skip
    line = encode([silent], form).removesuffix(b"\n")
    if form is Format.CSV:
        assert line.decode() == (f"{ID},rejected,,,,,,0,,,2024-01-02T03:04:05.067Z,acme.domo.com,")
    assert decode(line, form) == silent
    zero = RESULT._replace(latency_ms=0.0, attempts=0)
    assert decode(encode([zero], form)[:-1], form) == zero


@pytest.mark.parametrize(
    ("latency_ms", "written"),
    [(0.0, "0.0"), (0.04, "0.0"), (0.06, "0.1"), (12.34, "12.3"), (99999.96, "100000.0")],
)
def test_a_latency_is_written_to_a_tenth(latency_ms: float, written: str) -> None:
    """In both formats, and as a number with one decimal at all times."""
    result = RESULT._replace(latency_ms=latency_ms)
    assert _cells_of(result)[9] == written
    assert f'"latencyMs": {written}, '.encode() in encode([result], Format.JSONL)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain 'text'", "plain 'text'"),
        ("é😀", "é😀"),
        ("a,b", '"a,b"'),
        ('say "no"', '"say ""no"""'),
        ("a\nb", r"a\x0ab"),
        ("a\r\nb", r"a\x0d\x0ab"),
        ("\x1b[2J\x00", r"\x1b[2J\x00"),
        ("\u202egpj", r"\u202egpj"),
        ("\ud800", r"\ud800"),
        ("=1+1", "'=1+1"),
        ('=HYPERLINK("x,y")', '"\'=HYPERLINK(""x,y"")"'),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@A1", "'@A1"),
        ("\t1", r"'\x091"),
        ("\r1", r"'\x0d1"),
        (" =1", " =1"),
        ("'=1", "'=1"),
    ],
)
def test_a_text_in_a_cell(text: str, written: str) -> None:
    """Every text column is harmless, quoted only where it must be, however long the text is."""
    quote = '"' if written.endswith('"') else ""
    for field, filler in product(TEXTS, ("", "z" * 300)):
        at = CancelResult._fields.index(field)
        result = RESULT._replace(**{field: text + filler})  # type: ignore[arg-type]
        cells = _cells_of(RESULT)
        cells[at] = written.removesuffix(quote) + filler + quote
        assert encode([result], Format.CSV).decode() == ",".join(cells) + "\n"
        row = {**json.loads(JSON_LINE), COLUMNS[at]: text + filler}
        assert json.loads(encode([result], Format.JSONL)) == row


def test_the_cell_of_an_invalid_row_is_as_harmless_as_any() -> None:
    """It holds what stood where an ID should be; it is known by that, and has no packed ID."""
    invalid = RESULT._replace(instance_id='=1,"2"\n', outcome=Outcome.INVALID)
    line = encode([invalid], Format.CSV)
    assert line.startswith(b'"\'=1,""2""\\x0a",invalid,DONE,')
    stored = identify(line[:-1], Format.CSV)
    assert stored == StoredRow(None, '\'=1,"2"\\x0a', Outcome.INVALID, "acme.domo.com")
    assert decode(line[:-1], Format.CSV).instance_id == '=1,"2"\\x0a'
    line = encode([invalid], Format.JSONL)
    stored = identify(line[:-1], Format.JSONL)
    assert stored == StoredRow(None, '=1,"2"\n', Outcome.INVALID, "acme.domo.com")
    assert decode(line[:-1], Format.JSONL) == invalid


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ("'=1", "=1"), ("'+1", "+1"), ("'-1", "-1"), ("'@A1", "@A1"),
        (r"'\x091", r"\x091"), (r"'\x0d1", r"\x0d1"),
        ("'1", "'1"), ("'", "'"), ("''=1", "''=1"), ("x'=1", "x'=1"), (r"'\x0a", r"'\x0a"),
        (r"'\x1d", r"'\x1d"), ("'X", "'X"), ("'\\", "'\\"),
    ],
)  # fmt: skip
def test_only_the_apostrophe_before_a_formula_is_taken_off(stored: str, read: str) -> None:
    """Any other one is part of the text. JSON has none to take off."""
    line = CSV_LINE.replace("Invoices", stored)
    assert decode(line.encode(), Format.CSV).model_name == read
    row = json.dumps({**json.loads(JSON_LINE), "modelName": stored})
    assert decode(row.encode(), Format.JSONL).model_name == stored


@pytest.mark.parametrize("column", ["httpStatus", "attempts", "latencyMs"])
def test_text_columns_keep_what_looks_like_a_number(column: str) -> None:
    """Only the three columns of numbers are numbers; their ends are read as their middle."""
    line = CSV_LINE.replace("Invoices", "409").replace("1.1.0", "1.5").replace("ids.csv:2", "7")
    result = decode(line.encode(), Format.CSV)
    assert (result.model_name, result.model_version, result.source) == ("409", "1.5", "7")
    at = COLUMNS.index(column)
    for text, value in {"0": 0, "9": 9, "190": 190}.items():
        cells = CSV_LINE.split(",")
        cells[at] = f"{text}.9" if column == "latencyMs" else text
        read = decode(",".join(cells).encode(), Format.CSV)[at]
        assert read == (value + 0.9 if column == "latencyMs" else value)
        assert type(read) is (float if column == "latencyMs" else int)


@pytest.mark.parametrize(
    ("when", "written"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), "1970-01-01T00:00:00.000Z"),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), "1969-12-31T23:59:59.999Z"),
        (datetime(2024, 2, 29, 23, 59, 59, 999, tzinfo=UTC), "2024-02-29T23:59:59.000Z"),
        (datetime(2024, 2, 29, 23, 59, 59, 1000, tzinfo=UTC), "2024-02-29T23:59:59.001Z"),
        (datetime(2024, 2, 29, 23, 59, 59, 1999, tzinfo=UTC), "2024-02-29T23:59:59.001Z"),
        (datetime(2024, 2, 29, 23, 59, 59, 120_000, tzinfo=UTC), "2024-02-29T23:59:59.120Z"),
        (datetime(2024, 3, 1, 1, tzinfo=timezone(timedelta(hours=2))), "2024-02-29T23:00:00.000Z"),
    ],
)
def test_a_time_is_written_in_utc_to_the_millisecond(when: datetime, written: str) -> None:
    """Cut, not rounded, so that no row is of a second that had not begun; read back in UTC."""
    assert timestamp(when) == written
    line = CSV_LINE.replace("2024-01-02T03:04:05.067Z", written)
    read = decode(line.encode(), Format.CSV).finished_at
    assert timestamp(read) == written
    assert read.utcoffset() == timedelta(0)
    assert timedelta(0) <= when - read < timedelta(milliseconds=1)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone of a process is fixed here")
def test_the_time_zone_of_the_machine_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of two machines sort together."""
    try:
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert timestamp(datetime(2001, 1, 1, 20, 30, tzinfo=UTC)) == "2001-01-01T20:30:00.000Z"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_times_of_many_seconds_do_not_mix() -> None:
    """The text of a second is kept for its other rows; no other second gets it."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    times = [start + timedelta(milliseconds=700 * n) for n in range(60)]
    assert [timestamp(each) for each in times + times[::-1]] == [
        f"2024-01-01T00:00:{n * 700 // 1000:02}.{n * 700 % 1000:03}Z"
        for n in (*range(60), *reversed(range(60)))
    ]


@pytest.mark.parametrize("text", ["1" * 4, "12345-01-02", "24-01-02", "2024-1-2"])
def test_a_time_of_another_form_is_refused(text: str) -> None:
    """All digits must be there, so that rows sort by time as text."""
    line = CSV_LINE.replace("2024-01-02", text)
    with pytest.raises(ValueError, match=rf"^'{text}T03:04:05.067Z' is no time in UTC with milli"):
        decode(line.encode(), Format.CSV)


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-02T03:04:05.067", "2024-01-02T03:04:05.67Z", "2024-01-02T03:04:05.0678Z",
        "2024-01-02T03:04:05Z", "2024-01-02 03:04:05.067Z", "2024-01-02T3:04:05.067Z",
        "2024-01-02T03:04:05.067z", "x2024-01-02T03:04:05.067Z", "2024-01-02T03:04:05.067ZZ",
        "2024-01-02T03:04:05,067Z",
    ],
)  # fmt: skip
@forms
def test_a_time_without_milliseconds_in_utc_is_refused(form: Format, text: str) -> None:
    """The message shows what stands there."""
    quoted = f'"{text}"' if form is Format.CSV else text
    line = LINES[form].replace("2024-01-02T03:04:05.067Z", quoted)
    with pytest.raises(ValueError, match=r"is no time in UTC with milliseconds$") as refusal:
        decode(line.encode(), form)
    assert str(refusal.value).startswith(f"{text!r} ")


@pytest.mark.parametrize(
    ("form", "line", "said"),
    [
        (Format.CSV, CSV_LINE + ",x", "it has 14 cells instead of 13"),
        (Format.CSV, CSV_LINE.rpartition(",")[0], "it has 12 cells instead of 13"),
        (Format.CSV, "", "it has 1 cells instead of 13"),
        (Format.CSV, CSV_LINE.replace("DONE", '"DONE') + ",", "unexpected end of data"),
        (Format.CSV, CSV_LINE.replace("DONE", '"DO"NE'), "',' expected after '\"'"),
        (Format.CSV, CSV_LINE + "\x00", "it holds NUL bytes"),
        (Format.JSONL, JSON_LINE + "\x00", "it holds NUL bytes"),
        (Format.CSV, CSV_LINE.replace(ID, ID[1:]), f"{ID[1:]!r} is no instance ID"),
        (Format.JSONL, JSON_LINE.replace(ID, ID.upper()), f"{ID.upper()!r} is no instance ID"),
        (Format.CSV, CSV_LINE.replace(ID, f" {ID}"), f"{' ' + ID!r} is no instance ID"),
        (Format.CSV, CSV_LINE.replace("rejected,", "done,"), "'done' is not a valid Outcome"),
        (Format.JSONL, "[]", "its keys are not those of a result"),
        (Format.JSONL, "{}", "its keys are not those of a result"),
        (Format.JSONL, "7", "its keys are not those of a result"),
        (Format.JSONL, JSON_LINE[:-1] + ', "x": 1}', "its keys are not those of a result"),
        (
            Format.JSONL,
            JSON_LINE.replace('"acme.domo.com"', "7"),
            "instanceId, outcome or host is no text",
        ),
        (
            Format.JSONL,
            JSON_LINE.replace('"rejected"', "null"),
            "instanceId, outcome or host is no text",
        ),
        (
            Format.JSONL,
            JSON_LINE.replace(f'"{ID}"', '["x"]'),
            "instanceId, outcome or host is no text",
        ),
    ],
)
def test_a_row_that_is_not_ours_is_refused_with_what_is_wrong(
    form: Format, line: str, said: str
) -> None:
    """In the same words whether all of it is read or only what a resumed run needs."""
    for read in (identify, decode):
        with pytest.raises(ValueError, match=r".") as refusal:
            read(line.encode(), form)
        assert str(refusal.value) == said


@pytest.mark.parametrize(
    ("form", "old", "new", "said"),
    [
        (Format.CSV, ",409,", ",4x9,", "httpStatus cannot be '4x9'"),
        (Format.CSV, ",3,", ",,", "attempts cannot be ''"),
        (Format.CSV, ",12.3,", ",12,", "latencyMs cannot be '12'"),
        (Format.CSV, ",12.3,", ",12x3,", "latencyMs cannot be '12x3'"),
        (Format.CSV, ",12.3,", ",12.34,", "latencyMs cannot be '12.34'"),
        (Format.CSV, ",12.3,", ",x12.3,", "latencyMs cannot be 'x12.3'"),
        (Format.JSONL, " 3,", " true,", "attempts cannot be True"),
        (Format.JSONL, " 3,", " -1,", "attempts cannot be -1"),
        (Format.JSONL, " 409,", ' "409",', "httpStatus cannot be '409'"),
        (Format.JSONL, " 12.3,", " Infinity,", "latencyMs cannot be inf"),
        (Format.JSONL, " 12.3,", " NaN,", "latencyMs cannot be nan"),
        (Format.JSONL, " 12.3,", " -0.1,", "latencyMs cannot be -0.1"),
        (Format.JSONL, '"ids.csv:2"', "null", "source cannot be None"),
        (Format.JSONL, '"DONE"', "[1]", r"status cannot be [1]"),
    ],
)
def test_a_value_that_no_run_writes_is_named(form: Format, old: str, new: str, said: str) -> None:
    """With its column; a run that is resumed does not look at it."""
    line = LINES[form].replace(old, new, 1).encode()
    assert identify(line, form).instance_id == pack(ID)
    with pytest.raises(ValueError, match=r"cannot be") as refusal:
        decode(line, form)
    assert str(refusal.value) == said


@given(
    at=st.integers(0, len(CSV_LINE)),
    width=st.integers(0, 12),
    new=st.text("0123456789.,'=-\"TZaA", max_size=3) | st.text(max_size=3),
)
@example(at=1, width=1, new="C")
@example(at=CSV_LINE.index("rejected: "), width=1, new="'=")
@example(at=CSV_LINE.index("ids.csv"), width=1, new="'-")
def test_the_short_way_reads_what_the_long_one_reads(at: int, width: int, new: str) -> None:
    """Most rows are read in a shorter way: no row is read as another, or refused as another."""
    line = (CSV_LINE[:at] + new + CSV_LINE[at + width :]).encode("utf-8", "surrogatepass")
    with mock.patch.object(codec, "_LONG_LINE", 0):
        long_way = _read_or_refusal(line)
    assert _read_or_refusal(line) == long_way


def _read_or_refusal(line: bytes) -> CancelResult | str:
    try:
        return decode(line, Format.CSV)
    except ValueError as error:
        return str(error)


def test_most_rows_are_read_in_the_short_way() -> None:
    """Else the test above would compare the long way with itself."""
    with mock.patch.object(codec, "_stored", side_effect=AssertionError("the long way")):
        assert decode(CSV_LINE.encode(), Format.CSV) == RESULT


def test_a_quoted_line_is_read_as_a_plain_one() -> None:
    """As another program would write it."""
    line = ",".join(f'"{cell}"' for cell in CSV_LINE.split(","))
    assert decode(line.encode(), Format.CSV) == RESULT
    assert identify(line.encode(), Format.CSV).outcome is Outcome.REJECTED


@forms
def test_a_line_that_is_no_utf_8_is_refused(form: Format) -> None:
    """It is not guessed at."""
    with pytest.raises(UnicodeDecodeError):
        identify(LINES[form].encode().replace(b"Invoices", b"Invoic\xe9s"), form)


def test_json_that_is_too_deep_is_a_value_error() -> None:
    """Whatever the parser says of it, it is told."""
    with pytest.raises(ValueError, match="recursion"):
        identify(b"[" * 100_000, Format.JSONL)


@pytest.mark.parametrize(
    ("path", "asked", "form"),
    [
        ("-", "auto", Format.CSV),
        ("-", "jsonl", Format.JSONL),
        ("r.csv", "auto", Format.CSV),
        ("r.csv", "jsonl", Format.JSONL),
        ("r.JSONL", "auto", Format.JSONL),
        ("r.JSONL", "csv", Format.CSV),
        ("results", "csv", Format.CSV),
    ],
)
def test_what_is_asked_for_goes_before_the_name(path: str, asked: str, form: Format) -> None:
    """Standard output is CSV if nothing else is asked for."""
    assert format_of(path, asked) is form


def test_a_name_that_says_no_format_is_refused_with_the_way_out() -> None:
    """The message names the file, the endings and the option."""
    with pytest.raises(UsageError) as refusal:
        format_of("a/results.txt", "auto")
    assert str(refusal.value) == (
        "the results file a/results.txt must end in .csv or .jsonl (or be -), "
        "or give --output-format"
    )
