"""What the inputs say of the runs besides their IDs: workflow, status and start."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from bulkcancel.inputs.facts import Facts, Places
from bulkcancel.models import Breakdown
from tests.support.input_files import A, B, C, D, check, instance_id

if TYPE_CHECKING:
    from pathlib import Path

    from bulkcancel.inputs import CheckedInput


def told(checked: CheckedInput) -> Breakdown:
    """Return what is said of all targets."""
    return checked.facts.breakdown(bytearray(b"\1" * len(checked)))


def test_a_table_tells_workflows_statuses_and_starts(tmp_path: Path) -> None:
    """Counted by word, the most frequent first; the oldest and the newest start in UTC."""
    checked = check(
        tmp_path,
        "Instance ID,Workflow,Status,Started At\n"
        f"{A},Close,IN_PROGRESS,2026-01-12T07:00:01.9Z\n"
        f'{B},"Quote, to Cash",IN_PROGRESS,2026-01-13T09:00:00+02:00\n'
        f"{C}, Close ,COMPLETED,2026-01-11T23:00:00-02:00\n",
    )
    assert told(checked) == Breakdown(
        workflows={"Close": 2, "Quote, to Cash": 1},
        statuses={"IN_PROGRESS": 2, "COMPLETED": 1},
        status_column="Status",
        oldest=datetime(2026, 1, 12, 1, tzinfo=UTC),
        newest=datetime(2026, 1, 13, 7, tzinfo=UTC),
    )
    assert list(told(checked).workflows) == ["Close", "Quote, to Cash"]
    assert told(checked).ended == {"COMPLETED": 1}


def test_only_targets_count(tmp_path: Path) -> None:
    """Duplicates, invalid rows and rows that `--where` leaves out are in no count."""
    rows = [(A, "a"), (A, "b"), ("none", "b"), (B, "c"), (C, "left"), (D, "a")]
    text = "id,workflow,kind\n" + "".join(f"{i},{w},{w}\n" for i, w in rows)
    checked = check(tmp_path, text, where=("kind!=left",))
    assert told(checked).workflows == {"a": 2, "c": 1}
    assert checked.facts.breakdown(bytearray(b"\0\1\1")).workflows == {"c": 1, "a": 1}


def test_json_tells_what_stands_beside_the_id(tmp_path: Path) -> None:
    """A status outside of the object that has the ID may be the message's own: it says nothing."""
    line = (
        '{{"status": "ok", "meta": {{"status": "ok"}}, "data": {{"instanceId": "{}", '
        '"status": "{}", "modelName": {}, "startedAt": {}}}}}\n'
    )
    checked = check(
        tmp_path,
        line.format(A, "Failed", '"Close"', 1768203486000)
        + line.format(B, "IN_PROGRESS", "null", '"2026-01-12T07:38:07Z"')
        + f'{{"data": {{"instanceId": "{C}"}}, "modelName": "x"}}\n',
        name="runs.jsonl",
    )
    assert told(checked) == Breakdown(
        workflows={"Close": 1},
        statuses={"Failed": 1, "IN_PROGRESS": 1},
        oldest=datetime(2026, 1, 12, 7, 38, 6, tzinfo=UTC),
        newest=datetime(2026, 1, 12, 7, 38, 7, tzinfo=UTC),
        without_start=1,
    )
    assert told(checked).ended == {"Failed": 1}


def test_a_column_that_only_some_inputs_have_cannot_be_named(tmp_path: Path) -> None:
    """`--where` would be refused for the others, so no `--where` is advised."""
    table = f"id,status\n{A},CANCELLED\n"
    assert told(check(tmp_path, table)).status_column == "status"
    both = told(check(tmp_path, table, f"{B}\n", f"id,State\n{C},Cancelled\n"))
    assert both.status_column == ""
    assert both.statuses == {"CANCELLED": 1, "Cancelled": 1}
    assert sum(both.ended.values()) == 2
    last = check(tmp_path, table, f"{B}\n", f"id,State\n{C},x\n").facts
    assert last.breakdown(bytearray(b"\0\0\1")).statuses == {"x": 1}


@pytest.mark.parametrize(
    "text", ["12.01.2026 08:40", "yesterday", "", "2026-13-01", "0", "1969-12-31", "9999-01-01"]
)
def test_what_is_no_time_is_not_told(tmp_path: Path, text: str) -> None:
    """A day that could be a month, and what no run can have begun at, is left out and counted."""
    only = told(check(tmp_path, f"id,started\n{A},{text}\n"))
    assert (only.oldest, only.newest, only.without_start) == (None, None, 1)
    beside = told(check(tmp_path, f"id,started\n{A},{text}\n{B},2026-01-12 07:18:06\n"))
    assert beside.oldest == beside.newest == datetime(2026, 1, 12, 7, 18, 6)  # noqa: DTZ001
    assert beside.without_start == 1


def test_times_with_and_without_a_zone_are_not_compared(tmp_path: Path) -> None:
    """Nobody knows which is the older."""
    rows = f"{A},2026-01-12 07:18:06\n{B},2026-01-12 07:18:06Z\n"
    assert told(check(tmp_path, f"id,started\n{rows}")).oldest is None


def test_two_columns_of_one_name_tell_nothing(tmp_path: Path) -> None:
    """Which of them is meant is not guessed; another column that is known takes its place."""
    checked = check(tmp_path, f"id,Status,status,State\n{A},x,y,z\n")
    assert told(checked).statuses == {"z": 1}


def test_cells_that_may_have_shifted_tell_nothing(tmp_path: Path) -> None:
    """A row of another length is sent, as its ID is clear; its other cells are not trusted."""
    checked = check(tmp_path, f"id,workflow,status\n{A},a,IN_PROGRESS\n{B},a\n{C},b,c,d\n")
    assert len(checked) == 3
    assert told(checked).workflows == {"a": 1}
    assert told(checked).statuses == {"IN_PROGRESS": 1}
    assert told(checked).status_column == "status"


def test_different_names_are_kept_up_to_a_limit(tmp_path: Path) -> None:
    """The others are counted together, and a name that is known still counts by itself."""
    names = [f"workflow {n}" for n in range(1200)] + ["workflow 0"] * 5 + ["workflow 1199"] * 5
    rows = "".join(f"{instance_id(n)},{name}\n" for n, name in enumerate(names))
    checked = check(tmp_path, f"id,workflow\n{rows}")
    all_of_it = told(checked)
    assert next(iter(all_of_it.workflows.items())) == ("workflow 0", 6)
    assert 900 <= len(all_of_it.workflows) <= 1000
    assert sum(all_of_it.workflows.values()) + all_of_it.other_workflows == len(names)


def test_counting_a_million_starts_takes_no_list_of_them() -> None:
    """Under twelve bytes a target while the breakdown is made; a list of numbers takes forty."""
    facts, targets = Facts(), 50_000
    facts.begin(Places(start=0))
    for second in range(targets):
        facts.add([str(1_700_000_000 + second)])
    facts.settle()
    tracemalloc.start()
    try:
        told = facts.breakdown(bytearray(b"\1") * targets)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (told.without_start, told.newest) == (0, datetime.fromtimestamp(1_700_049_999, UTC))
    assert most < 12 * targets
