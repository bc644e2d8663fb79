"""The running figures of a run."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from bulkcancel.engine.stats import Stats
from bulkcancel.models import CancelResult, Outcome
from tests.support.runs import make_ids

IDS = make_ids(300)


def _row(n: int, outcome: Outcome = Outcome.ACCEPTED, error: str = "") -> CancelResult:
    return CancelResult(
        IDS[n], outcome, None, None, None, None, 200, 1, error, 1.0,
        datetime(2026, 11, 28, tzinfo=UTC), "acme.domo.com", f"ids.txt:{n}",
    )  # fmt: skip


def test_a_run_begins_with_nothing() -> None:
    """No row, no request, nothing open."""
    assert Stats() == Stats(
        ok=frozenset(), outcomes=Counter(), errors=Counter(), examples={}, requests=0, retries=0,
        throttled=0, in_flight=0, open_ids=set(),
    )  # fmt: skip
    assert Stats().done == Stats().succeeded == Stats().failed == Stats().unanswered == 0


def test_rows_are_counted_by_their_outcome() -> None:
    """Successes are those that are, and those that count as such in this run."""
    rows = [
        *(_row(n) for n in range(3)),
        *(_row(n, Outcome.CANCELED) for n in range(3, 5)),
        _row(5, Outcome.NOT_FOUND, "not_found: HTTP 404"),
        _row(6, Outcome.NOT_FOUND, "not_found: HTTP 404"),
        _row(7, Outcome.FAILED, "timeout: no answer"),
    ]
    strict, lenient = Stats(), Stats(ok=frozenset({Outcome.NOT_FOUND}))
    for stats in (strict, lenient):
        stats.count(rows[:4])
        stats.count(rows[4:])
        assert stats.done == 8
    assert (strict.succeeded, strict.failed) == (5, 3)
    assert (lenient.succeeded, lenient.failed) == (7, 1)
    assert strict.successes == {Outcome.ACCEPTED, Outcome.CANCELED, Outcome.COMPLETED}
    assert lenient.successes == strict.successes | {Outcome.NOT_FOUND}
    assert strict.errors == {"not_found: HTTP 404": 2, "timeout: no answer": 1}
    assert lenient.errors == {"timeout: no answer": 1}


def test_a_success_with_a_word_is_no_failure() -> None:
    """And a row without an error has none to count."""
    stats = Stats(ok=frozenset({Outcome.REJECTED}))
    stats.count([_row(0, Outcome.REJECTED, "rejected: HTTP 409"), _row(1, Outcome.FAILED)])
    assert stats.errors == {}


def test_an_id_with_its_row_is_open_no_more() -> None:
    """What was sent and has no row is unanswered."""
    stats = Stats(open_ids=set(IDS[:5]))
    assert stats.unanswered == 5
    stats.count([_row(1), _row(3), _row(9)])
    assert stats.open_ids == {IDS[0], IDS[2], IDS[4]}
    assert stats.unanswered == 3


def test_failures_are_grouped_whatever_id_they_name() -> None:
    """Most frequent first, each with the first ID that had it."""
    stats = Stats()
    stats.count(
        [
            _row(0, Outcome.FAILED, "timeout: no answer"),
            *(_row(n, Outcome.REJECTED, f"rejected: {IDS[n]} has ended") for n in (4, 3, 2)),
        ]
    )
    assert stats.grouped_errors() == [
        {"error": "rejected: … has ended", "count": 3, "example": IDS[4], "source": "ids.txt:4"},
        {"error": "timeout: no answer", "count": 1, "example": IDS[0], "source": "ids.txt:0"},
    ]


def test_errors_of_too_many_kinds_are_counted_by_their_code() -> None:
    """After two hundred; those that are known go on by their text."""
    stats = Stats()
    stats.count(_row(n, Outcome.REJECTED, f"rejected: no: {n}") for n in range(200))
    assert len(stats.errors) == 200
    stats.count([_row(200, Outcome.REJECTED, "rejected: no: 7")])
    stats.count(_row(n, Outcome.REJECTED, f"rejected: no: {n}") for n in (201, 202, 203))
    stats.count([_row(204, Outcome.FAILED, "timeout: no: 204")])
    assert stats.errors["rejected: no: 7"] == 2
    assert stats.errors["rejected"] == 3
    assert stats.errors["timeout"] == 1
    assert len(stats.errors) == 202
    assert stats.examples["rejected"] == IDS[201]
    assert stats.examples["rejected: no: 7"] == IDS[7]


def test_the_figures_have_their_names() -> None:
    """Outcomes in the order of the alphabet, values as JSON knows them."""
    stats = Stats(requests=9, retries=4, throttled=2, looks=3)
    stats.count([_row(0, Outcome.FAILED, "timeout: no"), _row(1), _row(2), _row(3)])
    figures = stats.figures()
    assert figures == {
        "outcomes": {"accepted": 3, "failed": 1},
        "errors": [{"error": "timeout: no", "count": 1, "example": IDS[0], "source": "ids.txt:0"}],
        "requests": 9,
        "retries": 4,
        "throttled": 2,
        "looks": 3,
    }
    outcomes = figures["outcomes"]
    assert isinstance(outcomes, dict)
    assert list(outcomes) == ["accepted", "failed"]
    assert {type(word) for word in outcomes} == {str}
