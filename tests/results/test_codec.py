"""One result, one line: nothing in it can break the file, a spreadsheet or a reader."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkcancel.errors import UsageError
from bulkcancel.ids import pack
from bulkcancel.models import COLUMNS, CancelResult, Outcome
from bulkcancel.results.codec import Format, decode, encode, format_of, identify
from bulkcancel.text import cell, visible
from tests.support.processes import bulkcancel
from tests.support.runs import make_ids

(ID,) = make_ids(1)
FORMULA = ("=", "+", "-", "@", "\t", "\r")
PIECES = (
    *FORMULA, "\n", "\r\n", "\x00", "\x0b", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u202e",
    "\u2067", "\u200f", "\ud800", "\ufeff", '"', '""', ",", ";", "'", "\\", "{}", "é", "😀",
)  # fmt: skip
HOSTILE = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=6).map("".join)
BIDI = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}


def a_result(
    instance_id: str = ID, outcome: Outcome = Outcome.ACCEPTED, /, **fields: object
) -> CancelResult:
    """A result as a run makes it, with some fields of one's own."""
    usual = CancelResult(
        instance_id, outcome, "IN_PROGRESS", "Add, two", "1.1.0", "a8afdc89", 200, 1, "", 12.34,
        datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), "acme.domo.com", "ids.csv:2",
    )  # fmt: skip
    return usual._replace(**fields)  # type: ignore[arg-type]


def _cells(data: bytes) -> list[str]:
    (cells,) = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
    return cells


def _all_texts(text: str) -> CancelResult:
    return a_result(
        text, Outcome.INVALID, status=text, model_name=text, model_version=text, model_id=text,
        error=text, host=text, source=text,
    )  # fmt: skip


@pytest.mark.parametrize("form", Format)
@given(texts=st.lists(HOSTILE, max_size=4))
@example(texts=["a\r\nb", "a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g", "\x00"])
def test_every_row_is_one_line(form: Format, texts: list[str]) -> None:
    """Whatever a server or an input says, a row ends at its line feed and holds no other break."""
    data = encode([_all_texts(text) for text in texts], form)
    assert data.count(b"\n") == len(texts)
    assert len(data.decode("utf-8").splitlines()) == len(texts)
    assert b"\x00" not in data


@given(text=HOSTILE)
def test_json_lines_are_exact(text: str) -> None:
    """JSON gives every text back as it was, character by character."""
    row = json.loads(encode([_all_texts(text)], Format.JSONL))
    texts = ("status", "modelName", "modelVersion", "modelId", "error", "host", "source")
    assert [row[name] for name in ("instanceId", *texts)] == [text] * 8


@given(text=HOSTILE)
def test_csv_cells_are_harmless(text: str) -> None:
    """No cell starts a formula, moves a cursor or reorders what a person reads."""
    for shown in _cells(encode([_all_texts(text)], Format.CSV)):
        assert not shown.startswith(FORMULA)
        for letter in shown:
            assert unicodedata.category(letter) not in {"Cc", "Cs", "Zl", "Zp"}
            assert unicodedata.bidirectional(letter) not in BIDI
            assert letter not in "\u061c\u200e\u200f\ufeff"


@given(text=st.text(st.characters(categories=["L", "N", "P", "Sm", "Zs"]), max_size=9))
def test_harmless_text_is_kept_in_csv(text: str) -> None:
    """Quotes, commas and letters of any script come back as they were."""
    kept = "x" + text
    assert _cells(encode([_all_texts(kept)], Format.CSV)).count(kept) == 8


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=1+1", "'=1+1"), ("+1", "'+1"), ("-1", "'-1"), ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", r"'\x09=1"), ("\r=1", r"'\x0d=1"), ("a=1", "a=1"), ("'=1", "'=1"),
        ("\x1b[2J", r"\x1b[2J"), ("\x9b2J", r"\x9b2J"), ("\u202egpj", r"\u202egpj"),
        ("a\x00b", r"a\x00b"), ('say "no", twice', 'say "no", twice'),
    ],
)  # fmt: skip
def test_a_cell_in_words(text: str, shown: str) -> None:
    """A formula gets an apostrophe, a control character its name; all else stays."""
    assert _cells(encode([a_result(model_name=text)], Format.CSV))[3] == shown


