"""Rows brought up to date with what looking at their IDs has found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bulkcancel.errors import ResultsError
from bulkcancel.ids import pack
from bulkcancel.models import CancelResult, Finding, Outcome
from bulkcancel.results.codec import Format, decode
from bulkcancel.results.earlier.update import Change, update
from tests.support.results import content, opened, reserved, result
from tests.support.runs import make_ids

IDS = make_ids(8)
forms = pytest.mark.parametrize("form", list(Format))
STOPPED = Finding(Outcome.CANCELED, "CANCELLED", "")


def _file(tmp_path: Path, form: Format, *results: CancelResult, rest: bytes = b"") -> Path:
    path = tmp_path / f"r.{form}"
    path.write_bytes(content(form, *results) + rest)
    return path


def _update(path: Path, form: Format, findings: dict[str, Finding]) -> list[Change]:
    packed = {pack(each): finding for each, finding in findings.items()}
    changes: list[Change] = []
    update(path, form, packed.get, changes.append)
    return changes


def _rows(path: Path, form: Format) -> list[CancelResult]:
    lines = path.read_bytes().removeprefix(form.header).splitlines()
    return [decode(line, form) for line in lines]


@forms
def test_what_was_found_is_in_the_rows(tmp_path: Path, form: Format) -> None:
    """Outcome, status and error are new; all that the cancel itself had said stays."""
    name = '=cmd|\' \u202e"Règlement, "2"'
    before = [
        result(IDS[0], status=None, model_name=name),
        result(IDS[1], Outcome.UNCONFIRMED),
        result(IDS[2], attempts=3, latency_ms=None, http_status=None),
    ]
    path = _file(tmp_path, form, *before)
    kept = _rows(path, form)
    failed = Finding(Outcome.COMPLETED, "FAILED", "")
    late = Finding(Outcome.UNCONFIRMED, "IN_PROGRESS", "not_confirmed: no, it goes on")
    changes = _update(path, form, {IDS[0]: STOPPED, IDS[1]: failed, IDS[2]: late})
    assert _rows(path, form) == [
        kept[0]._replace(outcome=Outcome.CANCELED, status="CANCELLED", error=""),
        kept[1]._replace(outcome=Outcome.COMPLETED, status="FAILED", error=""),
        kept[2]._replace(outcome=late.outcome, status=late.status, error=late.error),
    ]
    assert [change.old for change in changes] == kept
    assert [change.new for change in changes] == _rows(path, form)
    assert path.stat().st_mode & 0o777 == 0o600


@forms
def test_every_other_line_stays_byte_for_byte(tmp_path: Path, form: Format) -> None:
    """Other outcomes, IDs not looked at, edited lines and a torn last row: as they were."""
    final = [o for o in Outcome if o not in {Outcome.ACCEPTED, Outcome.UNCONFIRMED}]
    rows = [result(IDS[n] if o is not Outcome.INVALID else "../x", o) for n, o in enumerate(final)]
    path = _file(tmp_path, form, *rows, result(IDS[7]))
    edited = path.read_bytes() + b"edited by hand\n" + content(form, result(IDS[1]))[-300:-9]
    path.write_bytes(edited)
    changes = _update(path, form, dict.fromkeys(IDS[:7], STOPPED))
    assert path.read_bytes() == edited
    assert changes == []


@forms
def test_a_row_of_another_kind_that_does_not_parse_is_left(tmp_path: Path, form: Format) -> None:
    """A row that somebody has edited is not thrown away because its ID was looked at."""
    path = _file(tmp_path, form, result(IDS[0]))
    broken = path.read_bytes().replace(b"2026-03-04", b"yesterday")
    path.write_bytes(broken)
    assert _update(path, form, {IDS[0]: STOPPED}) == []
    assert path.read_bytes() == broken


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@forms
def test_what_cannot_be_written_changes_nothing(
    tmp_path: Path, form: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: the file is as it was, nothing is left beside it, and it is said what to do."""
    path = _file(tmp_path, form, result(IDS[0]), result(IDS[1]))
    before = path.read_bytes()
    real = os.open

    def full(name: str | Path, flags: int, mode: int = 0o777) -> int:
        if str(name).endswith(".rewrite"):
            return real("/dev/full", os.O_WRONLY)
        return real(name, flags, mode)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(ResultsError, match=r"No space left.*bulkcancel verify"):
        _update(path, form, {IDS[0]: STOPPED})
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_run_tells_its_rows_from_earlier_ones(tmp_path: Path) -> None:
    """Both are brought up to date; the figures of a run are of its own rows."""
    path = _file(tmp_path, Format.CSV, result(IDS[0]), result(IDS[1], Outcome.NOT_FOUND))
    file = opened(path, "resume")
    file.write([result(IDS[2]), result(IDS[3])])
    told: list[tuple[str, Outcome, bool]] = []
    file.bring_up_to_date(
        {pack(each): STOPPED for each in (IDS[0], IDS[3])}.get,
        lambda old, new, earlier: told.append((old.instance_id, new.outcome, earlier)),
    )
    file.close()
    assert told == [(IDS[0], Outcome.CANCELED, True), (IDS[3], Outcome.CANCELED, False)]
    assert [row.outcome.value for row in _rows(path, Format.CSV)] == [
        "canceled", "not_found", "accepted", "canceled",
    ]  # fmt: skip
    assert file.failure is None
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_file_that_is_only_looked_at_keeps_its_torn_row(tmp_path: Path) -> None:
    """Nothing but a run that goes on with it repairs a file."""
    path = _file(tmp_path, Format.CSV, result(IDS[0]), rest=b"torn,")
    file = reserved(path, "resume", asks=True)
    assert file.resumed is not None
    assert list(file.resumed.ids_unseen()) == [pack(IDS[0])]
    file.bring_up_to_date({pack(IDS[0]): STOPPED}.get, lambda *_: None)
    file.close()
    assert path.read_bytes().endswith(b"\ntorn,")
    assert b",canceled,CANCELLED," in path.read_bytes()


def test_rows_that_are_sent_again_are_not_looked_at(tmp_path: Path) -> None:
    """What a resumed run cancels again it looks at after that; the kept ones are looked at."""
    rows = [result(IDS[0]), result(IDS[1], Outcome.UNCONFIRMED), result(IDS[2], Outcome.CANCELED)]
    file = reserved(_file(tmp_path, Format.CSV, *rows), "resume", asks=True)
    file.close()
    assert file.resumed is not None
    assert list(file.resumed.ids_unseen()) == [pack(IDS[0])]
    assert file.resumed.unseen_count == 1
