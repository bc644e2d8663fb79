"""Delimited text: the right column, the right cell, or a refusal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from bulkcancel.errors import InputError
from tests.support.input_files import A, B, C, D, check, ids, places

if TYPE_CHECKING:
    from pathlib import Path

    from bulkcancel.inputs.columns import Format


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["runs.csv", "runs.txt", "runs.jsonl", "runs"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str, name: str) -> None:
    """Commas, semicolons and tabs are told from the header, whatever the file is called."""
    content = f"name,x;id;status\n1,2;{A};y\n".replace(";", delimiter)
    if delimiter == ",":
        content = content.replace(f"1,2,{A}", f'"1,2",{A}').replace("name,x", "name")
    assert ids(check(tmp_path, content, name=name)) == [A]


def test_the_delimiter_that_makes_sense_is_chosen(tmp_path: Path) -> None:
    """Not the most frequent one, but the one that yields an ID column."""
    assert ids(check(tmp_path, f"a;b;c;d,instanceId\nx;y,{A}\n")) == [A]
    assert ids(check(tmp_path, f"a;b;c;d,{A}\n")) == [A]


@pytest.mark.parametrize(
    ("content", "format_"),
    [
        (f"instanceId,a\tn\n{A},x\ty\n", "csv"),
        (f"instanceId\ta,b,c\n{A}\tx\n", "tsv"),
        (f"instanceId\n{A}\n", "tsv"),
        (f"{A}\n", "csv"),
        (f'"{A}"\n', "csv"),
        (f'"{A}"\n', "jsonl"),
        (f"{A} # x, y\n", "lines"),
    ],
)
def test_a_format_can_be_named(tmp_path: Path, content: str, format_: Format) -> None:
    """`--format` decides against the look of the first line."""
    assert ids(check(tmp_path, content, name="runs", format=format_)) == [A]


def test_a_named_format_is_held_to(tmp_path: Path) -> None:
    """What is not JSON is refused as such, and a line of a list is one ID or none."""
    with pytest.raises(InputError, match="is not JSON"):
        check(tmp_path, f"instanceId\n{A}\n", format="jsonl")
    checked = check(tmp_path, f"instanceId\n{A}\n", format="lines")
    assert (ids(checked), checked.counts.invalid) == ([A], 1)


def test_a_tsv_file_is_cut_at_tabs(tmp_path: Path) -> None:
    """The extension decides where the first line leaves it open."""
    assert ids(check(tmp_path, f"{A}\tx, {B}, y\n", name="runs.tsv")) == [A]


@pytest.mark.parametrize("options", [{"column": "id"}, {"where": ("a=b",)}])
def test_lines_have_no_columns(tmp_path: Path, options: dict[str, Any]) -> None:
    """Options that name columns are refused for a list of IDs rather than ignored."""
    with pytest.raises(InputError, match="lines of IDs"):
        check(tmp_path, f"{A}\n", format="lines", **options)


def test_a_list_with_an_endless_line_is_refused(tmp_path: Path) -> None:
    """A line beyond 128 KiB is no list of IDs."""
    with pytest.raises(InputError, match="line 2: is over 128 KiB"):
        check(tmp_path, f"{A}\n" + "x" * 140_000 + "\n", name="ids.txt")


def test_punctuation_alone_matches_no_other(tmp_path: Path) -> None:
    """`--column '?'` is not the column `#`, although both are nothing once normalised."""
    with pytest.raises(InputError, match=r'no column "\?"'):
        check(tmp_path, f"#,x\n{A},1\n", column="?")


def test_excels_separator_line_is_honoured(tmp_path: Path) -> None:
    """`sep=;` names the delimiter and counts as a line."""
    assert places(check(tmp_path, f"sep=;\r\nn,m;instanceId\r\na,b;{A}\r\n")) == ["runs.csv:3"]


@pytest.mark.parametrize(
    "header",
    [
        "instanceId",
        "Instance ID",
        "INSTANCE_ID",
        "execution-id",
        "id",
        '"instanceId"',
        " instanceId ",
    ],
)
def test_the_usual_names_of_the_id_column_are_known(tmp_path: Path, header: str) -> None:
    """Case, spaces, underscores and quotes in a header do not matter."""
    checked = check(tmp_path, f"model,{header}\nm,{A}\n", f"{header}\n{B}\n")
    assert ids(checked) == [A, B]


def test_the_column_used_is_noted(tmp_path: Path) -> None:
    """A person can see which column the IDs came from."""
    assert check(tmp_path, f"m,Instance ID\n1,{A}\n").notes == [
        'IDs are read from column "Instance ID"'
    ]


def test_a_column_can_be_named(tmp_path: Path) -> None:
    """`--column` matches as spelt, else without regard to case and punctuation."""
    content = f"instanceId,Run,run\n{A},{B},{C}\n"
    assert ids(check(tmp_path, content, column="run")) == [C]
    assert ids(check(tmp_path, content, column="Run")) == [B]
    assert ids(check(tmp_path, content, column="INSTANCE-ID")) == [A]
    assert ids(check(tmp_path, content, column="3")) == [C]
    assert ids(check(tmp_path, f"2,id\n{B},{A}\n", column="2")) == [B]


@pytest.mark.parametrize(
    ("content", "column", "message"),
    [
        (f"ticket,name\n{A},x\n", None, r'columns are "ticket", "name".*--column "ticket"'),
        ("model,name\nm,x\n", None, r'"model", "name": name one with --column NAME'),
        (
            f"id,instanceId\n{A},{B}\n",
            None,
            r'"id" \(column 1\), "instanceId" \(column 2\).*--column',
        ),
        (f"run,run\n{A},{B}\n", "run", r"columns of one name.*rename"),
        (f"instanceId,x\n{A},1\n", "run", r'no column "run"; the columns are "instanceId", "x"'),
        (f"{A},x\n", "instanceId", r"there is no header.*--column 1"),
        (f"{A},{B}\n", None, r"--column 1 or --column 2"),
        (f"{A},x\n", "3", r"--column 3: this row has 2 cells"),
    ],
)
def test_a_column_in_doubt_is_refused(
    tmp_path: Path, content: str, column: str | None, message: str
) -> None:
    """No column, two candidates, a name given twice: refused with the columns seen."""
    with pytest.raises(InputError, match=r"runs\.csv, line 1: .*" + message):
        check(tmp_path, content, column=column)


def test_a_table_without_header_is_read(tmp_path: Path) -> None:
    """When the first row holds an ID it is data; a number can name the column."""
    checked = check(tmp_path, f"x,{A}\ny,{B}\n")
    assert (ids(checked), places(checked)) == ([A, B], ["runs.csv:1", "runs.csv:2"])
    assert ids(check(tmp_path, f"{A},{B}\n{C},{D}\n", column="2")) == [B, D]


def test_quoted_cells_may_hold_anything(tmp_path: Path) -> None:
    """Delimiters, doubled quotes and line ends inside quotes belong to the cell."""
    checked = check(
        tmp_path,
        f'name,"instanceId",note\n"a, ""b""\r\nc",{A},"x\n\ny"\n"p","{B}","q"\n5" pipe,{C},"r"\n',
    )
    assert ids(checked) == [A, B, C]
    assert places(checked) == ["runs.csv:2", "runs.csv:6", "runs.csv:7"]
    assert checked.counts.rows == 3


def test_a_header_may_span_lines(tmp_path: Path) -> None:
    """A quoted line end in the header is part of a column's name."""
    assert places(check(tmp_path, f'"model\nname",instanceId\nm,{A}\n')) == ["runs.csv:3"]


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (f'instanceId,n\n{A},"x\n{B},y\n', 2, "quote opened at line 2 is never closed"),
        (f'instanceId,n\n{A},"x" y\n{B},y\n', 2, "not balanced"),
        (f'instanceId,n\n{A},"x\n{B},y\n{C},z"\n', 2, f"another row, that of {B}"),
        (f'instanceId,n\n{A},"x\n{B},y"\n{C},z\n', 2, f"another row, that of {B}"),
        (f'instanceId,n,m\n{A},"x\n{B},y",z\n', 2, f"another row, that of {B}"),
        (f'n,instanceId,m\na"b,{A},"x\ny,{B},z\nq",{C},r\n', 2, "not balanced|another row"),
        (f'instanceId,n\n{A},"{"x" * 140_000}"\n', 2, "over 128 KiB"),
        (f"instanceId,n\n{A},{'x' * 140_000}\n", 2, "over 128 KiB"),
    ],
)
def test_a_stray_quote_never_swallows_rows(
    tmp_path: Path, content: str, line: int, message: str
) -> None:
    """Rows that a quote would make part of a cell are noticed, at the line where it began."""
    with pytest.raises(InputError, match=rf"runs\.csv, line {line}: .*({message})"):
        check(tmp_path, content)