def test_columns_in_the_order_of_the_contract() -> None:
    """The header and the JSON keys are the published columns, each cell under its name."""
    names = (
        "instanceId,outcome,status,modelName,modelVersion,modelId,httpStatus,attempts,error,"
        "latencyMs,finishedAt,host,source"
    )
    assert Format.CSV.header == f"{names}\n".encode()
    assert Format.JSONL.header == b""
    values = [
        ID, "accepted", "IN_PROGRESS", "Add, two", "1.1.0", "a8afdc89", 200, 1, "", 12.3,
        "2024-01-02T03:04:05.678Z", "acme.domo.com", "ids.csv:2",
    ]  # fmt: skip
    row = json.loads(encode([a_result()], Format.JSONL))
    assert list(row.items()) == list(zip(names.split(","), values, strict=True))
    assert _cells(encode([a_result()], Format.CSV)) == [str(value) for value in values]


def test_nothing_said_and_an_empty_text() -> None:
    """JSON tells null from an empty text; in CSV both are an empty cell."""
    silent = a_result(
        status=None, model_name=None, model_version=None, model_id=None, http_status=None,
        latency_ms=None,
    )  # fmt: skip
    row = json.loads(encode([silent], Format.JSONL))
    assert {name for name, value in row.items() if value is None} == {
        "status", "modelName", "modelVersion", "modelId", "httpStatus", "latencyMs",
    }  # fmt: skip
    assert json.loads(encode([a_result(status="")], Format.JSONL))["status"] == ""
    cells = dict(zip(COLUMNS, _cells(encode([silent], Format.CSV)), strict=True))
    assert {name for name, value in cells.items() if value == ""} == {
        *(name for name, value in row.items() if value is None), "error",
    }  # fmt: skip


