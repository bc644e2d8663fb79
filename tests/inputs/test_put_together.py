"""Tables put together, titles above and totals below: only what is listed as an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bulkcancel.errors import InputError
from bulkcancel.inputs import CheckedInput, InputOptions, stream
from bulkcancel.models import Target
from tests.support.input_files import A, B, C, D, check, ids, places

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("instanceId,parentInstanceId", "instanceId,parentInstanceId"),
        ("instanceId,parentInstanceId", "\ufeffinstanceId,parentInstanceId"),
        ("instanceId,parentInstanceId", '"instanceId","parentInstanceId"'),
        ("instanceId,parentInstanceId", '\ufeff"Instance ID",parent_instance_id'),
        ("\ufeffinstanceId,parentInstanceId", "instanceId,parentInstanceId\r"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"where": ("parentInstanceId!=x",)}, {"column": "1"}])
def test_the_same_header_again_is_no_row(
    tmp_path: Path, first: str, again: str, options: dict[str, Any]
) -> None:
    """As `cat` makes it of several exports; said once, with its line."""
    content = f"{first}\n{A},{C}\n" + f"{again}\n{B},{D}\n" * 2
    checked = check(tmp_path, content, **options)
    assert (ids(checked), places(checked)) == ([A, B], ["runs.csv:2", "runs.csv:4"])
    assert (checked.counts.rows, checked.counts.duplicates) == (3, 1)
    (note,) = [note for note in checked.notes if "header again" in note]
    assert "runs.csv, line 3: " in note


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (f"instanceId,parentInstanceId\n{A},{C}\nparentInstanceId,instanceId\n{D},{B}\n", 3),
        ("instanceId,parentInstanceId\nparentInstanceId,instanceId\n", 2),
        (f"instanceId,n,m\n{A},1,2\nm,n,run\n{D},{B},3\n", 3),
        (f"instanceId,n,m\n{A},1,2\nparent,x,execution_id\n{D},y,{B}\n", 3),
        (f"instanceId,n,m\n{A},1,2\nparent,executionId\n{D},{B}\n", 3),
        (f"instanceId,n\n{A},1\nparentInstanceId;instanceId\n{D};{B}\n", 3),
        (f"instanceId,n\n{A},1\nparentId,run\n{D},{B}\n", 3),
        (f"instanceId\n{A}\nparentInstanceId\n{D}\n", 3),
        (f"instanceId\n{A}\nparentInstanceId,instanceId\n{D},{B}\n", 3),
        (f"x,{A}\ninstanceId,n\n{D},{B}\n", 2),
        (f"{A}\nparentInstanceId\n{D}\n", 2),
        (f"instanceId,modelId\n{A},{C}\nModel,Instance\n{D},{B}\n", 3),
        (f"instanceId,modelId\n{A},{C}\nmodel_uuid,run_uuid\n{D},{B}\n", 3),
        (f"instanceId,modelId\n{A},{C}\nWorkflow,Execution\n{D},{B}\n", 3),
        (f"instanceId,modelId\n{A},{C}\n\nModel,Name\n{D},Invoice\n", 4),
        (f"instanceId,modelId\n{A},{C}\n\nModels\n{D}\n", 4),
        (f"m,instanceId\n{C},{A}\ninstanceId;m\n{B};{D}\n", 3),
        (f"{A}\nmodels:\n{D}\n", 2),
        (f"{A}\nparents\n{D}\n", 2),
        # The first file does not end with a line end.
        (f"instanceId,parentId\n{A},{C}parentId,instanceId\n{D},{B}\n", 2),
        (f"instanceId,n\n{A},xinstanceId,n\n{B},y\n", 2),
        (f"parent,instanceId\n{C},{A}instanceId,parent\n{B},{D}\n", 2),
        (f"instanceId\n{A}parentInstanceId\n{D}\n", 2),
    ],
)
def test_another_table_behind_the_first_is_refused(tmp_path: Path, content: str, line: int) -> None:
    """Its columns may be in another order: the parents of its rows would be cancelled."""
    with pytest.raises(InputError, match=rf"line {line}: .*header of another table.*a\.csv b\.csv"):
        check(tmp_path, content)


@pytest.mark.parametrize(
    "row",
    [
        "Total,2",
        ",",
        "invalid,x",
        "n/a,name",
        f"instance id pending,{D}",
        "see id,y,z",
        "paid,void",
        ",Vendor Workflow",
        "pending,Test Workflow",
        "no instance,Invoice Approval",
        "-,instance",
    ],
)
def test_a_row_without_an_id_is_no_header(tmp_path: Path, row: str) -> None:
    """Totals, remarks and what else people write below or between are invalid rows."""
    checked = check(tmp_path, f"instanceId,n\n{A},1\n{row}\n{B},2\n")
    assert ids(checked) == [A, B]
    assert checked.counts.invalid == (row != ",")


@pytest.mark.parametrize("name", ["ids.txt", "runs.csv"])
@pytest.mark.parametrize("word", ["parents", "\ufeffparents", "Eltern", "_id"])
def test_files_put_together_without_a_line_end_are_refused(
    tmp_path: Path, name: str, word: str
) -> None:
    """Whatever the second one's only column is called: its rows may be something else's IDs."""
    header = "" if name == "ids.txt" else "instanceId\n"
    with pytest.raises(InputError, match=f"line {1 + bool(header)}: "):
        check(tmp_path, f"{header}{A}{word}\n{D}\n", name=name)


@pytest.mark.parametrize("text", [f"{A}x", f"{A}0", f"{A} stuck", f"{A}-2", f"{A[:-1]}", f"{A}abc"])
def test_a_slip_at_the_end_of_an_id_is_an_invalid_row(tmp_path: Path, text: str) -> None:
    """A digit or a remark too many concerns its row alone."""
    checked = check(tmp_path, f"instanceId\n{text}\n{B}\n")
    assert (ids(checked), checked.counts.invalid) == ([B], 1)


def test_another_table_in_a_pipe_stops_there() -> None:
    """What came before it has come out; nothing after it does."""
    data = f"instanceId,parentInstanceId\n{A},{C}\nparentInstanceId,instanceId\n{D},{B}\n"
    items = stream([data.encode()], InputOptions(), CheckedInput())
    assert next(items) == Target(A, "-:2")
    with pytest.raises(InputError, match=r"standard input, line 3: .*another table"):
        next(items)


def test_a_header_in_a_list_of_ids_is_skipped(tmp_path: Path) -> None:
    """One column read as lines: its header, where it stands again, is no row."""
    checked = check(tmp_path, f"{A}\ninstanceId\n{B}\n", name="ids.txt")
    assert (ids(checked), checked.counts.rows) == ([A, B], 2)
    checked = check(tmp_path, f"instanceId\n{A}\n\ufeffinstanceId\n{B}\n", name="ids.txt")
    assert (ids(checked), checked.counts.rows) == ([A, B], 2)


TITLES = "Stuck runs, exported 1 May\n\nConfidential\n"


@pytest.mark.parametrize("name", ["runs.csv", "runs.tsv", "runs", "-", "runs.jsonl"])
@pytest.mark.parametrize(
    "titles", [TITLES, "Stuck runs\n# by id; all\n", '"Stuck; runs"\n,,\n', "a\n" * 9]
)
def test_a_header_below_titles_is_found(tmp_path: Path, name: str, titles: str) -> None:
    """By its known name in the first ten lines; which line was taken is said."""
    checked = check(tmp_path, f"{titles}Name;Instance ID\nx;{A}\nTotal;1\n", name=name)
    line = titles.count("\n") + 1
    assert places(checked) == [f"{name}:{line + 1}"]
    assert [row.text for row in checked.invalid] == ["1"]
    assert any(f"line {line} is taken as the header" in note for note in checked.notes)


def test_a_header_below_titles_can_be_named(tmp_path: Path) -> None:
    """`--column` is looked for like the known names; a comma in a title decides nothing."""
    checked = check(tmp_path, f"{TITLES}Run;Name\n{A};x\n", column="Run")
    assert ids(checked) == [A]
    checked = check(tmp_path, f"Stuck runs, all\nRun\n{A}\n", name="x.txt", column="run")
    assert ids(checked) == [A]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{TITLES}Run;Name\n{A};x\n", r'line 4: .*"Run" holds an ID, so try --column "Run"'),
        (f"Stuck runs\n{A}\n", r'line 1: .*try --column "Stuck runs"'),
        ("a\n" * 10 + f"instanceId\n{A}\n", r"line 1: .*--column NAME"),
        (f"Stuck runs\n#,{A}\nx,{B}\n", "line 1: .*--column NAME"),
        (f"field,value\nid,{A}\n", r'line 1: .*"value" holds an ID'),
    ],
)
def test_titles_without_a_known_header_are_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    """The line that seems to be the header is named, with the option that takes it."""
    with pytest.raises(InputError, match=message):
        check(tmp_path, content)


def test_the_advice_about_titles_works(tmp_path: Path) -> None:
    """What the refusals above propose reads the IDs; where nothing does, that is said."""
    assert ids(check(tmp_path, f"{TITLES}Run;Name\n{A};x\n", column="Run")) == [A]
    assert ids(check(tmp_path, f"Stuck runs\n{A}\n", column="Stuck runs")) == [A]
    with pytest.raises(InputError, match="no line among the first ten has it"):
        check(tmp_path, "a\n" * 10 + f"Run\n{A}\n", column="Run")


def test_rows_read_while_the_header_is_looked_for_are_kept(tmp_path: Path) -> None:
    """Whatever they look like: nothing is passed over silently."""
    content = f"no,run\n#1,{A}\nx,bad\n#2,{B}\n"
    checked = check(tmp_path, content, column="2")
    assert (ids(checked), checked.counts.invalid) == ([A, B], 1)


def test_titles_above_a_list_are_invalid_rows(tmp_path: Path) -> None:
    """A list without a header has no titles to skip: each is told, none hides an ID."""
    checked = check(tmp_path, f"Stuck runs\nof May\n{A}\n{B}\n", name="ids.txt")
    assert (ids(checked), checked.counts.invalid) == ([A, B], 2)
