"""What the plan says of the runs that are about to be cancelled."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bulkcancel.models import Breakdown
from bulkcancel.reporting.breakdown import breakdown_event, breakdown_rows

OLDEST = datetime(2026, 1, 12, 7, 18, 6)  # noqa: DTZ001 - as an export has it


def _rows(told: Breakdown) -> list[tuple[str, str]]:
    return [(name, text) for name, text, _ in breakdown_rows(told)]


def test_the_five_most_frequent_workflows_are_named() -> None:
    """The others are counted; figures stand one under the other."""
    workflows = {name: 1200 // place for place, name in enumerate("abcdefg", 1)}
    assert _rows(Breakdown(workflows=workflows)) == [
        ("workflows", "1,200 a"),
        ("", "  600 b"),
        ("", "  400 c"),
        ("", "  300 d"),
        ("", "  240 e"),
        ("", "  371 of 2 others"),
    ]
    assert breakdown_event(Breakdown(workflows=workflows))["by_workflow"] == {
        "a": 1200, "b": 600, "c": 400, "d": 300, "e": 240,
    }  # fmt: skip


def test_names_beyond_the_limit_are_counted_together() -> None:
    """Their number is not known, which is said."""
    told = Breakdown(workflows={"a": 2, "b": 1}, other_workflows=40)
    assert _rows(told)[-1] == ("", "40 of other workflows")


@pytest.mark.parametrize(
    ("statuses", "column", "said"),
    [
        (
            {"RUNNING": 9, "COMPLETED": 1},
            "Status",
            "1 is over already: {Status!=COMPLETED} leaves it",
        ),
        (
            {"FAILED": 2, "Canceled": 1},
            "a",
            "3 are over already: {a!=FAILED} {a!=Canceled} leave them",
        ),
        ({"FAILED": 2}, "it is", "2 are over already: {it is!=FAILED} leaves them"),
        ({"CANCELLED": 2}, "", "2 are over already"),
        ({"CANCELLED": 2}, "sta\x1btus", "2 are over already"),  # what is shown is not its name
    ],
)
def test_statuses_that_say_that_a_run_is_over_are_pointed_out(
    statuses: dict[str, int], column: str, said: str
) -> None:
    """With the words of the input, in any case of letters, and what leaves them out."""
    told = Breakdown(statuses=statuses, status_column=column)
    said = said.replace("{", "--where '").replace("}", "'")
    assert _rows(told)[-1] == ("", f"{said} out" if "--where" in said else said)
    event = breakdown_event(told)
    assert event["by_status"] == statuses
    assert event["ended_already"] == sum(told.ended.values())


def test_statuses_of_runs_that_go_on_are_counted_alone() -> None:
    """Nothing is pointed out."""
    assert _rows(Breakdown(statuses={"IN_PROGRESS": 2})) == [("statuses", "2 IN_PROGRESS")]


def test_starts_have_a_zone_only_where_the_inputs_name_one() -> None:
    """Shown as they stand there, or in UTC; those that say nothing are counted."""
    assert _rows(Breakdown(oldest=OLDEST, newest=OLDEST, without_start=1)) == [
        ("started", "2026-01-12 07:18:06 to 2026-01-12 07:18:06, 1 without a readable start")
    ]
    aware = OLDEST.replace(tzinfo=UTC)
    told = Breakdown(oldest=aware, newest=aware)
    assert _rows(told) == [("started", "2026-01-12 07:18:06 to 2026-01-12 07:18:06 UTC")]
    assert breakdown_event(told)["oldest_start"] == "2026-01-12T07:18:06Z"


def test_inputs_that_say_nothing_add_no_line() -> None:
    """The event has its keys all the same."""
    assert _rows(Breakdown()) == []
    assert breakdown_event(Breakdown()) == {
        "by_workflow": {},
        "by_status": {},
        "ended_already": 0,
        "oldest_start": None,
        "newest_start": None,
    }