@pytest.mark.parametrize("form", Format)
@given(when=st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1)))  # noqa: DTZ001
def test_finished_at_is_utc_in_milliseconds(form: Format, when: datetime) -> None:
    """ISO 8601 with `Z`, always three decimals, so that it sorts as text."""
    data = encode([a_result(finished_at=when)], form).decode()
    (text,) = re.findall(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z(?![\d+])", data)
    assert 0 <= (when - datetime.fromisoformat(text)).total_seconds() < 0.001


@pytest.mark.parametrize("form", Format)
@given(text=HOSTILE, outcome=st.sampled_from(Outcome))
def test_a_row_is_read_back(form: Format, text: str, outcome: Outcome) -> None:
    """What `--resume` needs survives the way to the file and back, beside any other text."""
    valid = outcome is not Outcome.INVALID
    made = a_result(ID if valid else text, outcome, model_name=text, error=text, source=text)
    row = identify(encode([made], form).removesuffix(b"\n"), form)
    assert (row.outcome, row.host) == (outcome, "acme.domo.com")
    assert row.instance_id == (pack(ID) if valid else None)
    assert row.text == (ID if valid else cell(text) if form is Format.CSV else text)


SAID = st.none() | HOSTILE
RESULTS = st.builds(
    CancelResult,
    instance_id=HOSTILE,
    outcome=st.sampled_from(Outcome),
    status=SAID,
    model_name=SAID,
    model_version=SAID,
    model_id=SAID,
    http_status=st.none() | st.integers(100, 599),
    attempts=st.integers(0, 1000),
    error=HOSTILE,
    latency_ms=st.none() | st.floats(0, 1e9),
    finished_at=st.datetimes(
        timezones=st.just(UTC),
        min_value=datetime(1970, 1, 1),  # noqa: DTZ001 - hypothesis wants it so
    ),
    host=HOSTILE,
    source=HOSTILE,
).map(lambda r: r if r.outcome is Outcome.INVALID else r._replace(instance_id=ID))
GUARDED = tuple(f"'{start}" for start in ("=", "+", "-", "@", r"\x09", r"\x0d"))


def _as_csv_gives_it(value: object) -> object:
    """A text as shown, never with an apostrophe before what a spreadsheet computes."""
    if not isinstance(value, str) or isinstance(value, Outcome):
        return value
    shown = visible(value)
    return shown.removeprefix("'") if shown.startswith(GUARDED) else shown


@pytest.mark.parametrize("form", Format)
@given(result=RESULTS)
@example(result=a_result("=1", Outcome.INVALID, model_name="", error="\t=1", source="'=1"))
def test_a_whole_result_is_read_back(form: Format, result: CancelResult) -> None:
    """All 13 fields, to the precision of the file; CSV shows texts and knows no empty one."""
    (line,) = encode([result], form).splitlines()
    latency, when = result.latency_ms, result.finished_at
    expected = result._replace(
        latency_ms=None if latency is None else round(latency, 1),
        finished_at=when.replace(microsecond=when.microsecond // 1000 * 1000),
    )
    if form is Format.CSV:
        expected = CancelResult._make(map(_as_csv_gives_it, expected))
        names = ("status", "model_name", "model_version", "model_id")
        empty: dict[str, Any] = dict.fromkeys(name for name in names if not getattr(expected, name))
        expected = expected._replace(**empty)
    assert decode(line, form) == expected
    assert decode(line, form).finished_at.tzinfo is UTC


@pytest.mark.parametrize("form", Format)
def test_every_row_of_a_run_is_read_back(tmp_path: Path, form: Format) -> None:
    """Written anew from what was read, each is the same line again."""
    bad = ["=1+1", "'=1", 'é, "x"', "\x1b[2J", "a\u202eb", "'"]
    ids = "".join(json.dumps({"instanceId": each}) + "\n" for each in [*make_ids(200), *bad])
    (tmp_path / "ids.jsonl").write_text(ids)
    options = ("--sandbox", "--rate", "10000", "-o", f"results.{form}")
    assert bulkcancel("run", "ids.jsonl", *options, cwd=tmp_path).code == 1
    data = (tmp_path / f"results.{form}").read_bytes().removeprefix(form.header)
    results = [decode(line, form) for line in data.splitlines()]
    assert len(results) == 200 + len(bad)
    assert {each.host for each in results} == {"sandbox"}
    assert encode(results, form) == data


_WHOLE = {form: encode([a_result()], form)[:-1] for form in Format}


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize(
    "broken",
    [
        lambda line: b"",
        lambda line: line[:60],
        lambda line: line + b"\x00",
        lambda line: line + b",x",
        lambda line: b"\xff" + line,
        lambda line: line.replace(b"accepted", b"excepted"),
        lambda line: line.replace(ID.encode(), ID[:-1].encode()),
        lambda line: line.replace(ID.encode(), ID.upper().encode()),
        lambda line: line.replace(b"IN_PROGRESS", b'"IN_PROGRESS'),
        lambda line: b"[" * 100_000,
    ],
    ids=["empty", "short", "nul", "extra", "utf8", "word", "id", "upper", "quote", "deep"],
)
def test_a_broken_line_is_a_value_error(form: Format, broken: Callable[[bytes], bytes]) -> None:
    """Nothing that is not a whole row of ours passes for one."""
    line = broken(_WHOLE[form])
    for read in (identify, decode):
        with pytest.raises(ValueError, match=r"."):
            read(line, form)


@pytest.mark.parametrize(
    ("column", "texts", "values"),
    [
        ("status", [], [1, True, ["x"]]),
        ("httpStatus", ["ok", "2e2", "-1", " 200", "2_00", "\u0662"], ["200", 200.0, -1, True]),
        ("attempts", ["", "1.0", "+1"], [None, "1", 1.5, -1, False]),
        ("error", [], [None, 0]),
        ("latencyMs", ["fast", "1", "1.25", "nan", "-1.0", "1e3"], [1, "1.0", -1.0, math.nan]),
        ("finishedAt", ["", "2024-01-02T03:04:05Z"], [None, 1704164645]),
        ("finishedAt", ["2024-13-02T03:04:05.678Z"], ["2024-01-02T03:04:05.678+00:00"]),
        ("source", [], [None, {}]),
    ],
)
def test_a_cell_that_no_run_writes(column: str, texts: list[str], values: list[object]) -> None:
    """It is told, not guessed at; a run that is resumed does not look at it."""
    whole = dict(zip(COLUMNS, _cells(_WHOLE[Format.CSV]), strict=True))
    lines = [(_csv_row(whole | {column: text}), Format.CSV) for text in texts]
    row = json.loads(_WHOLE[Format.JSONL])
    lines += [(json.dumps(row | {column: value}), Format.JSONL) for value in values]
    for line, form in lines:
        assert identify(line.encode(), form).instance_id == pack(ID)
        with pytest.raises(ValueError, match=r"cannot be|is no time|month"):
            decode(line.encode(), form)


def _csv_row(cells: dict[str, str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells.values())
    return line.getvalue()


@pytest.mark.parametrize("name", ["results", "results.txt", "results.csv.gz", ".csv"])
def test_a_results_file_says_its_format(name: str) -> None:
    """Only .csv and .jsonl, in any case, are formats."""
    assert format_of("a/RESULTS.CSV", "auto") is Format.CSV
    assert format_of("x.csv.jsonl", "auto") is Format.JSONL
    with pytest.raises(UsageError, match="must end in"):
        format_of(name, "auto")
