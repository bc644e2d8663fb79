"""A results file read back and repaired, whatever has happened to it."""

from __future__ import annotations

import codecs
import json
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from bulkcancel.errors import OutputError
from bulkcancel.ids import IdSet, pack
from bulkcancel.models import SENT_AGAIN, CancelResult, Outcome
from bulkcancel.results.codec import Format, encode
from bulkcancel.results.earlier import resume
from bulkcancel.results.earlier.repair import repair
from bulkcancel.results.earlier.resume import Resumed, read_back
from tests.support.results import HOST, content, result
from tests.support.runs import make_ids

IDS = make_ids(6)
forms = pytest.mark.parametrize("form", list(Format))


def _file(tmp_path: Path, form: Format, *results: CancelResult) -> Path:
    path = tmp_path / f"r.{form}"
    path.write_bytes(content(form, *results))
    return path


def _resume(path: Path, form: Format) -> Resumed:
    """Read a file back, which changes nothing, and repair it."""
    before = path.read_bytes()
    resumed, needed = read_back(path, form, HOST, SENT_AGAIN)
    assert path.read_bytes() == before
    repair(path, form, needed)
    return resumed


def _done(resumed: Resumed, ids: list[str]) -> list[str]:
    return [each for each in ids if pack(each) in resumed.done]


@pytest.mark.parametrize("start", [b"", codecs.BOM_UTF8])
def test_a_csv_that_a_spreadsheet_has_saved_is_told_as_that(tmp_path: Path, start: bytes) -> None:
    """Not as a file with other columns; it stays as it is."""
    path = _file(tmp_path, Format.CSV, result(IDS[0]))
    path.write_bytes(start + path.read_bytes().replace(b"\n", b"\r\n"))
    before = path.read_bytes()
    with pytest.raises(OutputError, match="saved by another program"):
        read_back(path, Format.CSV, HOST, SENT_AGAIN)
    assert path.read_bytes() == before


@forms
def test_a_file_cut_at_any_byte_keeps_its_whole_rows(tmp_path: Path, form: Format) -> None:
    """The torn row goes, every whole one stays as it was, and what it says is known."""
    results = [
        result(IDS[0]),
        result(IDS[1], Outcome.NOT_FOUND),
        result("../../x", Outcome.INVALID),
        result(IDS[2], Outcome.COMPLETED),
    ]
    whole = content(form, *results)
    path = tmp_path / f"r.{form}"
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        resumed = _resume(path, form)
        left = path.read_bytes()
        if size < len(form.header):
            assert left == form.header
        else:
            assert left == whole[: whole[:size].rfind(b"\n") + 1]
        rows = left.count(b"\n") - form.header.count(b"\n")
        kept = [r.instance_id for r in results[:rows]]
        assert _done(resumed, IDS) == [each for each in kept if each in IDS]
        assert resumed.take_invalid("../../x") is ("../../x" in kept)
        assert _resume(path, form).notes == []


def _otherwise(instance_id: str, outcome: Outcome, form: Format) -> bytes:
    """A row as another hand may have spaced or quoted it, its line ended as on Windows."""
    line = encode([result(instance_id, outcome)], form)[:-1]
    if form is Format.JSONL:
        spaced = json.dumps(json.loads(line), separators=(" ,  ", " :"), sort_keys=True)
        return spaced.encode() + b"\r\n"
    return line.replace(outcome.encode(), f'"{outcome}"'.encode()) + b"\r\n"


@forms
def test_rows_that_stay_are_not_written_anew(tmp_path: Path, form: Format) -> None:
    """Not one byte of them changes, though broken rows and older ones go with the torn one."""
    kept, left, twice = (
        _otherwise(each, word, form)
        for each, word in zip(
            IDS[:3], (Outcome.CANCELED, Outcome.FAILED, Outcome.COMPLETED), strict=True
        )
    )
    older = encode([result(IDS[2], Outcome.FORBIDDEN)], form)
    path = tmp_path / f"r.{form}"
    path.write_bytes(form.header + b"".join((older, kept, left, b"broken\n", twice, left[:-1])))
    resumed = _resume(path, form)
    assert path.read_bytes() == form.header + kept + left + twice
    said = ("does not parse", f"cut {len(left) - 1} bytes", "1 older ones")
    assert len(resumed.notes) == len(said)
    assert all(word in note for word, note in zip(said, resumed.notes, strict=True))
    assert +resumed.outcomes == Counter([Outcome.CANCELED, Outcome.FAILED, Outcome.COMPLETED])
    assert _resume(path, form).notes == []


@forms
def test_a_row_that_does_not_parse_is_named_and_only_it_goes(tmp_path: Path, form: Format) -> None:
    """Its ID is sent again; every other byte of the file stays."""
    rows = [encode([result(each)], form) for each in IDS]
    for damage in (b"garbage\n", b"\n", rows[2][:50] + b"\n", b"\xff\xfe\n", b"\0" * 60 + b"\n",
                   b'{"instanceId": 1}\n', rows[2].replace(b"accepted", b"perhaps"),
                   rows[2].replace(IDS[2].encode(), b"not-an-id")):  # fmt: skip
        path = tmp_path / f"r.{form}"
        path.write_bytes(form.header + b"".join((*rows[:2], damage, *rows[3:])))
        resumed = _resume(path, form)
        assert path.read_bytes() == form.header + b"".join((*rows[:2], *rows[3:]))
        assert _done(resumed, IDS) == [*IDS[:2], *IDS[3:]]
        (note,) = resumed.notes
        assert f"{path}:{3 + form.header.count(10)} " in note
        assert [p.name for p in tmp_path.iterdir()] == [path.name]


