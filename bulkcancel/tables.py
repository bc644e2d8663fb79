"""Delimited text: one record after another, and the cells in it that matter."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from bulkcancel.columns import Condition, InputOptions, find_id_column, find_named, listed
from bulkcancel.instance_id import parse_instance_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bulkcancel.decode import NumberedLines

Row: TypeAlias = tuple[int, str, str | None]
"""A data row: its line, what stands where the ID should be, and why it is not taken.

The reason is `None` for a row to be taken, `FILTERED` for one that `--where` leaves out.
"""

FILTERED = "left out by --where"
LONGEST_CELL = 128 * 1024
"""In characters; the csv module's own limit."""

_Record: TypeAlias = tuple[int, list[str], bool]
"""The number of its first line, its cells, and whether it spans several lines."""


class _Layout(NamedTuple):
    """Where a row's cells are."""

    width: int
    id_index: int
    conditions: tuple[tuple[int, Condition], ...]
    model: str
    """What set the width, for messages."""


def table_rows(
    numbered: Iterator[tuple[int, str]],
    lines: NumberedLines,
    delimiter: str,
    options: InputOptions,
    *,
    look_ahead: bool,
) -> Iterator[Row]:
    """Yield the rows of delimited text (RFC 4180, any one delimiter); blank ones are left out.

    The first record is the header unless it holds an ID. With `look_ahead`, what is said about
    a missing column may rest on one record more. Raises `InputError`.
    """
    records = _records(numbered, lines, delimiter)
    first = next(records)
    layout = _headless(first, lines, options)
    if layout is not None:
        records = chain([first], records)
    else:
        layout = _headed(first, records if look_ahead else iter(()), lines, options)
    width, id_index, conditions, _ = layout
    # The hot loop of reading: a plain row costs these comparisons, all else is judged apart.
    for line, cells, spans in records:
        if spans:
            _refuse_swallowed_rows(line, cells, layout, lines, delimiter)
        if len(cells) == width and cells[id_index] and not conditions:
            yield line, cells[id_index], None
        elif any(cell and not cell.isspace() for cell in cells):
            yield _judged(line, cells, layout, lines)


def split_once(line: str, delimiter: str) -> list[str]:
    """Return the cells of a single line, however its quotes stand."""
    try:
        return next(csv.reader([line], delimiter=delimiter))
    except csv.Error:
        return line.split(delimiter)


def _records(
    numbered: Iterator[tuple[int, str]], lines: NumberedLines, delimiter: str
) -> Iterator[_Record]:
    """Yield the records; a cut at the delimiters saves two thirds of the csv module's time.

    It gives what the csv module would: in a line without a quote nothing else can count, and
    in one whose quotes are exactly those around its cells none stands inside a cell.
    """
    feed = _Feed(numbered)
    quoted = csv.reader(feed, delimiter=delimiter, strict=True)
    between = f'"{delimiter}"'
    for line, text in numbered:
        if len(text) <= LONGEST_CELL:
            if '"' not in text:
                yield line, text.split(delimiter), False
                continue
            if text[0] == text[-1] == '"':
                cells = text[1:-1].split(between)
                if text.count('"') == 2 * len(cells):
                    yield line, cells, False
                    continue
        feed.first = text
        try:
            cells = next(quoted)
        except csv.Error as error:
            raise lines.error(line, _explain(str(error), line)) from None
        yield line, cells, feed.last is not text


class _Feed:
    """Hands the csv module the line at hand, then as many more as its record needs."""

    def __init__(self, numbered: Iterator[tuple[int, str]]) -> None:
        self.first: str | None = None
        self.last = ""
        self._numbered = numbered

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        if self.first is not None:
            self.last, self.first = self.first, None
        else:
            _, self.last = next(self._numbered)
        return self.last + "\n"


def _explain(error: str, line: int) -> str:
    if "end of data" in error:
        return f"a quote opened at line {line} is never closed: close it, or double it"
    if "limit" in error:
        return "a cell is over 128 KiB: is a quote in this row never closed?"
    return (
        f'the quotes in this row are not balanced ({error}): double every " inside a quoted cell, '
        "or use --format lines with a file of IDs alone"
    )


def _refuse_swallowed_rows(
    line: int, cells: list[str], layout: _Layout, lines: NumberedLines, delimiter: str
) -> None:
    """Raise `InputError` if a stray quote made rows part of a cell until another closed it."""
    width, id_index = layout.width, layout.id_index
    for cell in cells:
        inner = cell.split("\n")[1:]
        for at, text in enumerate(inner):
            parts = text.split(delimiter)
            # The last line ends at the closing quote, so the rest of its row is missing.
            fewest = width if at < len(inner) - 1 else min(2, width)
            if fewest <= len(parts) <= width and id_index < len(parts):
                swallowed = parse_instance_id(parts[id_index].strip('"'))
                if swallowed is not None:
                    raise lines.error(
                        line,
                        f"a quoted cell that begins in this row holds what looks like another "
                        f'row, that of {swallowed}: is a " missing or too many?',
                    )


