"""Results files to figures: several say what one with the latest row of each ID says."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from bulkcancel.analysis import Figures, analyse
from bulkcancel.analysis.merging import Latest
from bulkcancel.models import CancelResult, Outcome
from bulkcancel.results.codec import Format
from tests.support.results import content, result
from tests.support.runs import make_ids

IDS = make_ids(6)
BEGAN = datetime(2026, 3, 4, tzinfo=UTC)
SENT = [each for each in Outcome if each is not Outcome.INVALID]


def figures_of(*contents: bytes) -> Figures:
    """What files of this content say."""
    with TemporaryDirectory() as directory, ExitStack() as opened:
        files = {}
        for number, data in enumerate(contents):
            path = Path(directory, f"{number}")
            path.write_bytes(data)
            files[path.name] = opened.enter_context(path.open("rb"))
        return analyse(files)


def _row(number: int, second: int, outcome: Outcome) -> CancelResult:
    when = BEGAN + timedelta(seconds=second)
    return result(IDS[number], outcome, finished_at=when, latency_ms=float(second + 1))


ROWS = st.lists(
    st.builds(_row, st.integers(0, 5), st.integers(0, 4), st.sampled_from(SENT)), max_size=9
)


def _comparable(figures: Figures) -> dict[str, object]:
    said = figures.as_dict()
    return {key: said[key] for key in said.keys() - {"files", "superseded", "errors", "notes"}}


@settings(max_examples=60)
@given(files=st.lists(ROWS, min_size=2, max_size=3), form=st.sampled_from(Format))
def test_several_files_say_what_one_of_the_latest_rows_says(
    files: list[list[CancelResult]], form: Format
) -> None:
    """Of each ID its row finished last; of equal ones the one that comes later."""
    rows = [row for each in files for row in each]
    latest = {row.instance_id: row for row in sorted(rows, key=lambda row: row.finished_at)}
    many = figures_of(*(content(form, *each) for each in files))
    one = figures_of(content(form, *latest.values()))
    assert _comparable(many) == _comparable(one)
    assert many.superseded == len(rows) - len(latest)
    assert {group.key: group.counts for group in many.errors} == {
        group.key: group.counts for group in one.errors
    }


def test_a_torn_file_among_several_is_counted_and_named() -> None:
    """Its whole rows count."""
    whole = content(Format.CSV, _row(0, 1, Outcome.CANCELED), _row(1, 1, Outcome.CANCELED))
    figures = figures_of(whole[:-5], content(Format.JSONL, _row(0, 2, Outcome.FAILED)))
    assert figures.outcomes == {Outcome.FAILED: 1}
    assert (figures.rows, figures.superseded, figures.torn) == (1, 1, 1)
    assert figures.notes[0].startswith("0: its last row is not whole")
    assert [each.count_of(Outcome.FAILED) for each in figures.files] == [0, 1]


def test_rows_without_an_id_are_never_the_same() -> None:
    """Each stands for an input row of its own."""
    invalid = content(Format.CSV, result("x", Outcome.INVALID), result("x", Outcome.INVALID))
    figures = figures_of(invalid, invalid)
    assert (figures.outcomes, figures.superseded) == ({Outcome.INVALID: 4}, 0)


def test_merging_costs_less_than_a_hundred_bytes_an_id() -> None:
    """Counted by what is kept: a record in a bucket, and a byte a row."""
    latest = Latest()
    for each in make_ids(20_000):
        latest.add(result(each), 1.0)
    kept = sum(map(len, latest._buckets.values())) + len(latest.superseded)
    assert kept / 20_000 < 40
    assert latest.count == 0


def test_one_file_is_read_without_remembering_ids() -> None:
    """So its rows are not compared: that costs memory for each."""
    row = _row(0, 1, Outcome.CANCELED)
    figures = figures_of(content(Format.CSV, row, row))
    assert (figures.rows, figures.merged) == (2, False)