@forms
def test_what_is_sent_again(tmp_path: Path, form: Format) -> None:
    """As the table of outcomes says; for now every row is there."""
    outcomes = list(Outcome)
    ids = make_ids(len(outcomes))
    path = _file(
        tmp_path, form, *(result(each, word) for each, word in zip(ids, outcomes, strict=True))
    )
    before = path.read_bytes()
    resumed = _resume(path, form)
    assert path.read_bytes() == before
    again = [word for each, word in zip(ids, outcomes, strict=True)
             if resumed.is_sent_again(pack(each))]  # fmt: skip
    assert set(again) == {Outcome.FORBIDDEN, Outcome.FAILED, Outcome.UNCONFIRMED}
    assert sum(map(len, resumed.again.values())) == 3
    failed = ids[outcomes.index(Outcome.FAILED)]
    assert [each for each in ids if resumed.has_failed(pack(each))] == [failed]
    assert resumed.kept_failures(frozenset()) == 6


@forms
@pytest.mark.parametrize("block", [1, 300, 1 << 16])
def test_the_last_row_of_an_id_counts(
    tmp_path: Path, form: Format, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of however many, wherever they stand; rows that hold no ID are each for themselves."""
    monkeypatch.setattr(resume, "_BLOCK", block)
    rows = [
        result(IDS[0], Outcome.FAILED),
        result(IDS[1]),
        result("../x", Outcome.INVALID),
        result(IDS[2], Outcome.FAILED),
        result(IDS[0], Outcome.FORBIDDEN),
        result(IDS[1], Outcome.FAILED),
        result("../x", Outcome.INVALID),
        result(IDS[0], Outcome.ACCEPTED),
    ]
    path = _file(tmp_path, form, *rows)
    resumed = _resume(path, form)
    kept = [rows[at] for at in (2, 3, 5, 6, 7)]
    assert path.read_bytes() == content(form, *kept)
    assert +resumed.outcomes == Counter(each.outcome for each in kept)
    assert _done(resumed, IDS) == IDS[:1]
    assert [each for each in IDS if resumed.has_failed(pack(each))] == IDS[1:3]
    assert resumed.notes == [f"{path}: the last row of an ID counts, 3 older ones are taken out"]


@forms
def test_a_file_of_another_host_is_refused_untouched(tmp_path: Path, form: Format) -> None:
    """Those IDs were cancelled elsewhere; the message says where and which row."""
    path = _file(tmp_path, form, result(IDS[0]), result(IDS[1], host="other.domo.com"))
    before = path.read_bytes()
    with pytest.raises(OutputError, match=rf"{path.name}:{2 + form.header.count(10)} .*other"):
        read_back(path, form, HOST, SENT_AGAIN)
    assert path.read_bytes() == before


@forms
def test_a_file_with_nothing_in_it_yet_is_a_start(tmp_path: Path, form: Format) -> None:
    """Empty, or a header alone: what a run leaves that was killed at once."""
    path = tmp_path / f"r.{form}"
    for start in (b"", form.header):
        path.write_bytes(start)
        resumed = _resume(path, form)
        assert (len(resumed.done), resumed.notes) == (0, [])
        assert path.read_bytes() == form.header


def test_each_invalid_row_counts_for_one(tmp_path: Path) -> None:
    """Two input rows with the same bad text need two rows; it is the stored text that matters."""
    path = _file(tmp_path, Format.CSV, *2 * [result("=x\x1b", Outcome.INVALID)])
    resumed = _resume(path, Format.CSV)
    assert [resumed.take_invalid("=x\x1b") for _ in range(3)] == [True, True, False]


@pytest.mark.slow
@pytest.mark.parametrize("rows_each", [1, 2])
@pytest.mark.parametrize("outcome", [Outcome.ACCEPTED, Outcome.FAILED])
def test_ids_read_back_are_small(
    tmp_path: Path, outcome: Outcome, rows_each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most 100 bytes each where there are a million, also when all have been replaced.

    Here there are fewer, in as many fewer buckets, and read in smaller blocks.
    """
    monkeypatch.setattr(IdSet, "_MASK", 0xFF)
    monkeypatch.setattr(resume, "_BLOCK", 1 << 14)
    count = 3750
    rows = [result(each, outcome) for each in make_ids(count)] * rows_each
    path = _file(tmp_path, Format.CSV, *rows)
    tracemalloc.start()
    resumed, needed = read_back(path, Format.CSV, HOST, SENT_AGAIN)
    resumed.replace(rows[:count])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(resumed.done) + len(needed.again) == count
    assert len(needed.older) == (rows_each - 1) * count
    assert peak < 100 * count
