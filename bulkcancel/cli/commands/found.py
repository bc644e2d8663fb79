"""What `find` writes: a row for each execution, on standard output or in a file replaced whole."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bulkcancel.errors import OutputError, ResultsError
from bulkcancel.results import is_replaceable, replacing, write_all
from bulkcancel.text import cell, redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from bulkcancel.domo import Execution

    Write = Callable[[Sequence[Execution]], None]

COLUMNS = (
    "instanceId",
    "status",
    "modelName",
    "modelVersion",
    "modelId",
    "startedAt",
    "triggerType",
)
_ATOMIC = 4096
"""Bytes that a pipe takes whole (POSIX: PIPE_BUF): no reader is left with half a row."""


def check_output(output: str) -> None:
    """Raise `OutputError` if nothing can be written there."""
    if output == "-":
        if sys.stdout is None:
            raise OutputError("standard output is closed: choose another -o")
        return
    path = Path(output)
    if path.suffix.lower() not in {".csv", ".jsonl"}:
        raise OutputError(f"the list {output} must end in .csv or .jsonl: name another -o")
    try:
        if path.is_dir():
            raise OutputError(f"the list {output} is a directory: name a file with -o")
        if not is_replaceable(path):
            raise OutputError(f"{output} is no plain file and is not replaced: name another -o")
        if not path.parent.is_dir():
            raise OutputError(f"the list {output}: there is no directory {path.parent}")
        if not os.access(path.parent, os.W_OK):
            raise OutputError(f"the list {output} cannot be written there: name another -o")
        if path.exists() and _is_of_a_run(path):
            raise OutputError(f"{output} is a results file of a run and is kept: name another -o")
    except OSError as error:
        raise OutputError(f"cannot write the list {output}: {error.strerror}") from None


def _is_of_a_run(path: Path) -> bool:
    with path.open("rb") as file:
        return b"outcome" in file.readline(100)


@contextmanager
def rows_to(output: str, token: str) -> Iterator[Write]:
    """Yield what writes rows at once; a file appears when the block ends well.

    The token is written nowhere. Raises `ResultsError`, and `BrokenPipeError` where the reader of
    standard output has gone.
    """
    if output == "-":

        def to_stdout(data: bytes) -> None:
            try:
                write_all(sys.stdout.fileno(), data)
            except BrokenPipeError:
                raise
            except OSError as error:
                reason = f"cannot write to standard output: {error.strerror}"
                raise ResultsError(reason) from None

        to_stdout(_header())
        yield lambda rows: _in_groups(to_stdout, (_csv_row(_cells(r, token)) for r in rows))
        return
    path = Path(output)
    encode = _csv_row if path.suffix.lower() == ".csv" else _json_row
    try:
        with replacing(path) as file:
            if encode is _csv_row:
                file.write(_header())
            yield lambda rows: file.writelines(encode(_cells(r, token)) for r in rows)
    except OSError as error:
        raise ResultsError(f"cannot write the list {output}: {error.strerror}") from None


def _header() -> bytes:
    return f"{','.join(COLUMNS)}\n".encode()


def _in_groups(write: Callable[[bytes], None], lines: Iterable[bytes]) -> None:
    group = b""
    for line in lines:
        if group and len(group) + len(line) > _ATOMIC:
            write(group)
            group = b""
        group += line
    if group:
        write(group)


def _cells(execution: Execution, token: str) -> list[str | None]:
    each = execution
    values = (each.status, each.modelName, each.modelVersion, each.modelId, each.startedAt)
    texts = (*values, each.triggerType)
    return [each.instance_id, *(None if t is None else redact(t, token) for t in texts)]


def _csv_row(cells: list[str | None]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([cell(each or "") for each in cells])
    return line.getvalue().encode()


def _json_row(cells: list[str | None]) -> bytes:
    return json.dumps(dict(zip(COLUMNS, cells, strict=True))).encode() + b"\n"
