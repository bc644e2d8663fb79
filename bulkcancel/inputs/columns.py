"""Which column holds the IDs, what its cells hold, and which ones `--where` looks at."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias

from bulkcancel.errors import UsageError
from bulkcancel.ids import UUID, PageHost, is_plain_id
from bulkcancel.inputs.lines import check_encoding
from bulkcancel.text import closest, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bulkcancel.inputs.lines import NumberedLines
    from bulkcancel.quantities import Shard

Row: TypeAlias = "tuple[int, str, str | None, Sequence[str] | None]"
"""A data row: its line, its ID as a bare UUID, `None`; or its line, the text there, the problem.

The problem is `FILTERED` for a row that `--where` leaves out. The last are the row's cells, where
it is clear which cell is which.
"""

FILTERED = "left out by --where"
ANOTHER_TABLE = (
    "this looks like the header of another table put behind the first: give each file as an input "
    "of its own, as in bulkcancel run a.csv b.csv, or take the line out"
)
_NO_LINE_END = (
    "an ID is followed by a word without a line end between them, as where files are put together: "
    "give each file as an input of its own, as in bulkcancel run a.csv b.csv"
)
LONGEST_CELL = 128 * 1024
"""In characters; the csv module's own limit."""

ID_NAMES = frozenset(
    {
        "instanceid",
        "executionid",
        "workflowinstanceid",
        "workflowexecutionid",
        "instanceuuid",
        "id",
    }
)
"""Names of columns that hold instance IDs, normalised."""

Format = Literal["auto", "csv", "tsv", "jsonl", "lines"]
"""What an input can be said to be."""

_MOST_LISTED = 20
_MOST_MISSES = 10
_LONGEST_NAME = 100
# An ID with a word stuck to it; a digit or two too many are a slip in one row.
_STUCK = re.compile(rf"{UUID}\ufeff?(?=\w*[g-zG-Z_])\w{{3,}}.*")
_RELATED = ("parent", "root", "caller")
_NO_RUN = (
    "model", "workflowid", "workflowname", "user", "owner", "tenant", "deployment", "bpmn",
    "process", "version", "created", "updated", "creator", "dataset",
)  # fmt: skip
_RUN_WORDS = ("instance", "execution", "run", "ausfuhrung", "ausführung")
_DELIMITER = re.compile(r"[,;\t|]")
# One to five words without digits.
_NAME = re.compile(r"[\"'\ufeff]?[^\W\d][^\W\d_]*(?:[ _.-]?[^\W\d]+){0,4}[:\"']?")
_BETWEEN_WORDS = re.compile(r"[_.-]|(?<=[a-z])(?=[A-Z])")
_OF_IDS = re.compile(
    r"\b(?:models?|modell\w*|instan\w+|execut\w+|workflows?|parents?|runs?|ids?|uuids?|guids?)\b",
    re.IGNORECASE,
)
_SPELT_AS_ID = re.compile(r"[\w .,;\t-]{0,80}(?:[a-z ]I[Dd]|[_.-][Ii][Dd])")


@dataclass(frozen=True, slots=True)
class Condition:
    """One `--where`: a column whose value must, or if `negated` must not, be `value`."""

    column: str
    value: str
    negated: bool
    misses: list[str] = field(default_factory=list, compare=False, repr=False)
    """The first ten different values for which it did not hold, each cut to 40 characters."""

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Return the condition that `COLUMN=VALUE` or `COLUMN!=VALUE` is, else `UsageError`."""
        column, sign, value = text.partition("=")
        negated = column.endswith("!")
        column = column.removesuffix("!").strip()
        if not sign or not column:
            raise UsageError(f"--where {text!r} is not COLUMN=VALUE or COLUMN!=VALUE")
        return cls(column, value.strip(), negated)

    def holds(self, value: str) -> bool:
        """Return whether a row with `value` in this column is wanted; outer space is ignored.

        If it is not, `value` may be added to `misses`.
        """
        value = value.strip()
        if (value == self.value) is not self.negated:
            return True
        if len(self.misses) < _MOST_MISSES and (short := shorten(value, 40)) not in self.misses:
            self.misses.append(short)
        return False


@dataclass(frozen=True, slots=True)
class InputOptions:
    """What is said about the inputs. Raises `UsageError` for an encoding that is not known."""

    column: str | None = None
    """Which one holds the IDs: its name, or its number from 1."""
    format: Format = "auto"
    encoding: str | None = None
    where: tuple[Condition, ...] = ()
    """All of them must hold."""
    shard: Shard | None = None
    """The share of the rows that is taken; `None` takes all."""
    pages: PageHost = field(default_factory=PageHost)

    def __post_init__(self) -> None:
        if self.encoding is not None:
            check_encoding(self.encoding)


@lru_cache(4096)
def is_of_something_else(name: str) -> bool:
    """Return whether a column or key is by its name of a model, a user or a parent, no run."""
    plain = normalise(name)
    return plain.startswith(_RELATED) or (plain.startswith(_NO_RUN) and not says_run(name))


def says_run(name: str) -> bool:
    """Return whether the name of a column or key is about a run."""
    return any(word in normalise(name) for word in _RUN_WORDS)


@lru_cache(4096)
def normalise(name: str) -> str:
    """Return a column's name as its lower-case letters and digits alone."""
    return "".join(c for c in name.casefold() if c.isalnum())


