"""A results file read back and repaired, whatever has happened to it."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from bulkcancel.errors import OutputError
from bulkcancel.ids import IdSet, pack
from bulkcancel.models import SENT_AGAIN, CancelResult, Outcome
from bulkcancel.results.codec import Format, encode
from bulkcancel.results.repair import repair
from bulkcancel.results.resume import Resumed, read_back
from tests.support.results import HOST, content, result
from tests.support.runs import make_ids

IDS = make_ids(6)
forms = pytest.mark.parametrize("form", list(Format))


def _file(tmp_path: Path, form: Format, *results: CancelResult) -> Path:
    path = tmp_path / f"r.{form}"
    path.write_bytes(content(form, *results))
    return path


def _resume(path: Path, form: Format, sent: IdSet | None = None) -> Resumed:
    """Read a file back, which changes nothing, and repair it."""
    before = path.read_bytes()
    resumed, needed = read_back(path, form, HOST, SENT_AGAIN)
    assert path.read_bytes() == before
    repair(path, resumed, needed, sent)
    return resumed


def _done(resumed: Resumed, ids: list[str]) -> list[str]:
    return [each for each in ids if pack(each) in resumed.done]


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


@forms
def test_a_failure_that_is_not_sent_again_keeps_its_row(tmp_path: Path, form: Format) -> None:
    """An ID beyond --limit, or of another input: one row stays, and counts as a failure."""
    rows = [
        result(IDS[0], Outcome.FAILED),
        result(IDS[1], Outcome.FAILED),
        result(IDS[2], Outcome.FORBIDDEN),
        result(IDS[1], Outcome.FORBIDDEN),
        result(IDS[3]),
        result(IDS[3], Outcome.FAILED),
    ]
    path = _file(tmp_path, form, *rows)
    sent = IdSet()
    sent.add(pack(IDS[0]))
    resumed = _resume(path, form, sent)
    assert path.read_bytes() == content(form, rows[1], rows[2], rows[4])
    assert resumed.kept_failures(frozenset()) == 2
    assert _resume(path, form, IdSet()).kept_failures(frozenset()) == 2
    assert path.read_bytes() == content(form, rows[1], rows[2], rows[4])


def _torn_file() -> tuple[list[CancelResult], str]:
    """Rows to keep, to send again and to leave, and the ID of the row that was cut."""
    rows = [
        result(IDS[0]),
        result(IDS[1], Outcome.FAILED),
        result(IDS[2], Outcome.FAILED),
        result("../../x", Outcome.INVALID),
        result(IDS[3], Outcome.FORBIDDEN),
        result(IDS[4], Outcome.NOT_FOUND),
    ]
    return rows, IDS[5]


def _ids_of(results: list[CancelResult]) -> IdSet:
    ids = IdSet()
    for each in results:
        ids.add(pack(each.instance_id))
    return ids


@forms
@pytest.mark.parametrize("cut_outcome", [Outcome.ACCEPTED, Outcome.FAILED])
@pytest.mark.parametrize("order", [1, -1], ids=["kept_last", "removable_last"])
def test_a_torn_row_goes_together_with_rows_that_are_sent_again(
    tmp_path: Path, form: Format, cut_outcome: Outcome, order: int
) -> None:
    """Wherever it was cut. Rows of IDs that are not sent stay; what stays keeps its bytes."""
    rows, cut_id = _torn_file()
    rows = rows[::order]
    again = [each for each in rows if each.outcome in SENT_AGAIN]
    cut = encode([result(cut_id, cut_outcome)], form)
    path = tmp_path / f"r.{form}"
    for size in (1, 2, 30, len(cut) // 2, len(cut) - 2, len(cut) - 1):
        for sent_rows in ([], again[:1], again[1:], again):
            path.write_bytes(content(form, *rows) + cut[:size])
            resumed = _resume(path, form, _ids_of(sent_rows))
            kept = [each for each in rows if each not in sent_rows]
            assert path.read_bytes() == content(form, *kept)
            assert resumed.outcomes == Counter(each.outcome for each in kept)
            (note,) = resumed.notes
            assert f"cut {size} bytes of a torn last row" in note
            assert pack(cut_id) not in resumed.done
            assert pack(cut_id) not in resumed.again_ids
            assert _resume(path, form, IdSet()).notes == []
            assert path.read_bytes() == content(form, *kept)


@forms
def test_a_torn_row_goes_and_no_removable_row_stays_if_it_is_not_known_what_is_sent(
    tmp_path: Path, form: Format
) -> None:
    """As with a pipe, whose IDs come later."""
    rows, cut_id = _torn_file()
    path = tmp_path / f"r.{form}"
    path.write_bytes(content(form, *rows) + encode([result(cut_id)], form)[:-1])
    resumed = _resume(path, form, None)
    kept = [each for each in rows if each.outcome not in SENT_AGAIN]
    assert path.read_bytes() == content(form, *kept)
    assert resumed.outcomes == Counter(each.outcome for each in kept)


@forms
def test_rows_kept_are_not_written_anew(tmp_path: Path, form: Format) -> None:
    """A row that another hand has spaced or quoted is the same to the byte, sent or not.

    So is one whose line ends as on Windows. Broken rows and second ones go with the torn one.
    """

    def otherwise(instance_id: str, outcome: Outcome) -> bytes:
        line = encode([result(instance_id, outcome)], form)[:-1]
        if form is Format.JSONL:
            return json.dumps(json.loads(line), separators=(" ,  ", " :"), sort_keys=True).encode()
        return line.replace(outcome.encode(), f'"{outcome}"'.encode()) + b"\r"

    kept, left, sent, twice = (
        otherwise(each, word) + b"\n"
        for each, word in zip(
            IDS[:4],
            (Outcome.CANCELED, Outcome.FAILED, Outcome.UNCONFIRMED, Outcome.COMPLETED),
            strict=True,
        )
    )
    second = encode([result(IDS[1], Outcome.FORBIDDEN)], form)
    path = tmp_path / f"r.{form}"
    lines = (kept, left, sent, twice, b"broken\n", second, twice, sent[:-1])
    path.write_bytes(form.header + b"".join(lines))
    resumed = _resume(path, form, _ids_of([result(IDS[2])]))
    assert path.read_bytes() == form.header + kept + left + twice
    said = ("does not parse", "is a second row", f"cut {len(sent) - 1} bytes")
    assert len(resumed.notes) == len(said)
    assert all(word in note for word, note in zip(said, resumed.notes, strict=True))
    assert resumed.outcomes == Counter([Outcome.CANCELED, Outcome.FAILED, Outcome.COMPLETED])


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
def test_rows_to_be_sent_again_are_taken_out(tmp_path: Path, form: Format) -> None:
    """As the table of outcomes says; so there is one row for each ID at all times."""
    outcomes = list(Outcome)
    ids = make_ids(len(outcomes))
    results = [result(each, word) for each, word in zip(ids, outcomes, strict=True)]
    path = _file(tmp_path, form, *results)
    resumed = _resume(path, form)
    again = {Outcome.FORBIDDEN, Outcome.FAILED, Outcome.UNCONFIRMED}
    assert path.read_bytes() == content(form, *(r for r in results if r.outcome not in again))
    assert len(resumed.again_ids) == 3
    failed = ids[outcomes.index(Outcome.FAILED)]
    assert [each for each in ids if resumed.has_failed(pack(each))] == [failed]
    assert resumed.outcomes.total() == len(outcomes) - 3
    assert resumed.kept_failures(frozenset()) == 3  # not_found, rejected, invalid
    assert (path.stat().st_mode & 0o777) == 0o600


@forms
def test_a_second_row_for_an_id_is_taken_out(tmp_path: Path, form: Format) -> None:
    """The first one counts, and the finding is told."""
    path = _file(tmp_path, form, result(IDS[0]), result(IDS[1]), result(IDS[0]))
    resumed = _resume(path, form)
    assert path.read_bytes() == content(form, result(IDS[0]), result(IDS[1]))
    assert "second row" in resumed.notes[0]


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
@pytest.mark.parametrize("outcome", [Outcome.ACCEPTED, Outcome.FAILED])
def test_ids_read_back_are_small(tmp_path: Path, outcome: Outcome) -> None:
    """At most 100 bytes each, so that a million fit a small container."""
    count = 100_000
    path = _file(tmp_path, Format.CSV, *(result(each, outcome) for each in make_ids(count)))
    tracemalloc.start()
    resumed, needed = read_back(path, Format.CSV, HOST, SENT_AGAIN)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(resumed.done) + len(needed.removable) == count
    assert peak < 100 * count
