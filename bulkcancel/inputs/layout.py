"""Which cells of a table matter, told from its header or, without one, its first row."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from bulkcancel.ids import parse_instance_id
from bulkcancel.inputs.columns import (
    ANOTHER_TABLE,
    ID_NAMES,
    Condition,
    InputOptions,
    closest_name,
    find_id_column,
    find_named,
    is_number,
    is_of_something_else,
    looks_like_header,
    names_ids,
    normalise,
    quoted,
)
from bulkcancel.inputs.facts import NOWHERE, find_in_header

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bulkcancel.inputs.facts import Places
    from bulkcancel.inputs.lines import NumberedLines

_LONGEST_NAME = 200  # a longer cell is no name

Record: TypeAlias = tuple[int, list[str], bool]
"""The number of its first line, its cells, and whether it spans several lines."""


class Layout(NamedTuple):
    """Where a row's cells are."""

    width: int
    id_index: int
    conditions: tuple[tuple[int, Condition], ...]
    model: str
    """What set the width, for messages."""
    from_first_row: bool = False
    """Whether it is only from the first row that the column is known."""
    names: tuple[str, ...] = ()
    """The header's, normalised; none without one."""
    rivals: tuple[int, ...] = ()
    """Other columns that may hold the instance's ID, if the ID column is called just `id`."""
    facts: Places = NOWHERE


def headless_layout(first: Record, lines: NumberedLines, options: InputOptions) -> Layout | None:
    """Return the layout of a table whose first record is a row, `None` if it is a header."""
    line, cells, _ = first
    held = [i for i, cell in enumerate(cells) if parse_instance_id(cell)]
    column = options.column
    if not held or (column is not None and not is_number(column)):
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
    if len(cells) > 1:
        lines.note(f"there is no header: IDs are read from column {held[0] + 1}")
    return Layout(len(cells), held[0], (), "the first row", from_first_row=column is None)


def headed_layout(
    first: Record, following: Iterator[Record], lines: NumberedLines, options: InputOptions
) -> Layout:
    """Return the layout that a header gives.

    Raises `InputError` unless it names one ID column and those of `--where`; `following` is read
    only for that message.
    """
    line, cells, _ = first
    names = [cell.strip() for cell in cells]
    if lines.guessed and not "".join(names).isascii():
        raise lines.not_utf8(line, "the header")
    found = find_id_column(names, options.column)
    if not found and options.column is not None and is_number(options.column):
        found = [int(options.column) - 1] if 1 <= int(options.column) <= len(names) else []
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
            hint = "" if at else closest_name(condition.column, names)
            message = f'--where: {problem} "{condition.column}"; the columns are {quoted(names)}'
            raise lines.error(line, message + hint)
        conditions.append((at[0], condition))
    lines.note(f'IDs are read from column "{names[found[0]]}"')
    normalised = tuple(normalise(name) for name in names)
    rivals: tuple[int, ...] = ()
    if options.column is None and normalised[found[0]] == "id":
        rivals = tuple(
            i for i, name in enumerate(names) if i != found[0] and not is_of_something_else(name)
        )
    return Layout(
        len(names),
        found[0],
        tuple(conditions),
        "the header",
        names=normalised,
        rivals=rivals,
        facts=find_in_header(names, found[0]),
    )


def is_header_again(record: Record, layout: Layout, lines: NumberedLines) -> bool:
    """Return whether a record without an ID in its place is the table's header once more.

    So files put together have it. Raises `InputError` for what looks like another table's
    header: its columns may be in another order, so what follows cannot be read.
    """
    line, cells, _ = record
    names = tuple(normalise(cell[:_LONGEST_NAME]) for cell in cells)
    if names == layout.names:
        return True
    if any(parse_instance_id(cell) for cell in cells[: layout.width]):
        # A row, unless a header is stuck to it because the line end between them is missing.
        stuck = [name for name in names[layout.width :] if name]
        is_other = bool(stuck) and (
            any(name in ID_NAMES or name in layout.names for name in stuck)
            or names_ids(cells[layout.width - 1])
        )
    else:
        known = {*ID_NAMES, *(layout.names[layout.id_index : layout.id_index + 1])}
        given = [name for name in names if name]
        is_other = (
            any(name in known for name in given)
            or looks_like_header(cells, layout.id_index)
            or sum(name in layout.names for name in given) >= max(2, len(given) / 2)
        )
    if is_other:
        raise lines.error(line, ANOTHER_TABLE)
    return False


def _no_id_column(names: list[str], following: Iterator[Record], column: str | None) -> str:
    wanted = "column of instance IDs" if column is None else f'column "{column}"'
    message = f"there is no {wanted}; the columns are {quoted(names)}"
    _, cells, _ = next(following, (0, [], False))
    row = zip(names, cells, strict=False)
    holding = [n for n, cell in row if parse_instance_id(cell) and not is_of_something_else(n)]
    if len(holding) == 1:
        return f'{message}: "{holding[0]}" holds an ID, so try --column "{holding[0]}"'
    if holding:
        return f"{message}: {quoted(holding)} hold IDs: use --column with that of the instances"
    if column is not None and any(parse_instance_id(name) for name in names):
        return f"{message}: there is no header, so give the column's number, as in --column 1"
    if column is None:
        return f"{message}: name one with --column NAME, or take away what is above the header"
    return f"{message}, and no line among the first ten has it"