def test_a_note_of_many_lines_is_no_swallowed_row(tmp_path: Path) -> None:
    """Text that mentions an ID on a line of its own is fine, and so is a row's own last line."""
    content = f'n,instanceId\n"see\n{B}\n, and so on",{A}\n"x\ny",{C}\n'
    assert ids(check(tmp_path, content)) == [A, C]
    assert ids(check(tmp_path, f'instanceId,n\n{A},"see\n{B}"\n')) == [A]


def test_blank_rows_are_no_rows(tmp_path: Path) -> None:
    """Rows of empty cells, as spreadsheets leave them at the end, are not counted."""
    checked = check(tmp_path, f'n,instanceId\n,\n x,{A}\n\n  ,\t \n"",""\n  \n,,,\n')
    assert (ids(checked), checked.counts.rows) == ([A], 1)


def test_a_ragged_row_with_one_id_in_its_place_is_taken(tmp_path: Path) -> None:
    """A missing or an extra cell elsewhere does not matter."""
    checked = check(tmp_path, f"instanceId,n,m\n{A}\n{B},x,y,z\n{C},x,y,,,\n")
    assert (ids(checked), checked.invalid) == ([A, B, C], [])


def test_a_ragged_row_in_doubt_is_invalid(tmp_path: Path) -> None:
    """Cells that may have shifted never name what is cancelled."""
    checked = check(tmp_path, f"n,instanceId,model\na, b,{A},{D}\nc,d,{B},{D}\nx\n{D},{C},y,z\n")
    assert ids(checked) == []
    assert [re.sub(r"; is a.*", "", row.reason) for row in checked.invalid] == [
        "row has 4 cells, the header 3: there is no ID where the others have it",
        "row has 4 cells, the header 3: there is no ID where the others have it",
        "row has 1 cells, the header 3: it ends before the ID",
        "row has 4 cells, the header 3: more than one cell holds an ID",
    ]