def _judged(line: int, cells: list[str], layout: _Layout, lines: NumberedLines) -> Row:
    """Return the row of a record that has conditions, no ID or another number of cells."""
    width, id_index, conditions, model = layout
    text = cells[id_index] if id_index < len(cells) else ""
    if len(cells) < width or any(cell.strip() for cell in cells[width:]):
        return (
            line,
            text,
            _doubt(cells, layout)
            and (f"row has {len(cells)} cells, {model} {width}: {_doubt(cells, layout)}"),
        )
    for index, condition in conditions:
        if lines.guessed and not cells[index].isascii():
            raise lines.not_utf8(line, f'the cell in column "{condition.column}"')
        if not condition.holds(cells[index]):
            return line, text, FILTERED
    return line, text, None


def _doubt(cells: list[str], layout: _Layout) -> str | None:
    """Return why a ragged row's ID cannot be trusted: its cells may have shifted."""
    if layout.id_index >= len(cells):
        return "it ends before the ID"
    held = [i for i, cell in enumerate(cells) if parse_instance_id(cell)]
    if layout.id_index not in held:
        return "there is no ID where the others have it; is a delimiter not quoted?"
    if len(held) > 1:
        return "more than one cell holds an ID; is a delimiter not quoted?"
    if layout.conditions:
        return "--where cannot tell which cell is which; is a delimiter not quoted?"
    return None


def _headless(first: _Record, lines: NumberedLines, options: InputOptions) -> _Layout | None:
    """Return the layout of a table whose first record is a row, `None` if it is a header."""
    line, cells, _ = first
    held = [i for i, cell in enumerate(cells) if parse_instance_id(cell)]
    column = options.column
    if not held or (column is not None and not _is_number(column)):
        return None
    if options.where:
        raise lines.error(line, "there is no header, so --where has no columns to look at")
    if column is not None:
        if not 1 <= int(column) <= len(cells):
            raise lines.error(line, f"--column {column}: this row has {len(cells)} cells")
        held = [int(column) - 1]
    if len(held) > 1:
        choices = " or ".join(f"--column {i + 1}" for i in held)
        raise lines.error(
            line, f"there is no header and {len(held)} cells hold an ID: say which with {choices}"
        )
    return _Layout(len(cells), held[0], (), "the first row")


def _is_number(column: str) -> bool:
    return column.isascii() and column.isdigit() and len(column) <= 6


def _headed(
    first: _Record, following: Iterator[_Record], lines: NumberedLines, options: InputOptions
) -> _Layout:
    """Return the layout that a header gives."""
    line, cells, _ = first
    names = [cell.strip() for cell in cells]
    if lines.guessed and not "".join(names).isascii():
        raise lines.not_utf8(line, "the header")
    found = find_id_column(names, options.column)
    if not found:
        raise lines.error(line, _no_id_column(names, following, options.column))
    if len(found) > 1:
        places = ", ".join(f'"{names[i]}" (column {i + 1})' for i in found)
        if len({names[i] for i in found}) < len(found):
            raise lines.error(line, f"columns of one name: {places}: rename all but one")
        raise lines.error(line, f"several columns may hold the IDs: {places}: use --column NAME")
    conditions = []
    for condition in options.where:
        at = find_named(names, condition.column)
        if len(at) != 1:
            problem = "there is no column" if not at else "several columns are called"
            raise lines.error(
                line, f'--where: {problem} "{condition.column}"; the columns are {listed(names)}'
            )
        conditions.append((at[0], condition))
    lines.note(f'IDs are read from column "{names[found[0]]}"')
    return _Layout(len(names), found[0], tuple(conditions), "the header")


def _no_id_column(names: list[str], following: Iterator[_Record], column: str | None) -> str:
    wanted = "column of instance IDs" if column is None else f'column "{column}"'
    message = f"there is no {wanted}; the columns are {listed(names)}"
    _, cells, _ = next(following, (0, [], False))
    holding = [name for name, cell in zip(names, cells, strict=False) if parse_instance_id(cell)]
    if holding:
        return f'{message}: "{holding[0]}" holds an ID, so try --column "{holding[0]}"'
    if column is not None and any(parse_instance_id(name) for name in names):
        return f"{message}: there is no header, so give the column's number, as in --column 1"
    return f"{message}: name one with --column NAME" if column is None else message
