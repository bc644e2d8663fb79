"""Inputs to targets: files read and checked whole, a pipe as it comes."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from bulkcancel.errors import InputError
from bulkcancel.ids import pack, unpack, why_no_id
from bulkcancel.inputs.columns import FILTERED
from bulkcancel.inputs.formats import open_rows
from bulkcancel.inputs.lines import STDIN, NumberedLines
from bulkcancel.inputs.worklist import CheckedInput
from bulkcancel.models import InvalidRow, Target
from bulkcancel.text import shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from bulkcancel.inputs.columns import InputOptions
    from bulkcancel.inputs.facts import Facts

_CHUNK_BYTES = 64 * 1024  # what stays in a core's cache between decoding and splitting
_PART_OF_A_UUID = re.compile(r"[0-9a-f]{4}-[0-9a-f]{4}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Argument:
    """An instance ID, or an executions page's address, that is itself the input `number`."""

    text: str
    number: int


def check_files(
    inputs: Sequence[str | BinaryIO | Argument],
    options: InputOptions,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> CheckedInput:
    """Read every input to its end and return its targets, before anything is sent.

    An input is a path, a redirected standard input, which is not closed, or an ID by itself.
    `on_progress` is called with the bytes read and the bytes in all, as far as known. Raises
    `InputError` with file and line.
    """
    checked = CheckedInput()
    progress = _Progress(sum(_size(i) for i in inputs), on_progress)
    for item in inputs:
        if isinstance(item, str):
            with _open(item) as file:
                _check(item, file, options, checked, progress)
        elif isinstance(item, Argument):
            _check_argument(item, options, checked)
        else:
            _check(STDIN, item, options, checked, progress)
    return checked


def stream(
    chunks: Iterable[bytes], options: InputOptions, checked: CheckedInput
) -> Iterator[Target | InvalidRow]:
    """Yield what each record of standard input is as soon as its line is complete.

    It goes on with the counts, the notes and the IDs seen of `checked`, the files read before.
    Raises `InputError` at the first line that cannot be read; rows that came before it, except
    some in the same chunk, have been yielded.
    """
    lines = NumberedLines(chunks, name=STDIN, encoding=options.encoding, notes=checked.notes)
    for item in _distinct(lines, options, checked, look_ahead=False):
        if isinstance(item, InvalidRow):
            yield item
        else:
            line, packed, _ = item
            yield Target(unpack(packed), f"{STDIN}:{line}")


def _distinct(
    lines: NumberedLines, options: InputOptions, checked: CheckedInput, *, look_ahead: bool
) -> Iterator[tuple[int, bytes, Sequence[str] | None] | InvalidRow]:
    """Yield line, packed ID and cells of each row that names a new target, and invalid rows.

    Of either only what belongs to the shard, where there are shards.
    """
    # Hot: a million times a file.
    counts, from_hex, add = checked.counts, bytes.fromhex, checked.seen.add
    shard = options.shard
    rows = open_rows(lines, options, checked.facts, look_ahead=look_ahead)
    for line, text, problem, cells in rows:
        if problem is None:
            packed = from_hex(text.replace("-", ""))
            if not add(packed):
                counts.duplicates += 1
            elif shard is None or shard.holds(text):
                counts.targets += 1
                yield line, packed, cells
            else:
                counts.add_of_other_shard()
        elif problem is FILTERED:
            counts.filtered += 1
        else:
            if lines.guessed and not text.isascii():
                raise lines.not_utf8(line, "the ID")
            held = _encodable(text)
            if shard is None or shard.holds(held):
                counts.invalid += 1
                yield InvalidRow(shorten(held), f"{lines.name}:{line}", problem)
            else:
                counts.add_of_other_shard()


def _encodable(text: str) -> str:
    """Return `text` as UTF-8 can hold it: file names and JSON may have lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class _Progress:
    """Counts the bytes of all files."""

    def __init__(self, total: int, on_progress: Callable[[int, int], None] | None) -> None:
        self._read = 0
        self._total = total
        self._on_progress = on_progress

    def chunks(self, name: str, file: BinaryIO) -> Iterator[bytes]:
        while True:
            try:
                chunk = file.read(_CHUNK_BYTES)
            except OSError as error:
                raise InputError(f"cannot read {name}: {error.strerror or error}") from None
            if not chunk:
                return
            self._read += len(chunk)
            if self._on_progress is not None:
                self._on_progress(self._read, max(self._read, self._total))
            yield chunk


def _check(
    name: str, file: BinaryIO, options: InputOptions, checked: CheckedInput, progress: _Progress
) -> None:
    name = _encodable(name)
    checked.begin(name)
    lines = NumberedLines(
        _settled(progress.chunks(name, file), checked.facts),
        name=name,
        encoding=options.encoding,
        notes=checked.notes,
    )
    add, add_facts = checked.add, checked.facts.add
    for item in _distinct(lines, options, checked, look_ahead=True):
        if isinstance(item, InvalidRow):
            checked.invalid.append(item)
        else:
            line, packed, cells = item
            add(packed, line)
            add_facts(cells)
    checked.facts.settle()  # the rows of the last chunk would be kept for the whole run


def _settled(chunks: Iterable[bytes], facts: Facts) -> Iterator[bytes]:
    """Yield the chunks; no more rows than one has are held for the facts in them."""
    for chunk in chunks:
        facts.settle()
        yield chunk


def _check_argument(argument: Argument, options: InputOptions, checked: CheckedInput) -> None:
    instance_id, problem = options.pages.read(argument.text)
    if problem is not None:
        raise InputError(f"{shorten(argument.text)}: {problem}")
    packed = pack(instance_id)
    checked.begin("argument")
    if not checked.seen.add(packed):
        checked.counts.duplicates += 1
    elif options.shard is None or options.shard.holds(instance_id):
        checked.counts.targets += 1
        checked.add(packed, argument.number)
        checked.facts.add(None)
    else:
        checked.counts.add_of_other_shard()


def _open(path: str) -> BinaryIO:
    try:
        return Path(path).open("rb", buffering=0)
    except OSError as error:
        if os.path.isdir(path):  # noqa: PTH112 - pathlib's raises where nobody may look
            raise InputError(f"cannot read {path}: it is a directory, name the file") from None
        reason = why_no_id(path)
        meant_as_id = reason != "not a UUID" or _PART_OF_A_UUID.search(path)
        hint = f"; as an instance ID it is {reason}" if meant_as_id else ""
        raise InputError(f"cannot read {path}: {error.strerror or error}{hint}") from None


def _size(item: str | BinaryIO | Argument) -> int:
    """Return the bytes a regular file holds, 0 for anything else."""
    if isinstance(item, Argument):
        return 0
    try:
        status = Path(item).stat() if isinstance(item, str) else os.fstat(item.fileno())
    except (OSError, ValueError):
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
