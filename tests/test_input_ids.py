"""Which IDs are taken, once each, from where, and how many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bulkcancel.errors import InputError, UsageError
from bulkcancel.source import Condition, InputOptions, check_files
from tests.input_files import A, B, C, D, check, ids, places

if TYPE_CHECKING:
    from pathlib import Path

PAGE = f"https://acme.domo.com/workflows/instances/{B}/1.0.0/{A}"


def test_lines_of_ids_with_comments_are_read(tmp_path: Path) -> None:
    """One ID or page address a line; `#` begins a comment at the start or after a space."""
    checked = check(
        tmp_path,
        f"# stuck\n\n  {B.upper()}\t# since May\n{PAGE}\n   # end\n{C}#x\n",
        name="ids.txt",
    )
    assert (ids(checked), places(checked)) == ([B, A], ["ids.txt:3", "ids.txt:4"])
    assert [(row.text, row.reason) for row in checked.invalid] == [(f"{C}#x", "not a UUID")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("../../x", "not a UUID"),
        ("%2e%2e", "not a UUID"),
        (f"{A}?b", "not a UUID"),
        (f"{A}/../x", "not a UUID"),
        (f'"{A}\n{B}"', "not a UUID"),
        (f"{{{A}}}", "a UUID in brackets: take them off"),
        (f"urn:uuid:{A}", "a UUID with urn:uuid: before it: give the UUID alone"),
        (A.replace("-", ""), "a UUID without its dashes"),
        ("".join(chr(ord(c) + 0xFEE0) for c in A), "a UUID in full-width or other letters"),
        (f"https://acme.domo.com/x/{A}", "an address that is not an executions page"),
        (f"'{A}'", "a UUID in quotes"),
        (A[:-1], "not a UUID"),
        (f"{A} {B}", "not a UUID"),
    ],
)
def test_what_is_no_id_is_a_row_with_its_reason(tmp_path: Path, text: str, reason: str) -> None:
    """Nothing but a UUID or a page address is ever taken; the reason helps to mend it."""
    header = f"n,m,instanceId\n1,2,{D}\n"
    checked = check(tmp_path, f"{header}3,4,{text}\n", column="instanceId")
    assert ids(checked) == [D]
    (row,) = checked.invalid
    assert (row.text, row.source.rpartition("/")[2]) == (text.strip('"'), "runs.csv:3")
    assert row.reason.startswith(reason)


def test_an_empty_cell_and_a_long_one_are_told(tmp_path: Path) -> None:
    """An empty ID cell in a row with other cells is invalid; a long one is cut."""
    checked = check(tmp_path, f"instanceId,n\n,x\n  ,y\n{'z' * 999},y\n")
    assert [(len(row.text), row.reason) for row in checked.invalid] == [
        (0, "empty"),
        (2, "empty"),
        (200, "not a UUID"),
    ]


def test_an_id_is_taken_once_however_often_and_wherever_it_stands(tmp_path: Path) -> None:
    """A thousand times, in two files, in two spellings: one target, where it first stood."""
    checked = check(
        tmp_path, f"instanceId,n\n{B},0\n" + f"{A},1\n" * 1000, f"{A.upper()}\n {A} \n{PAGE}\n{C}\n"
    )
    assert ids(checked) == [B, A, C]
    assert places(checked) == ["runs.csv:2", "runs.csv:3", "1-runs.csv:4"]
    assert checked.counts.duplicates == 999 + 3


def test_limit_counts_distinct_ids_and_still_checks_the_rest(tmp_path: Path) -> None:
    """`--limit 2` takes two IDs, tells what lies beyond, and refuses a broken row there."""
    content = f"instanceId,n\n{A},1\n{A},1\n{B},1\n{C},1\n{D},1\n{A},1\nbad,1\n"
    checked = check(tmp_path, content, limit=2)
    assert ids(checked) == [A, B]
    counts = checked.counts
    assert (counts.duplicates, counts.beyond_limit, counts.invalid) == (2, 2, 1)
    with pytest.raises(InputError, match="line 9"):
        check(tmp_path, content + f'{D},"x\n', limit=2)


def test_an_open_file_is_read_like_a_path(tmp_path: Path) -> None:
    """A redirected standard input is a file with the name `-`, and is checked whole."""
    path = tmp_path / "x"
    path.write_text(f"{A}\n", "utf-8")
    steps: list[tuple[int, int]] = []
    with path.open("rb") as file:
        checked = check_files(
            [("-", file), str(path)], InputOptions(), on_progress=lambda *step: steps.append(step)
        )
        assert not file.closed
    assert [(target.instance_id, target.source) for target in checked] == [(A, "-:1")]
    assert steps == [(37, 74), (74, 74)]


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("a=b", Condition("a", "b", negated=False)),
        (" a b != c=d ", Condition("a b", "c=d", negated=True)),
        ("a=", Condition("a", "", negated=False)),
        ("a=!b", Condition("a", "!b", negated=False)),
    ],
)
def test_conditions_are_parsed(text: str, condition: Condition) -> None:
    """The first `=` divides; `!` before it negates."""
    assert Condition.parse(text) == condition


@pytest.mark.parametrize("text", ["", "a", "=b", "!=b", " =x"])
def test_a_condition_needs_a_column_and_a_sign(text: str) -> None:
    """What is not COLUMN=VALUE is a mistake in the usage."""
    with pytest.raises(UsageError, match="--where"):
        Condition.parse(text)