def test_comments_may_precede_a_header(tmp_path: Path) -> None:
    """Lines with `#` before the header are skipped; a column called `#` is none."""
    assert places(check(tmp_path, f"# of May, id\n\nm,instanceId\n1,{A}\n")) == ["runs.csv:4"]
    assert ids(check(tmp_path, f"#,instanceId,model\n1,{A},{B}\n")) == [A]


def test_where_selects_rows(tmp_path: Path) -> None:
    """All conditions must hold, exactly and after trimming; what they leave out is counted."""
    content = f"id,status,m\n{A}, IN_PROGRESS ,x\n{B},COMPLETED,x\n{C},IN_PROGRESS,y\nbad,DONE,x\n"
    checked = check(tmp_path, content, where=("Status=IN_PROGRESS", "m!=y"))
    assert (ids(checked), checked.counts.filtered, checked.invalid) == ([A], 3, [])


def test_where_refuses_a_ragged_row(tmp_path: Path) -> None:
    """A condition cannot be sure of a cell that may have shifted."""
    checked = check(
        tmp_path, f"id,n,status\n{A},a, b,COMPLETED\n{B},c,X\n", where=("status!=COMPLETED",)
    )
    assert (ids(checked), checked.counts.invalid) == ([B], 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"id,state\n{A},x\n", r'no column "status"; the columns are "id", "state"'),
        (f"id,status,status\n{A},x,y\n", r'several columns are called "status"'),
        (f"{A},x\n", "there is no header"),
        (f"{A}\n", "there is no header"),
    ],
)
def test_where_needs_its_column(tmp_path: Path, content: str, message: str) -> None:
    """A condition that looks at nothing would select everything or nothing: it is refused."""
    with pytest.raises(InputError, match=message):
        check(tmp_path, content, where=("status!=x",))


