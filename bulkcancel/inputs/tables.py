"""Delimited text: one record after another, and the cells in it that matter."""

from __future__ import annotations

import csv
from itertools import chain
from typing import TYPE_CHECKING

from bulkcancel.ids import is_plain_id, parse_instance_id
from bulkcancel.inputs.columns import FILTERED, LONGEST_CELL, row_of
from bulkcancel.inputs.layout import headed_layout, headless_layout, is_header_again

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bulkcancel.inputs.columns import InputOptions, Row
    from bulkcancel.inputs.facts import Facts
    from bulkcancel.inputs.layout import Layout, Record
    from bulkcancel.inputs.lines import NumberedLines


_ID_CHARS = 36


def table_rows(
    numbered: Iterator[tuple[int, str]],
    lines: NumberedLines,
    delimiter: str,
    options: InputOptions,
    facts: Facts,
    *,
    look_ahead: bool,
) -> Iterator[Row]:
    """Yield the rows of delimited text (RFC 4180, any one delimiter); blank ones are left out.

    The first record is the header unless it holds an ID. With `look_ahead`, what is said about
    a missing column may rest on one record more. Raises `InputError`.
    """
    records = _records(numbered, lines, delimiter)
    first = next(records)
    layout = headless_layout(first, lines, options)
    if layout is not None:
        records = chain([first], records)
    else:
        layout = headed_layout(first, records if look_ahead else iter(()), lines, options)
    width, id_index, conditions = layout[:3]
    facts.begin(layout.facts)
    if layout.from_first_row:
        records = _refuse_second_id(records, layout, lines)
    if layout.rivals:
        records = _refuse_rivals(records, layout, lines)
    # The hot loop of reading: a plain row costs these comparisons, all else is judged apart.
    for record in records:
        line, cells, spans = record
        if spans:
            _refuse_swallowed_rows(line, cells, layout, lines, delimiter)
        if len(cells) == width and is_plain_id(cells[id_index]) and not conditions:
            yield line, cells[id_index], None, cells
        elif any(cell and not cell.isspace() for cell in cells):
            row = _judged(record, layout, lines, options)
            if row is None:
                lines.note_header_again(line)
            else:
                yield row


def _refuse_second_id(
    records: Iterator[Record], layout: Layout, lines: NumberedLines
) -> Iterator[Record]:
    """Yield the records of a table without a header; raise if another cell may hold the ID."""
    for line, cells, spans in records:
        if sum(parse_instance_id(cell) is not None for cell in cells) > 1:
            raise lines.error(
                line,
                "there is no header and more than one cell of this row holds an ID: say which "
                f"column counts, as in --column {layout.id_index + 1}",
            )
        yield line, cells, spans


def _refuse_rivals(
    records: Iterator[Record], layout: Layout, lines: NumberedLines
) -> Iterator[Record]:
    """Yield the records of a table read by its `id`; raise if another cell holds another ID."""
    for record in records:
        line, cells, _ = record
        for i in layout.rivals:
            if max(i, layout.id_index) < len(cells) and len(cells[i]) >= _ID_CHARS:
                other = parse_instance_id(cells[i])
                if other is not None and other != parse_instance_id(cells[layout.id_index]):
                    raise lines.error(
                        line,
                        'it is not clear which ID is the instance\'s, that in "id" or that in '
                        f"column {i + 1}: use --column NAME",
                    )
        yield record


def split_once(line: str, delimiter: str) -> list[str]:
    """Return the cells of a single line, however its quotes stand."""
    try:
        return next(csv.reader([line], delimiter=delimiter))
    except csv.Error:
        return line.split(delimiter)


def _records(
    numbered: Iterator[tuple[int, str]], lines: NumberedLines, delimiter: str
) -> Iterator[Record]:
    """Yield the records; most lines are cut at the delimiters, in a third of the csv module's time.

    With the same cells: a line without quotes has nothing to interpret, and where there are just
    the quotes around each cell, none is inside a cell. Raises `InputError`.
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
    """Hands the csv module the current line, then as many more as its record needs."""

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
    line: int, cells: list[str], layout: Layout, lines: NumberedLines, delimiter: str
) -> None:
    """Raise `InputError` if a stray quote made rows part of a cell until another closed it."""
    width, id_index = layout.width, layout.id_index
    for cell in cells:
        first, *inner = cell.split("\n")
        if inner and any(parse_instance_id(part) for part in first.split(delimiter)[1:]):
            raise lines.error(
                line,
                "a quoted cell that begins in this row holds the rest of the row, with its ID: is "
                'a " missing or too many?',
            )
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


def _judged(
    record: Record, layout: Layout, lines: NumberedLines, options: InputOptions
) -> Row | None:
    """Return the row of a record that has conditions, no plain ID or another number of cells.

    `None` if it is the header again.
    """
    line, cells, _ = record
    width, id_index, conditions, model = layout[:4]
    text = cells[id_index] if id_index < len(cells) else ""
    ragged = len(cells) > width
    if (ragged or not parse_instance_id(text)) and is_header_again(record, layout, lines):
        return None
    if len(cells) < width or any(cell.strip() for cell in cells[width:]):
        doubt = _doubt(cells, layout)
        if doubt is not None:
            return line, text, f"row has {len(cells)} cells, {model} {width}: {doubt}", None
        return row_of(line, text, lines, options)
    for index, condition in conditions:
        if lines.guessed and not cells[index].isascii():
            raise lines.not_utf8(line, f'the cell in column "{condition.column}"')
        if not condition.holds(cells[index]):
            return line, text, FILTERED, None
    return row_of(line, text, lines, options, cells)


def _doubt(cells: list[str], layout: Layout) -> str | None:
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
