"""Any mixture of spellings is read alike; no bytes at all break the reading."""

from __future__ import annotations

import csv
import io
import itertools
import uuid
from typing import TYPE_CHECKING, Any

from hypothesis import example, given
from hypothesis import strategies as st

from bulkcancel.errors import InputError
from bulkcancel.inputs import CheckedInput, InputOptions, stream
from bulkcancel.inputs.lines import NumberedLines
from bulkcancel.inputs.tables import _records
from bulkcancel.models import InvalidRow, Target
from tests.support.input_files import A, B

if TYPE_CHECKING:
    from bulkcancel.inputs.worklist import InputCounts

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12).filter(
    lambda text: not text.lstrip().startswith("#")
)
ROWS = st.lists(
    st.tuples(st.uuids(), CELLS, CELLS), min_size=1, max_size=8, unique_by=lambda r: r[0]
)


def read(data: bytes, cuts: list[int]) -> tuple[list[Target | InvalidRow], InputCounts]:
    """Read bytes in chunks that end at the cuts."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    chunks = [data[a:b] for a, b in itertools.pairwise(edges)]
    checked = CheckedInput()
    return list(stream(chunks, InputOptions(), checked)), checked.counts


SPELLINGS = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from(",;\t"),
        "quoting": st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
        "lineterminator": st.sampled_from(["\n", "\r\n", "\r"]),
    }
)


@given(
    rows=ROWS,
    spelling=SPELLINGS,
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    upper=st.booleans(),
    cuts=st.lists(st.integers(0, 4000), max_size=6),
)
def test_every_spelling_of_a_table_reads_alike(
    rows: list[tuple[uuid.UUID, str, str]],
    spelling: dict[str, Any],
    encoding: str,
    upper: bool,
    cuts: list[int],
) -> None:
    """Delimiter, quoting, line end, encoding and chunks change nothing in what is read."""
    out = io.StringIO()
    writer = csv.writer(out, **spelling)
    writer.writerow(["name", "Instance ID", "note"])
    # With CR as line end, the csv module's own writer leaves a cell with an LF unquoted.
    torn = spelling["lineterminator"] == "\r" and spelling["quoting"] == csv.QUOTE_MINIMAL
    for run, name, text in rows:
        note = text.replace("\n", " ") if torn else text
        writer.writerow(
            [
                name.replace("\n", " ") if torn else name,
                str(run).upper() if upper else f" {run}",
                note,
            ]
        )
    items, counts = read(out.getvalue().encode(encoding), cuts)
    assert [item.instance_id for item in items if isinstance(item, Target)] == [
        str(run) for run, _, _ in rows
    ]
    assert counts.rows == counts.targets == len(rows)


PIECES = st.sampled_from(
    [
        *(piece.encode() for piece in (A, B, A.upper(), A[:20], "\n", "\r", "\r\n", ",", ";", '"')),
        *(piece.encode() for piece in ("\t", "instanceId", "id", "{", "}", '{"id":"', '"}', "[")),
        *(b"#", b" ", b"\0", b"\xe9", b"\xff\xfe", b"\xef\xbb\xbf", "é".encode(), b"sep=;", b"x"),
    ]
)


@given(
    data=st.one_of(st.binary(max_size=300), st.lists(PIECES, max_size=25).map(b"".join)),
    cuts=st.lists(st.integers(0, 400), max_size=4),
)
@example(data=b'"', cuts=[])
@example(data=b"\n" + A.encode() + b',"\n', cuts=[1])
def test_no_bytes_break_the_reading_or_make_up_an_id(data: bytes, cuts: list[int]) -> None:
    """Whatever comes is targets, invalid rows or an `InputError`; no ID that is not there."""
    try:
        items, counts = read(data, cuts)
    except InputError:
        return
    known = data.replace(b"\0", b"").lower()
    targets = [item for item in items if isinstance(item, Target)]
    assert all(target.instance_id.encode() in known for target in targets)
    assert counts.targets == len(targets)
    assert counts.rows == counts.targets + counts.duplicates + counts.invalid + counts.filtered


@given(
    data=st.one_of(st.binary(max_size=300), st.lists(PIECES, max_size=25).map(b"".join)),
    cuts=st.lists(st.integers(0, 400), max_size=4),
)
def test_where_the_chunks_end_does_not_matter(data: bytes, cuts: list[int]) -> None:
    """The same bytes in other chunks give the same rows, or fail as well."""

    def outcome(cuts: list[int]) -> list[Target | InvalidRow] | str:
        try:
            return read(data, cuts)[0]
        except InputError:
            return "refused"

    assert outcome(cuts) == outcome([])


@given(
    text=st.text(st.sampled_from('",;\n ab'), max_size=40),
    delimiter=st.sampled_from(",;"),
)
@example(text='"",""', delimiter=",")
@example(text='"a"",""b"', delimiter=",")
@example(text='"', delimiter=",")
def test_the_fast_cut_is_what_the_csv_module_reads(text: str, delimiter: str) -> None:
    """Every record is the one that the csv module reads from the same lines, or both refuse."""
    lines = NumberedLines([text.encode()], name="-", encoding=None, notes=[])
    numbered = [(number, line) for number, line in lines if line]

    def expected() -> list[list[str]] | str:
        try:
            given = [line + "\n" for _, line in numbered]
            return list(csv.reader(given, delimiter=delimiter, strict=True))
        except csv.Error:
            return "refused"

    def read_records() -> list[list[str]] | str:
        try:
            return [cells for _, cells, _ in _records(iter(numbered), lines, delimiter)]
        except InputError:
            return "refused"

    assert read_records() == expected()
