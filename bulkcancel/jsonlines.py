"""JSON Lines: one object or one string a line."""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any

from bulkcancel.columns import find_id_column, find_named, listed
from bulkcancel.tables import FILTERED, LONGEST_CELL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bulkcancel.columns import Condition, InputOptions
    from bulkcancel.decode import NumberedLines
    from bulkcancel.errors import InputError
    from bulkcancel.tables import Row


class _Number(str):
    """A number as it was spelt."""

    __slots__ = ()


class _Object(list[tuple[str, Any]]):
    """An object as its pairs, so that a key given twice is seen."""

    __slots__ = ()


# `Any` is what JSON is; `_text` and `_scalar` narrow it.
_DECODER = json.JSONDecoder(object_pairs_hook=_Object, parse_int=_Number, parse_float=_Number)
_CONSTANTS = {True: "true", False: "false", None: ""}
_ARRAY = "is a JSON array: give one object a line, as jq -c '.[]' does"


def json_rows(
    numbered: Iterator[tuple[int, str]], lines: NumberedLines, options: InputOptions
) -> Iterator[Row]:
    """Yield the rows of JSON Lines: strings that are IDs, or objects with an ID under a key.

    The key is found in each object by itself, like a column. Keys named by `--where` must stand
    in the first object, which shows a misspelt one; where they are missing later they count as
    empty, like null. Raises `InputError` at what is not JSON.
    """
    first = next(((line, text) for line, text in numbered if text.strip()), None)
    if first is None:
        return
    _check_first(*first, lines, options)
    for line, text in chain([first], numbered):
        if text and not text.isspace():
            yield _row(line, text, lines, options)


def array_error(line: int, lines: NumberedLines) -> InputError:
    """Return the error for a file that is one JSON array."""
    return lines.error(line, _ARRAY)


def _decode(line: int, text: str, lines: NumberedLines) -> object:
    if len(text) > LONGEST_CELL:
        raise lines.error(line, "is over 128 KiB: is each object on a line of its own?")
    try:
        value: object = _DECODER.decode(text.strip())
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("["):
            raise array_error(line, lines) from None
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "too deep or too long"
        raise lines.error(
            line, f"is not JSON ({reason}): give one object a line, as jq -c . does"
        ) from None
    if isinstance(value, list) and not isinstance(value, _Object):
        raise array_error(line, lines)
    return value


def _check_first(line: int, text: str, lines: NumberedLines, options: InputOptions) -> None:
    value = _decode(line, text, lines)
    names = [key for key, _ in value] if isinstance(value, _Object) else []
    for condition in options.where:
        if not find_named(names, condition.column):
            raise lines.error(
                line,
                f'--where: there is no "{condition.column}" in the first object; its keys are '
                f"{listed(names) or 'none'}",
            )


def _row(line: int, text: str, lines: NumberedLines, options: InputOptions) -> Row:
    value = _decode(line, text, lines)
    if not isinstance(value, _Object):
        if options.where:
            raise lines.error(line, "is not an object, so --where has nothing to look at")
        return line, *_text(value)
    names = [key for key, _ in value]
    if lines.guessed and not "".join(names).isascii():
        raise lines.not_utf8(line, "a key")
    for condition in options.where:
        if not condition.holds(_scalar(line, value, names, condition, lines)):
            return line, "", FILTERED
    found = find_id_column(names, options.column)
    if len({names[i] for i in found}) > 1:
        raise lines.error(
            line,
            f"several keys may hold the ID: {listed([names[i] for i in found])}: use --column NAME",
        )
    if not found:
        wanted = "instanceId" if options.column is None else options.column
        return line, "", f'no "{wanted}" in this object; its keys are {listed(names) or "none"}'
    if len(found) > 1:
        return line, _text(value[found[0]][1])[0], f'"{names[found[0]]}" stands here twice'
    return line, *_text(value[found[0]][1])


def _text(value: object) -> tuple[str, str | None]:
    """Return what stands in an ID's place, and why it is none if it is not a string."""
    if isinstance(value, _Number):
        return value, "a number, not a string"
    if isinstance(value, str):
        return value, None
    if value is None:
        return "", "null, not a string"
    if isinstance(value, bool):
        return _CONSTANTS[value], "not a string"
    return "", "an object or an array, not a string"


def _scalar(
    line: int, value: _Object, names: list[str], condition: Condition, lines: NumberedLines
) -> str:
    """Return the text that a condition compares."""
    at = find_named(names, condition.column)
    if len(at) > 1:
        raise lines.error(line, f'--where: "{condition.column}" stands in this object twice')
    found = value[at[0]][1] if at else None
    if isinstance(found, list):
        raise lines.error(
            line, f'--where: "{condition.column}" holds an object or an array, nothing to compare'
        )
    text = found if isinstance(found, str) else _CONSTANTS[found]
    if lines.guessed and not text.isascii():
        raise lines.not_utf8(line, f'"{condition.column}"')
    return text
