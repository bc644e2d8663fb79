"""An earlier row stays until its ID has a new one, whatever ends the run that writes it."""

from __future__ import annotations

import errno
import os
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from bulkcancel.errors import ResultsError
from bulkcancel.ids import pack
from bulkcancel.models import SENT_AGAIN, CancelResult, Finding, Outcome
from bulkcancel.results.codec import Format, encode
from tests.support.results import content, opened, reserved, result
from tests.support.runs import make_ids

IDS = make_ids(6)
OLD = [
    result(IDS[0]),
    result(IDS[1], Outcome.FAILED),
    result(IDS[2], Outcome.FORBIDDEN),
    result("../../x", Outcome.INVALID),
    result(IDS[3], Outcome.UNCONFIRMED),
    result(IDS[4], Outcome.NOT_FOUND),
]
"""What an earlier run has left: the rows of 1, 2 and 3 are sent again."""
NEW = [
    result(IDS[3]),
    result(IDS[5], Outcome.FAILED),
    result("=1", Outcome.INVALID),
    result(IDS[1], Outcome.FAILED, attempts=2),
]
"""What this run writes, before it stops; 2 is not reached."""
SETTLED = [OLD[0], *OLD[2:4], OLD[5], *NEW]
forms = pytest.mark.parametrize("form", list(Format))


def _file(tmp_path: Path, form: Format, *rows: CancelResult, rest: bytes = b"") -> Path:
    path = tmp_path / f"r.{form}"
    path.write_bytes(content(form, *rows) + rest)
    return path


@forms
def test_a_row_goes_when_its_id_has_a_new_one(tmp_path: Path, form: Format) -> None:
    """It is in the file until the end, and from its replacement on it does not count."""
    path = _file(tmp_path, form, *OLD)
    with closing(opened(path, "resume")) as file:
        assert file.resumed is not None
        assert file.resumed.kept_failures(frozenset()) == 5
        file.write(NEW)
        assert path.read_bytes() == content(form, *OLD, *NEW)
        assert +file.resumed.outcomes == Counter(
            each.outcome for each in (OLD[0], *OLD[2:4], OLD[5])
        )
    assert path.read_bytes() == content(form, *SETTLED)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@forms
def test_a_run_that_writes_nothing_loses_nothing(tmp_path: Path, form: Format) -> None:
    """Stopped before the first answer: the file is as it was, without its torn row."""
    path = _file(tmp_path, form, *OLD, rest=encode(NEW[:1], form)[:-9])
    before = path.stat().st_ino
    opened(path, "resume").close()
    assert path.read_bytes() == content(form, *OLD)
    assert path.stat().st_ino == before


@forms
def test_the_right_rows_go_from_a_file_that_was_repaired(tmp_path: Path, form: Format) -> None:
    """Though all of them have moved: a broken row stood before them, and an older one."""
    path = _file(tmp_path, form, OLD[2])
    with path.open("ab") as file:
        file.write(b"broken\n" + encode(OLD, form) + b"{}\n")
    with closing(opened(path, "resume")) as results:
        assert path.read_bytes() == content(form, *OLD)
        results.write(NEW)
    assert path.read_bytes() == content(form, *SETTLED)


@forms
def test_killed_at_any_byte_a_resumed_run_puts_all_right(tmp_path: Path, form: Format) -> None:
    """One row for each ID, the newest that is whole, and it is known what is sent again."""
    path = tmp_path / f"r.{form}"
    start, new = content(form, *OLD), encode(NEW, form)
    for size in range(0, len(new) + 1, 7):
        path.write_bytes(start + new[:size])
        whole = NEW[: new[:size].count(b"\n")]
        replaced = {each.instance_id for each in whole}
        kept = [each for each in OLD if each.instance_id not in replaced]
        with closing(opened(path, "resume")) as file:
            assert path.read_bytes() == content(form, *kept, *whole)
            assert file.resumed is not None
            assert +file.resumed.outcomes == Counter(each.outcome for each in (*kept, *whole))
            sent = [each for each in IDS if file.resumed.is_sent_again(pack(each))]
        again = {each.instance_id for each in (*kept, *whole) if each.outcome in SENT_AGAIN}
        assert set(sent) == again


@forms
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_old_rows_that_cannot_be_taken_out_are_told(
    tmp_path: Path, form: Format, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk without room for the new file: no row is lost, and the next run puts it right."""
    path = _file(tmp_path, form, *OLD)
    file = opened(path, "resume")
    file.write(NEW)
    file.sync()

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(os if call == "fsync" else Path, call, fails)
        broken.setattr(file, "_sync", lambda: None)
        with pytest.raises(ResultsError, match=r"holds every result.*No space.*do the same again"):
            file.close()
    assert file.failure is not None
    file.close()
    assert path.read_bytes() == content(form, *OLD, *NEW)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    opened(path, "resume").close()
    assert path.read_bytes() == content(form, *SETTLED)


@forms
def test_after_a_failed_write_nothing_is_rewritten(tmp_path: Path, form: Format) -> None:
    """A file that was replaced, say, is not ours any more."""
    path = _file(tmp_path, form, *OLD)
    file = opened(path, "resume")
    file.write(NEW)
    path.unlink()
    path.write_bytes(b"another's")
    with pytest.raises(ResultsError, match="replaced by another"):
        file.close()
    assert path.read_bytes() == b"another's"


@forms
def test_what_was_found_and_what_was_replaced_are_one_rewrite(tmp_path: Path, form: Format) -> None:
    """The old row of an ID that was looked at is no second one to be brought up to date."""
    path = _file(tmp_path, form, *OLD)
    file = opened(path, "resume")
    file.write(NEW)
    told: list[tuple[str, Outcome, bool]] = []
    file.bring_up_to_date(
        dict.fromkeys(map(pack, (IDS[0], IDS[3])), Finding(Outcome.CANCELED, "CANCELLED", "")).get,
        lambda old, new, earlier: told.append((old.instance_id, new.outcome, earlier)),
    )
    file.close()
    assert told == [(IDS[0], Outcome.CANCELED, True), (IDS[3], Outcome.CANCELED, False)]
    expected = [
        each._replace(outcome=Outcome.CANCELED, status="CANCELLED")
        if each.instance_id in {IDS[0], IDS[3]}
        else each
        for each in SETTLED
    ]
    assert path.read_bytes() == content(form, *expected)


@forms
def test_a_killed_runs_file_that_is_only_looked_at(tmp_path: Path, form: Format) -> None:
    """The later row of an ID is asked after, and the older one goes; broken rows stay."""
    path = _file(tmp_path, form, *OLD, *NEW)
    with path.open("ab") as more:
        more.write(b"broken\n")
    file = reserved(path, "resume", asks=True)
    assert file.resumed is not None
    assert list(file.resumed.ids_unseen()) == [pack(IDS[0]), pack(IDS[3])]
    told: list[CancelResult] = []
    file.bring_up_to_date(
        {pack(IDS[3]): Finding(Outcome.CANCELED, "CANCELLED", "")}.get,
        lambda _old, new, _earlier: told.append(new),
    )
    file.close()
    assert [each.instance_id for each in told] == [IDS[3]]
    expected = [
        each._replace(outcome=Outcome.CANCELED, status="CANCELLED") if each is NEW[0] else each
        for each in SETTLED
    ]
    assert path.read_bytes() == content(form, *expected) + b"broken\n"
