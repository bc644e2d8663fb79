"""JSON Lines: one object or one string a line."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from bulkcancel.columns import (
    FILTERED,
    ID_NAMES,
    LONGEST_CELL,
    find_named,
    listed,
    normalise,
    row_of,
)
from bulkcancel.instance_id import parse_instance_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bulkcancel.columns import Condition, InputOptions, Row
    from bulkcancel.decode import NumberedLines
    from bulkcancel.errors import InputError


class _Number(str):
    """A number as it was spelt."""

    __slots__ = ()


class _Object(list[tuple[str, Any]]):
    """An object as its pairs, so that a key given twice is seen."""

    __slots__ = ()


_Pairs: TypeAlias = list[tuple[str, Any]]
"""What an object and those inside of it hold, by paths such as `data.instanceId`."""

# `Any` is what JSON is; `_text` and `_scalar` narrow it.
_DECODER = json.JSONDecoder(object_pairs_hook=_Object, parse_int=_Number, parse_float=_Number)
_CONSTANTS = {True: "true", False: "false", None: ""}
_ARRAY = "is a JSON array: give one object a line, as jq -c '.[]' does"
_ONE_A_LINE = (
    "give one object a line, as jq -c . does, or jq -c '.NAME[]' for what an object lists under "
    "NAME"
)
_DEEPEST = 4
_MOST_KEYS = 10
_BARE = "id"
# What stands under these is another instance than the one that the object is about.
_RELATED = re.compile("parent|root|caller|child|prev|next|orig|trigger")
_LISTS = re.compile(r".*(instances|executions|runs)")


def json_rows(
    numbered: Iterator[tuple[int, str]], lines: NumberedLines, options: InputOptions
) -> Iterator[Row]:
    """Yield the rows of JSON Lines: strings that are IDs, or objects with an ID under a key.

    The key is found in each object by itself, up to four deep. Keys named by `--where` must
    stand in the first object, which shows a misspelt one; where they are missing later they
    count as empty, like null. Raises `InputError` at what is not JSON.
    """
    reader = _Reader(lines, options)
    for line, text in numbered:
        if text and not text.isspace():
            yield reader.row(line, text)


def array_error(line: int, lines: NumberedLines) -> InputError:
    """Return the error for a file that is one JSON array."""
    return lines.error(line, _ARRAY)


def _decode(line: int, text: str, lines: NumberedLines) -> object:
    if len(text) > LONGEST_CELL:
        raise lines.error(line, f"is over 128 KiB: {_ONE_A_LINE}")
    try:
        value: object = _DECODER.decode(text.strip(" \t\r\n\ufeff"))
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("["):
            raise array_error(line, lines) from None
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "too deep or too long"
        raise lines.error(line, f"is not JSON ({reason}): {_ONE_A_LINE}") from None
    if isinstance(value, list) and not isinstance(value, _Object):
        raise array_error(line, lines)
    return value


class _Reader:
    """Reads the lines of one input, and notes under which keys the IDs are."""

    def __init__(self, lines: NumberedLines, options: InputOptions) -> None:
        self._lines = lines
        self._options = options
        self._is_first = True
        self._named: set[str] = set()
        """Keys that name an instance under which IDs have been found."""
        self._bare: set[str] = set()
        """The same for `id`, which may be of anything."""

    def row(self, line: int, text: str) -> Row:
        """Return the row that a line is. Raises `InputError`."""
        lines, options = self._lines, self._options
        value = _decode(line, text, lines)
        if not isinstance(value, _Object):
            if options.where:
                raise lines.error(line, "is not an object, so --where has nothing to look at")
            return self._row_of(line, value)
        pairs = _flat(value)
        names = tuple([name for name, _ in pairs])
        if lines.guessed and not "".join(names).isascii():
            raise lines.not_utf8(line, "a key")
        found, is_bare = _find_ids(names, options.column)
        if is_bare or not found:
            self._refuse_list(line, pairs, beside_an_id=is_bare)
        if self._is_first:
            self._is_first = False
            self._check_conditions(line, names)
        where = options.where
        if where and not all(c.holds(self._scalar(line, pairs, names, c)) for c in where):
            return line, "", FILTERED
        if not found or (is_bare and self._named):
            wanted = options.column or next(iter(self._named), "instanceId")
            return line, "", f'no "{wanted}" in this object; its keys are {listed(names) or "none"}'
        return self._chosen(line, [pairs[i] for i in found], is_bare=is_bare)

    def _chosen(self, line: int, found: _Pairs, *, is_bare: bool) -> Row:
        name, value = found[0]
        if len(found) > 1:
            if all(other == name for other, _ in found):
                return line, _text(value)[0], f'"{name}" stands here twice'
            keys = listed([other for other, _ in found])
            raise self._lines.error(
                line, f"several keys may hold the ID: {keys}: use --column NAME"
            )
        if name not in self._named and name not in self._bare:
            self._note(line, name, is_bare=is_bare)
        return self._row_of(line, value)

    def _row_of(self, line: int, value: object) -> Row:
        text, problem = _text(value)
        return (
            row_of(line, text, self._lines, self._options)
            if problem is None
            else (line, text, problem)
        )

    def _refuse_list(self, line: int, pairs: _Pairs, *, beside_an_id: bool) -> None:
        path = _list_of_instances(pairs, beside_an_id=beside_an_id)
        if path is not None:
            raise self._lines.error(
                line, f"this object lists instances: give one a line, as jq -c '{path}' does"
            )

    def _check_conditions(self, line: int, names: tuple[str, ...]) -> None:
        for condition in self._options.where:
            if not find_named(names, condition.column):
                raise self._lines.error(
                    line,
                    f'--where: there is no "{condition.column}" in the first object; its keys are '
                    f"{listed(names) or 'none'}",
                )

    def _scalar(
        self, line: int, pairs: _Pairs, names: tuple[str, ...], condition: Condition
    ) -> str:
        """Return the text that a condition compares."""
        at, column, lines = find_named(names, condition.column), condition.column, self._lines
        if len(at) > 1:
            raise lines.error(line, f'--where: "{column}" stands in this object twice')
        found = pairs[at[0]][1] if at else None
        if isinstance(found, list):
            raise lines.error(
                line, f'--where: "{column}" holds an object or an array, nothing to compare'
            )
        text = found if isinstance(found, str) else _CONSTANTS[found]
        if lines.guessed and not text.isascii():
            raise lines.not_utf8(line, f'"{column}"')
        return text

    def _note(self, line: int, name: str, *, is_bare: bool) -> None:
        """Note a key that is new; raise if it shows that an `id` above was of something else."""
        seen = self._bare if is_bare else self._named
        if self._bare and not is_bare:
            raise self._lines.error(
                line,
                f'the ID is in "{name}" here and was in "id" above: use --column {name}, or give '
                "each kind as an input of its own",
            )
        if len(seen) >= _MOST_KEYS:
            raise self._lines.error(line, "the IDs are under too many keys: use --column NAME")
        seen.add(name)
        self._lines.note(f'IDs are read from key "{name}"')


def _flat(value: _Object, prefix: str = "", depth: int = 1) -> _Pairs:
    """Return what an object and those inside of it hold, each key as a path."""
    pairs = [(prefix + key, inner) for key, inner in value] if prefix else list(value)
    if depth < _DEEPEST:
        for key, inner in value:
            if isinstance(inner, _Object):
                pairs += _flat(inner, f"{prefix}{key}.", depth + 1)
    return pairs


@lru_cache(64)
def _find_ids(names: tuple[str, ...], column: str | None) -> tuple[list[int], bool]:
    """Return where the ID is: under `column`, a key that names an instance, or else an `id`.

    And whether it is that last resort.
    """
    if column is not None:
        return find_named(names, column), False
    named = [i for i, name in enumerate(names) if _names_instance(name)]
    bare = [i for i, name in enumerate(names) if normalise(name) == _BARE and "." not in name]
    return named or bare, not named and bool(bare)


def _names_instance(path: str) -> bool:
    """Return whether a key is one of instances, and of the instance that the object is about."""
    *outer, key = (normalise(part) for part in path.split("."))
    return key in ID_NAMES and key != _BARE and not any(_RELATED.search(part) for part in outer)


def _list_of_instances(pairs: _Pairs, *, beside_an_id: bool) -> str | None:
    """Return the path, as `jq` takes it, of an array that holds instances; `None` without one.

    Beside an `id`, which may be the list's own or an instance's, it must say so by its name.
    """
    for path, value in pairs:
        if value.__class__ is not list:
            continue
        first = _flat(value[0]) if value and isinstance(value[0], _Object) else [("", *value[:1])]
        name = normalise(path)
        says_so = bool(_LISTS.fullmatch(name)) or any(_names_instance(key) for key, *_ in first)
        holds_ids = any(isinstance(x, str) and parse_instance_id(x) for _, *xs in first for x in xs)
        if (says_so and not _RELATED.search(name)) or (holds_ids and not beside_an_id):
            return f".{path}[]" if re.fullmatch(r"[A-Za-z_][\w.]*", path) else ".NAME[]"
    return None


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
