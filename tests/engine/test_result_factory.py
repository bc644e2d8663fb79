"""The result of one ID, column by column."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bulkcancel.engine.result_factory import ResultFactory
from bulkcancel.http.faults import AttemptTimeoutError
from bulkcancel.models import CancelResult, InvalidRow, Outcome, Target
from tests.support import faulty_answers as answers
from tests.support.runs import make_ids
from tests.support.virtual_server import read

ID = make_ids(1)[0]
TARGET = Target(ID, "ids.txt:1")
FINISHED_AT = datetime(2026, 11, 28, 3, 0, tzinfo=UTC)
RESULTS = ResultFactory("acme.domo.com", lambda: FINISHED_AT)


def test_what_the_server_says_of_an_instance_is_in_its_columns() -> None:
    """One request, unless it is said how many; no error; milliseconds."""
    answer = read(answers.ok(ID, "CANCELED"), ID, 0.25)
    expected = CancelResult(
        ID, Outcome.CANCELED, "CANCELED", "AddTwoNumbers", "1.1.0", answers.MODEL_ID, 200, 1,
        "", 250.0, FINISHED_AT, "acme.domo.com", "ids.txt:1",
    )  # fmt: skip
    assert RESULTS.of(TARGET, answer, Outcome.CANCELED) == expected
    several = RESULTS.of(TARGET, answer, Outcome.CANCELED, requests=3)
    assert several == expected._replace(attempts=3)


def test_an_answer_that_names_no_instance_has_its_status_alone() -> None:
    """And says why."""
    answer = read(answers.problem(404), ID, 0.5)
    assert RESULTS.of(TARGET, answer, Outcome.NOT_FOUND, error="not_found: no") == CancelResult(
        ID, Outcome.NOT_FOUND, None, None, None, None, 404, 1, "not_found: no", 500.0,
        FINISHED_AT, "acme.domo.com", "ids.txt:1",
    )  # fmt: skip


def test_a_fault_has_no_status() -> None:
    """Only how long it took."""
    fault = AttemptTimeoutError("no whole answer within 30 s", latency_s=30.0)
    assert RESULTS.of(TARGET, fault, Outcome.FAILED, error="timeout: no", requests=5) == (
        CancelResult(
            ID, Outcome.FAILED, None, None, None, None, None, 5, "timeout: no", 30_000.0,
            FINISHED_AT, "acme.domo.com", "ids.txt:1",
        )
    )  # fmt: skip


def test_a_row_without_an_id_says_what_stood_there() -> None:
    """No request was sent, nothing was waited for."""
    assert RESULTS.invalid(InvalidRow("abc", "ids.txt:7", "not a UUID")) == CancelResult(
        "abc", Outcome.INVALID, None, None, None, None, None, 0, "invalid_id: not a UUID", None,
        FINISHED_AT, "acme.domo.com", "ids.txt:7",
    )  # fmt: skip


@pytest.mark.parametrize("fault", [LookupError("secret"), ZeroDivisionError()])
def test_a_fault_of_bulkcancel_itself_is_told_by_its_kind(fault: Exception) -> None:
    """Not by its words: they may hold anything."""
    assert RESULTS.bug(TARGET, fault, 3) == CancelResult(
        ID, Outcome.FAILED, None, None, None, None, None, 3,
        f"bad_response: bulkcancel itself failed on this ID ({type(fault).__name__}): "
        "please report it",
        None, FINISHED_AT, "acme.domo.com", "ids.txt:1",
    )  # fmt: skip