def test_a_quote_that_swallows_its_own_row_is_refused(tmp_path: Path) -> None:
    """Opened in the first cell, closed in the next row's: the first row's ID is inside of it."""
    content = f'Name,Instance ID,Status\n"Alpha,{A},RUN\nBeta",{B},RUN\n'
    with pytest.raises(InputError, match="line 2: a quoted cell"):
        check(tmp_path, content)


def test_two_ids_in_a_row_without_a_header_are_refused(tmp_path: Path) -> None:
    """Even where the first row held but one: the other column may be the model's."""
    content = f"{A},,x\n{A},{B},x\n"
    with pytest.raises(InputError, match="line 2: there is no header and more than one"):
        check(tmp_path, content)
    assert ids(check(tmp_path, content, column="1")) == [A]


@pytest.mark.parametrize(
    ("header", "cell"),
    [
        ("ID,Instance", B),
        ("id;run_id", B),
        ("Id,Ausführung", B.upper()),
        ("id,page", f"https://acme.domo.com/workflows/instances/{C}/1.0/{B}"),
        ("ID,Reference", B),
    ],
)
def test_an_id_beside_another_columns_is_refused(tmp_path: Path, header: str, cell: str) -> None:
    """The event's or the run's: a column called just `id` counts only alone, or with --column."""
    content = f"{header}\n{A},{A}\n{A},{cell}\n".replace(",", ";" if ";" in header else ",")
    with pytest.raises(InputError, match=r"line 3: it is not clear .*use --column NAME"):
        check(tmp_path, content)
    assert ids(check(tmp_path, content, column="ID")) == [A]


@pytest.mark.parametrize("name", ["modelId", "Model", "Parent Instance", "created by", "Note"])
def test_an_id_beside_something_elses_is_read(tmp_path: Path, name: str) -> None:
    """Models, users and parents have IDs too, and are no rivals; nor is what holds none."""
    cell = "no ID at all, but as long as one would be" if name == "Note" else B
    assert ids(check(tmp_path, f'id,{name}\n{A},"{cell}"\n')) == [A]


def test_a_row_that_ends_before_its_id_is_invalid_whatever_it_holds(tmp_path: Path) -> None:
    """Where another column holds an ID too: there is no second one to be unclear about."""
    checked = check(tmp_path, f"Reference,id\n{B}\nx,{A}\n")
    assert ids(checked) == [A]
    (row,) = checked.invalid
    assert row.reason == "row has 1 cells, the header 2: it ends before the ID"


@pytest.mark.parametrize(
    ("header", "advice"),
    [
        ("modelId,n", "there is no column of instance IDs"),
        ("Event,Execution", '"Event", "Execution" hold IDs: use --column'),
        ("Model,Reference", 'so try --column "Reference"'),
    ],
)
def test_advice_names_no_other_things_ids(tmp_path: Path, header: str, advice: str) -> None:
    """Who follows it must not cancel by the IDs of models or events."""
    with pytest.raises(InputError, match=advice) as caught:
        check(tmp_path, f"{header}\n{A},{B}\n")
    assert "modelId" not in str(caught.value).partition("the columns are")[2].partition(":")[2]
