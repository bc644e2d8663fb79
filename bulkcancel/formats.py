"""What an input is, told from its name and its first line that says anything."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

from bulkcancel.columns import ID_NAMES, InputOptions, find_id_column, normalise
from bulkcancel.instance_id import parse_instance_id
from bulkcancel.jsonlines import array_error, json_rows
from bulkcancel.tables import LONGEST_CELL, split_once, table_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bulkcancel.decode import NumberedLines
    from bulkcancel.tables import Row

_DELIMITERS = "\t;,"
_SEP_LINE = re.compile(r'"?sep=([,;\t|])"?\s*', re.IGNORECASE)  # Excel's own
_COMMENT = re.compile(r"(?:^|\s)#")


_Kind = Literal["table", "jsonl", "lines"]
_KINDS: dict[str, _Kind] = {"csv": "table", "tsv": "table", "jsonl": "jsonl", "lines": "lines"}


def open_rows(lines: NumberedLines, options: InputOptions, *, look_ahead: bool) -> Iterator[Row]:
    """Yield the rows of one input, whatever its format.

    Nothing but the first line that is neither blank nor a comment decides the format, so a
    pipe's first ID waits for no second line. Raises `InputError`.
    """
    numbered = iter(lines)
    separator: str | None = None
    line, text = next(numbered, (0, ""))
    while line and not (text.strip() and not _is_comment(text)):
        line, text = next(numbered, (0, ""))
    if options.format in {"auto", "csv", "tsv"} and (excel := _SEP_LINE.fullmatch(text)):
        separator = excel[1]
        line, text = next(numbered, (0, ""))
        while line and not text.strip():
            line, text = next(numbered, (0, ""))
    if not line:
        return
    numbered = chain([(line, text)], numbered)
    kind = "table" if separator else _kind(text, lines.name, options)
    if kind == "lines":
        if options.where or options.column is not None:
            raise lines.error(line, "these are lines of IDs: they have no --column and no --where")
        yield from _line_rows(numbered, lines)
    elif kind == "jsonl":
        if text.lstrip().startswith("["):
            raise array_error(line, lines)
        yield from json_rows(numbered, lines, options)
    else:
        delimiter = separator or _delimiter(text, lines.name, options) or ","
        yield from table_rows(numbered, lines, delimiter, options, look_ahead=look_ahead)


def _is_comment(text: str) -> bool:
    """Return whether a line before the data is a comment; a column may be called `#`."""
    if not text.lstrip().startswith("#"):
        return False
    return not any(
        split_once(text, d)[0].strip() == "#" and find_id_column(split_once(text, d), None)
        for d in _DELIMITERS
    )


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
    if normalise(text) in ID_NAMES or asked_for_columns or suffix in {".csv", ".tsv"}:
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


def _line_rows(numbered: Iterator[tuple[int, str]], lines: NumberedLines) -> Iterator[Row]:
    for line, text in numbered:
        if len(text) > LONGEST_CELL:
            raise lines.error(line, "is over 128 KiB long: is this a list of IDs?")
        without = _without_comment(text)
        if without and not without.isspace():
            yield line, without, None
