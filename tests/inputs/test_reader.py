"""Which IDs are taken, once each, from where, and how many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bulkcancel.errors import InputError, UsageError
from bulkcancel.inputs import Condition, InputOptions, check_files
from tests.support.input_files import A, B, C, D, check, ids, places

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


@pytest.mark.parametrize(
    "text",
    [
        PAGE,
        f"{PAGE}/",
        f"{PAGE}?_wfv=view",
        f"{PAGE}#top",
        f"{PAGE}/?_wfv=view#top",
        PAGE.replace("acme", "ACME"),
        PAGE.replace("com/", "com:443/"),
    ],
)
@pytest.mark.parametrize("host", ["acme.domo.com", None])
def test_a_page_of_the_runs_host_is_its_id(tmp_path: Path, text: str, host: str | None) -> None:
    """Whatever stands behind the ID, and however the host is spelt."""
    assert ids(check(tmp_path, f"{text}\n", name="ids.txt", host=host)) == [A]
    assert ids(check(tmp_path, f'{{"id": "{text}"}}\n', name="x.jsonl", host=host)) == [A]
    assert ids(check(tmp_path, f"instanceId,n\n{text},x\n", host=host)) == [A]
    assert ids(check(tmp_path, f"n,instanceId\n{text}\nx,{text}\n", host=host)) == [A]


@pytest.mark.parametrize(
    "other",
    ["acme-test.domo.com", "acme.domo.com:8443", "acme.domo.com.evil.com", "cme.domo.com"],
)
@pytest.mark.parametrize("host", ["acme.domo.com", None])
def test_a_page_of_another_host_is_refused(tmp_path: Path, other: str, host: str | None) -> None:
    """The same ID there is another instance; where the host is not known, the first page's is."""
    page = PAGE.replace("acme.domo.com", other)
    for content in (
        f"{PAGE}\n{page}\n",
        f"instanceId,n\n{PAGE},x\n{page},x\n",
        f"instanceId,n\n{PAGE},x\n{page}\n",
        f'{{"id": "{PAGE}"}}\n{{"id": "{page}"}}\n',
    ):
        name = "x.jsonl" if content[0] == "{" else "x"
        with pytest.raises(InputError, match=rf"line [23]: .* page on {other}, .*acme.domo.com"):
            check(tmp_path, content, name=name, host=host)


@pytest.mark.parametrize(
    "text",
    [
        PAGE.replace("https", "http"),
        PAGE.replace("acme", "user:pass@acme"),
        PAGE.replace(".com/", ".com\\@evil.com/"),
        PAGE.replace("acme", "ac%6De"),
        f"{PAGE}&x",
        f"https://acme.domo.com/?workflows/instances/{B}/1.0.0/{A}",
    ],
)
def test_an_address_that_is_no_plain_page_is_invalid(tmp_path: Path, text: str) -> None:
    """What a browser would not show for a page of Domo is no ID."""
    checked = check(tmp_path, f"{A}\n{text}\n", name="ids.txt", host="acme.domo.com")
    assert (ids(checked), checked.counts.invalid) == ([A], 1)


def test_an_open_file_is_read_like_a_path(tmp_path: Path) -> None:
    """A redirected standard input is a file with the name `-`, and is checked whole."""
    path = tmp_path / "x"
    path.write_text(f"{A}\n", "utf-8")
    steps: list[tuple[int, int]] = []
    with path.open("rb") as file:
        checked = check_files(
            [file, str(path)], InputOptions(), on_progress=lambda *step: steps.append(step)
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
