"""Delimited text: records, the columns that matter in them, one row after another."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from bulkcancel.columns import Condition, InputOptions, find_id_column, find_named, listed
from bulkcancel.instance_id import parse_instance_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bulkcancel.decode import NumberedLines

    Record: TypeAlias = tuple[int, list[str]]
    """The number of its first line, and its cells."""

Row: TypeAlias = tuple[int, str, str | None]
"""A data row: its line, what stands where the ID should be, and why it cannot be taken.

The reason is `None` for a row that can be taken, and `FILTERED` for one that `--where` left out.
"""

FILTERED = "left out by --where"
LONGEST_CELL = 128 * 1024
"""In characters, as the csv module has it."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a row's cells are."""

    width: int
    id_index: int
    conditions: tuple[tuple[int, Condition], ...]
    model: str
    """What told the width, for messages."""


def table_rows(
    numbered: Iterator[tuple[int, str]],
    lines: NumberedLines,
    delimiter: str,
    options: InputOptions,
    *,
    look_ahead: bool,
) -> Iterator[Row]:
    """Yield the rows of delimited text (RFC 4180, any one delimiter), blank ones left out.

    The first record is the header, unless it holds an ID. With `look_ahead` a message about a
    missing column may read one record further. Raises `InputError`.
    """
    records = _records(numbered, lines, delimiter)
    first = next(records)
    layout = _headless(first, lines, options)
    if layout is not None:
        records = chain([first], records)
    else:
        layout = _headed(first, records if look_ahead else iter(()), lines, options)
    width, id_index, conditions = layout.width, layout.id_index, layout.conditions
    # The hot loop of reading: a plain row costs one comparison here, all else is set apart.
    for line, cells in records:
        if len(cells) == width and cells[id_index] and not conditions:
            row: Row | None = (line, cells[id_index], None)
        else:
            row = _judged(line, cells, layout, lines)
        if "\n" in cells[-1] or (width > 1 and _spans_lines(cells)):
            _refuse_swallowed_rows(line, cells, layout, lines, delimiter)
        if row is not None:
            yield row
