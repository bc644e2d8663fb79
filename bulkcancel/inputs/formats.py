"""What an input is, told from its name and its first line that says anything."""

from __future__ import annotations

import re
from itertools import chain, islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

from bulkcancel.ids import parse_instance_id
from bulkcancel.inputs.columns import (
    ANOTHER_TABLE,
    ID_NAMES,
    LONGEST_CELL,
    InputOptions,
    find_id_column,
    is_number,
    looks_like_header,
    names_ids,
    normalise,
    row_of,
)
from bulkcancel.inputs.json_lines import ARRAY, json_rows
from bulkcancel.inputs.tables import split_once, table_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bulkcancel.inputs.columns import Row
    from bulkcancel.inputs.facts import Facts
    from bulkcancel.inputs.lines import NumberedLines

_DELIMITERS = "\t;,"
_HEADER_WITHIN = 10
_SEP_LINE = re.compile(r'"?sep=([,;\t|])"?\s*', re.IGNORECASE)  # Excel's own
_COMMENT = re.compile(r"(?:^|\s)#")


_Kind = Literal["table", "jsonl", "lines"]
_KINDS: dict[str, _Kind] = {"csv": "table", "tsv": "table", "jsonl": "jsonl", "lines": "lines"}


def open_rows(
    lines: NumberedLines, options: InputOptions, facts: Facts, *, look_ahead: bool
) -> Iterator[Row]:
    """Yield the rows of one input, whatever its format, and tell `facts` where they have theirs.

    The first line that is neither blank nor a comment decides the format, so a pipe's first ID
    waits for no second line. Where it holds neither an ID nor a known name of a column it may be
    a title: then the header is looked for in the first ten lines. Raises `InputError`.
    """
    numbered = iter(lines)
    separator: str | None = None
    may_be_table = options.format in {"auto", "csv", "tsv"}
    line, text = next(((n, x) for n, x in numbered if x.strip() and not _is_comment(x)), (0, ""))
    if may_be_table and (excel := _SEP_LINE.fullmatch(text)):
        separator = excel[1]
        line, text = next(((n, x) for n, x in numbered if x.strip()), (0, ""))
    if not line:
        return
    head, at = [(line, text)], 0
    if may_be_table and text.lstrip()[0] not in "{[":
        at = _find_header(head, numbered, lines.name, options, separator or _DELIMITERS)
        if at:
            line, text = head[at]
            lines.note(f"{lines.shown_name}, line {line} is taken as the header: titles are above")
    look_ahead |= at + 1 < len(head)
    numbered = chain(head[at:], numbered)
    kind = "table" if separator else _kind(text, lines.name, options)
    if kind == "lines":
        if options.where or options.column is not None:
            raise lines.error(line, "these are lines of IDs: they have no --column and no --where")
        yield from _line_rows(numbered, lines, options)
    elif kind == "jsonl":
        if text.lstrip().startswith("["):
            raise lines.error(line, ARRAY)
        yield from json_rows(numbered, lines, options, facts)
    else:
        delimiter = separator or _delimiter(text, lines.name, options) or ","
        yield from table_rows(numbered, lines, delimiter, options, facts, look_ahead=look_ahead)


def _is_comment(text: str) -> bool:
    """Return whether a line before the data is a comment; a column may be called `#`."""
    if not text.lstrip().startswith("#"):
        return False
    return not any(
        split_once(text, d)[0].strip() == "#" and find_id_column(split_once(text, d), None)
        for d in _DELIMITERS
    )


def _find_header(
    head: list[tuple[int, str]],
    numbered: Iterator[tuple[int, str]],
    name: str,
    options: InputOptions,
    delimiters: str,
) -> int:
    """Return the index in `head` of the first line after any titles: the header, or a row.

    Reads lines into `head` only up to the first that has the ID column's name, or an ID.
    """
    numbered_column = options.column is not None and is_number(options.column)
    column = None if numbered_column else options.column
    above = 0
    for _, text in chain(head[:], _filled(head, islice(numbered, _HEADER_WITHIN - 1))):
        cut = [split_once(text, delimiter) for delimiter in delimiters]
        if parse_instance_id(_without_comment(text)) or any(
            parse_instance_id(cell) for cells in cut for cell in cells
        ):
            # The table begins with the line above; if that names no ID column, it is refused there.
            is_table = _kind(head[above][1], name, options) == "table"
            return above if is_table and not numbered_column else 0
        if any(find_id_column([cell.strip() for cell in cells], column) for cells in cut):
            return len(head) - 1
        if text.count('"') % 2:  # a record of many lines: no title
            break
        above = len(head) - 1
    return 0


def _filled(
    head: list[tuple[int, str]], following: Iterator[tuple[int, str]]
) -> Iterator[tuple[int, str]]:
    """Yield the lines that follow, comments left out, and put all but blank ones into `head`."""
    for line, text in following:
        if text.strip():
            head.append((line, text))
            if not _is_comment(text):
                yield line, text


def _without_comment(text: str) -> str:
    return _COMMENT.split(text, maxsplit=1)[0] if "#" in text else text


def _kind(text: str, name: str, options: InputOptions) -> _Kind:
    if options.format in _KINDS:
        return _KINDS[options.format]
    text = text.strip()
    suffix = PurePath(name).suffix.lower()
    asked_for_columns = bool(options.where) or options.column is not None
    if text[0] in "{[":
        return "jsonl"
    if parse_instance_id(_without_comment(text)):
        return "table" if asked_for_columns else "lines"
    if _delimiter(text, name, options) is not None:
        return "table"
    if names_ids(text) or asked_for_columns or suffix in {".csv", ".tsv"}:
        return "table"
    return "jsonl" if text[0] == '"' or suffix in {".jsonl", ".ndjson"} else "lines"


def _delimiter(text: str, name: str, options: InputOptions) -> str | None:
    """Return the delimiter that makes most sense of a line, `None` if it has but one cell."""
    suffix = PurePath(name).suffix.lower()
    if "\t" in text and (options.format == "tsv" or (options.format, suffix) == ("auto", ".tsv")):
        return "\t"
    best: tuple[bool, int, str] | None = None
    for delimiter in _DELIMITERS if options.format != "tsv" else "\t":
        cells = split_once(text, delimiter)
        if len(cells) > 1:
            names = [cell.strip() for cell in cells]
            makes_sense = bool(find_id_column(names, options.column)) or any(
                parse_instance_id(cell) for cell in cells
            )
            score = (makes_sense, len(cells), delimiter)
            if best is None or score[:2] > best[:2]:
                best = score
    return best[2] if best else ("\t" if options.format == "tsv" else None)


def _line_rows(
    numbered: Iterator[tuple[int, str]], lines: NumberedLines, options: InputOptions
) -> Iterator[Row]:
    is_first = True
    for line, text in numbered:
        if len(text) > LONGEST_CELL:
            raise lines.error(line, "is over 128 KiB long: is this a list of IDs?")
        without = _without_comment(text)
        if not without or without.isspace():
            continue
        row = row_of(line, without, lines, options)
        if row[2] is None or is_first or not looks_like_header([without]):
            yield row
        elif normalise(without) in ID_NAMES:
            lines.note_header_again(line)
        else:
            raise lines.error(line, ANOTHER_TABLE)
        is_first = False
