"""The files that one command names: none is written over another."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bulkcancel.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bulkcancel.settings import RunSettings

_STREAM = "-"


def check_files(inputs: Sequence[str], settings: RunSettings) -> None:
    """Raise `UsageError` if a file to be written is also read, or written as something else.

    Or if the summary, which is written at the end, could not be: hours would be lost.
    """
    taken: list[tuple[str | None, str]] = [(name, "an input") for name in inputs or [_STREAM]]
    taken += [(settings.token_file, "the token file"), (settings.config, "the settings file")]
    for name, role in (
        (settings.output, "the results file"),
        (settings.log_file, "the log file"),
        (settings.summary, "the summary"),
    ):
        if not name or name == _STREAM:
            continue
        for other, other_role in taken:
            if other and _same(name, other):
                raise UsageError(
                    f"{name} is {other_role} and cannot be {role} as well: name another file"
                )
        taken.append((name, role))
    if settings.summary:
        _check_writable(Path(settings.summary))


def _check_writable(path: Path) -> None:
    """Raise `UsageError` if the summary could not be put in the place of `path`."""
    if path.is_dir():
        raise UsageError(f"the summary {path} is a directory: name a file")
    if not path.parent.is_dir():
        raise UsageError(f"the summary {path}: there is no directory {path.parent}")
    special = path.exists() and not path.is_file()  # /dev/stdout, a FIFO: written as it is
    if not os.access(path if special else path.parent, os.W_OK):
        raise UsageError(f"the summary {path} cannot be written there: name another file")


def _same(name: str, other: str) -> bool:
    """Return whether two names mean one file, which need not exist yet."""
    try:
        there = os.fstat(0) if other == _STREAM else Path(other).stat()
        return os.path.samestat(Path(name).stat(), there)
    except OSError:
        return other != _STREAM and os.path.realpath(name) == os.path.realpath(other)