def find_named(names: Sequence[str], wanted: str) -> list[int]:
    """Return the positions of the column `wanted`: as spelt, or else normalised."""
    wanted = wanted.strip()
    exact = [i for i, name in enumerate(names) if name == wanted]
    key = normalise(wanted)
    return exact or [i for i, name in enumerate(names) if key and normalise(name) == key]


def find_id_column(names: Sequence[str], column: str | None) -> list[int]:
    """Return the positions of `column`, or without one of all columns known to hold IDs."""
    if column is not None:
        return find_named(names, column)
    return [i for i, name in enumerate(names) if normalise(name) in ID_NAMES]


def is_number(column: str) -> bool:
    """Return whether `--column` may be a column's number."""
    return column.isascii() and column.isdigit() and len(column) <= 6


def names_ids(text: str) -> bool:
    """Return whether `text` is what a column of IDs is called: of instances, parents, models."""
    if len(text) > _LONGEST_NAME:
        return False
    return normalise(text) in ID_NAMES or bool(_SPELT_AS_ID.fullmatch(text.strip(' \t\ufeff"')))


def looks_like_header(cells: Sequence[str], id_index: int = 0) -> bool:
    """Return whether cells without an ID among them are names of columns, some of them of IDs.

    They are if the cell in the ID's place is a name for IDs; or if all names are single words,
    also where another delimiter separates them, and half of them are names for IDs.
    (`is_header_again` compares with the table's own names.)
    """
    in_place = cells[id_index] if id_index < len(cells) else ""
    if names_ids(in_place):
        return True
    names = [name.strip() for cell in cells for name in _DELIMITER.split(cell) if name.strip()]
    if not names or not all(_NAME.fullmatch(name) for name in names):
        return False
    telling = sum(map(_tells_of_ids, names))
    all_single = not any(" " in name for name in names)
    return _tells_of_ids(in_place) or (all_single and 2 * telling >= len(names))


def _tells_of_ids(name: str) -> bool:
    """Return whether a name is one of IDs: by its first word, or by any part of a single one."""
    words = _BETWEEN_WORDS.sub(" ", name.strip(" \t\ufeff\"'"))
    tells = _OF_IDS.match(words) if " " in name.strip() else _OF_IDS.search(words)
    return tells is not None


def row_of(
    line: int,
    text: str,
    lines: NumberedLines,
    options: InputOptions,
    cells: Sequence[str] | None = None,
) -> Row:
    """Return the row whose ID is to be `text`.

    Raises `InputError` if it is of another host, or if another file begins in the middle of it.
    """
    if is_plain_id(text):
        return line, text, None, cells
    if _STUCK.fullmatch(text):
        raise lines.error(line, _NO_LINE_END)
    found, problem = options.pages.read(text)
    if problem is not None and is_plain_id(found):
        raise lines.error(line, problem)
    return line, found, problem, cells


def quoted(names: Sequence[str]) -> str:
    """Return the names of columns in quotes, as a message shows them: the first 20."""
    shown = ", ".join(f'"{shorten(name, 60)}"' for name in names[:_MOST_LISTED])
    more = len(names) - _MOST_LISTED
    return f"{shown} and {more} more" if more > 0 else shown


def closest_name(wanted: str, names: Sequence[str]) -> str:
    """Return what to add to a message that there is no column `wanted`; empty if none is like it.

    Capitals and spaces do not count.
    """
    spelt = {normalise(name): name for name in names}
    close = closest(normalise(wanted), spelt)
    return f': did you mean "{shorten(spelt[close], 60)}"?' if close else ""
