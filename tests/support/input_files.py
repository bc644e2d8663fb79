"""Files and pipes to read, for the tests of the input."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from bulkcancel.ids import PageHost
from bulkcancel.inputs import CheckedInput, Condition, InputOptions, check_files

if TYPE_CHECKING:
    from pathlib import Path

    from bulkcancel.inputs.columns import Format


def instance_id(number: int) -> str:
    """Return the instance ID with this number: the same one every time."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, str(number)))


A, B, C, D = (instance_id(n) for n in range(4))


def check(
    directory: Path,
    *contents: str | bytes,
    name: str = "runs.csv",
    column: str | None = None,
    format: Format = "auto",  # noqa: A002 - the option's name
    encoding: str | None = None,
    where: tuple[str, ...] = (),
    host: str | None = None,
) -> CheckedInput:
    """Write each content to a file (the first one `name`d) and read them all."""
    paths = []
    for number, content in enumerate(contents):
        path = directory / (name if number == 0 else f"{number}-{name}")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        paths.append(str(path))
    options = InputOptions(
        column=column,
        format=format,
        encoding=encoding,
        where=tuple(Condition.parse(text) for text in where),
        pages=PageHost(host),
    )
    checked = check_files(paths, options)
    counts = checked.counts
    assert counts.targets == len(checked) == len(set(ids(checked)))
    assert counts.invalid == len(checked.invalid)
    assert counts.rows == counts.targets + counts.duplicates + counts.invalid + counts.filtered
    return checked


def ids(checked: CheckedInput) -> list[str]:
    """Return the IDs in order."""
    return [target.instance_id for target in checked]


def places(checked: CheckedInput) -> list[str]:
    """Return `FILE:LINE` of each target, the file without its directory."""
    return [target.source.rpartition("/")[2] for target in checked]
