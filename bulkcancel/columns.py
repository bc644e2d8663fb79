"""Which column holds the IDs, and which ones `--where` looks at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from bulkcancel.errors import UsageError
from bulkcancel.text import shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

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


@dataclass(frozen=True, slots=True)
class Condition:
    """One `--where`: a column whose value must, or if `negated` must not, be `value`."""

    column: str
    value: str
    negated: bool

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
        """Return whether a row with `value` in this column is meant; outer space is ignored."""
        return (value.strip() == self.value) is not self.negated


@dataclass(frozen=True, slots=True)
class InputOptions:
    """What the user said about the inputs; `limit` is a number of distinct IDs."""

    column: str | None = None
    format: Format = "auto"
    encoding: str | None = None
    where: tuple[Condition, ...] = ()
    limit: int | None = None


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


def listed(names: Sequence[str]) -> str:
    """Return column names as a message shows them."""
    shown = ", ".join(f'"{shorten(name, 60)}"' for name in names[:_MOST_LISTED])
    more = len(names) - _MOST_LISTED
    return f"{shown} and {more} more" if more > 0 else shown
