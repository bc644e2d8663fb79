"""JSON Lines: one object or one string a line."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING

from bulkcancel.ids import ANY_ID, parse_instance_id
from bulkcancel.inputs.columns import (
    FILTERED,
    LONGEST_CELL,
    closest_name,
    find_named,
    quoted,
    row_of,
)
from bulkcancel.inputs.facts import NOWHERE, Places, find_beside
from bulkcancel.inputs.json_keys import Object, find_ids, flat, list_of_instances, others_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bulkcancel.errors import InputError
    from bulkcancel.inputs.columns import Condition, InputOptions, Row
    from bulkcancel.inputs.facts import Facts
    from bulkcancel.inputs.json_keys import Pairs
    from bulkcancel.inputs.lines import NumberedLines


class _Number(str):
    """A number as it was spelt."""

    __slots__ = ()


# Numbers stay as they are written: `--where` compares text, and 1.10 must not become 1.1.
_DECODER = json.JSONDecoder(object_pairs_hook=Object, parse_int=_Number, parse_float=_Number)
_CONSTANTS = {True: "true", False: "false", None: ""}
ARRAY = "is a JSON array: give one object a line, as jq -c '.[]' does"
_ONE_A_LINE = (
    "give one object a line, as jq -c . does, or jq -c '.NAME[]' for what an object lists under "
    "NAME"
)
_MOST_KEYS = 10


def json_rows(
    numbered: Iterator[tuple[int, str]],
    lines: NumberedLines,
    options: InputOptions,
    facts: Facts,
) -> Iterator[Row]:
    """Yield the rows of JSON Lines: strings that are IDs, or objects with an ID under a key.

    The key is found in each object by itself, up to four deep. Keys named by `--where` must
    stand in the first object, which shows a misspelt one; where they are missing later they
    count as empty, like null. Raises `InputError` at what is not JSON.
    """
    reader = _Reader(lines, options, facts)
    for line, text in numbered:
        if text and not text.isspace():
            yield reader.row(line, text)


def _decode(line: int, text: str, lines: NumberedLines) -> object:
    if len(text) > LONGEST_CELL:
        raise lines.error(line, f"is over 128 KiB: {_ONE_A_LINE}")
    try:
        value: object = _DECODER.decode(text.strip(" \t\r\n\ufeff"))
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("["):
            raise lines.error(line, ARRAY) from None
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "too deep or too long"
        raise lines.error(line, f"is not JSON ({reason}): {_ONE_A_LINE}") from None
    if isinstance(value, list) and not isinstance(value, Object):
        raise lines.error(line, ARRAY)
    return value


class _Reader:
    """Reads the lines of one input, and remembers under which keys the IDs are."""

    def __init__(self, lines: NumberedLines, options: InputOptions, facts: Facts) -> None:
        self._lines = lines
        self._options = options
        self._facts = facts
        self._places = NOWHERE
        self._is_first = True
        self._named: set[str] = set()
        """Keys that name an instance under which IDs have been found."""
        self._bare: set[str] = set()
        """The same for `id`, which may be of anything."""

    def row(self, line: int, text: str) -> Row:
        """Return the row that a line is. Raises `InputError`."""
        lines, options = self._lines, self._options
        value = _decode(line, text, lines)
        if not isinstance(value, Object):
            if options.where:
                raise lines.error(line, "is not an object, so --where has nothing to look at")
            return self._row_of(line, value)
        pairs = flat(value)
        names = tuple([name for name, _ in pairs])
        if lines.guessed and not "".join(names).isascii():
            raise lines.not_utf8(line, "a key")
        found, is_bare = find_ids(names, options.column)
        if is_bare or not found:
            self._refuse_list(line, pairs, beside_an_id=is_bare)
        if self._is_first:
            self._is_first = False
            self._check_names(line, names, found)
        where = options.where
        if where and not all(c.holds(self._scalar(line, pairs, names, c)) for c in where):
            return line, "", FILTERED, None
        if not found or (is_bare and self._named):
            wanted = options.column or min(self._named, default="instanceId")
            keys = quoted(names) or "none"
            return line, "", f'no "{wanted}" in this object; its keys are {keys}', None
        if is_bare and len(found) == 1:
            self._refuse_envelope(line, text, value, pairs[found[0]])
        row = self._chosen(line, [pairs[i] for i in found], is_bare=is_bare)
        return *row[:3], self._told(pairs, names, names[found[0]])

    def _told(self, pairs: Pairs, names: tuple[str, ...], id_path: str) -> list[str]:
        """Return what an object tells besides: workflow, status and start."""
        places = find_beside(names, id_path)
        if places is not self._places:
            self._places = places
            here = None if places.status is None else 1
            self._facts.begin(Places(0, here, 2, places.status_name))
        values = ["" if i is None else pairs[i][1] for i in places[:3]]
        return [value if isinstance(value, str) else "" for value in values]

    def _chosen(self, line: int, found: Pairs, *, is_bare: bool) -> Row:
        name, value = found[0]
        if len(found) > 1:
            if all(other == name for other, _ in found):
                return line, _text(value)[0], f'"{name}" stands here twice', None
            raise self._unclear(line, [other for other, _ in found])
        if name not in self._named and name not in self._bare:
            self._note(line, name, is_bare=is_bare)
        return self._row_of(line, value)

    def _row_of(self, line: int, value: object) -> Row:
        text, problem = _text(value)
        if problem is not None:
            return line, text, problem, None
        return row_of(line, text, self._lines, self._options)

    def _refuse_list(self, line: int, pairs: Pairs, *, beside_an_id: bool) -> None:
        path = list_of_instances(pairs, beside_an_id=beside_an_id)
        if path is not None:
            raise self._lines.error(
                line, f"this object lists instances: give one a line, as jq -c '{path}' does"
            )

    def _refuse_envelope(
        self, line: int, text: str, value: Object, bare: tuple[str, object]
    ) -> None:
        """Raise if an `id` may be that of the message, and the instance's another one in it."""
        name, own = bare
        own = parse_instance_id(own) if isinstance(own, str) else None
        if own is not None and any(each.lower() != own for each in ANY_ID.findall(text)):
            others = list(islice(others_in(value, own), _MOST_KEYS))
            if others:
                raise self._unclear(line, [name, *others])

    def _unclear(self, line: int, names: list[str]) -> InputError:
        return self._lines.error(
            line, f"it is not clear which ID is the instance's: {quoted(names)}: use --column NAME"
        )

    def _check_names(self, line: int, names: tuple[str, ...], found: list[int]) -> None:
        """Raise if the first object has no key that was named: it is misspelt."""
        keys = f"in the first object; its keys are {quoted(names) or 'none'}"
        if self._options.column is not None and not found:
            raise self._lines.error(line, f'there is no "{self._options.column}" {keys}')
        for condition in self._options.where:
            if not find_named(names, condition.column):
                hint = closest_name(condition.column, names)
                raise self._lines.error(
                    line, f'--where: there is no "{condition.column}" {keys}{hint}'
                )

    def _scalar(self, line: int, pairs: Pairs, names: tuple[str, ...], condition: Condition) -> str:
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
