"""The files that one command names: none is written over another."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bulkcancel.errors import UsageError
from bulkcancel.results import descriptor_of, is_replaceable

if TYPE_CHECKING:
    from collections.abc import Sequence

    Place = str | int
    """A path, or the number of an open descriptor."""

_STREAM = "-"
_SUMMARY = "the summary"
_METRICS = "the metrics file"
_STDIN, _STDOUT = 0, 1


class NamedFiles(Protocol):
    """The files that the settings of a command name."""

    @property
    def token_file(self) -> str | None: ...  # noqa: D102
    @property
    def ca_file(self) -> str | None: ...  # noqa: D102
    @property
    def config(self) -> str | None: ...  # noqa: D102
    @property
    def output(self) -> str: ...  # noqa: D102
    @property
    def log_file(self) -> str | None: ...  # noqa: D102
    @property
    def summary(self) -> str | None: ...  # noqa: D102
    @property
    def metrics(self) -> str | None: ...  # noqa: D102


def refuse_shared_files(inputs: Sequence[str], settings: NamedFiles) -> None:
    """Raise `UsageError` if a file to be written is also read, or written as something else.

    Also if summary or metrics could not be written: that would show at the end only, hours later.
    These and the log may share a stream, such as `/dev/stdout`.
    """
    if settings.log_file == _STREAM:
        raise UsageError("--log-file - : the log is on standard error without it; name a file")
    taken: list[tuple[Place, str]] = [
        (_STDIN if name == _STREAM else name, "an input") for name in inputs or [_STREAM]
    ]
    taken += [(settings.token_file or "", "the token file")]
    taken += [(settings.ca_file or "", "the CA file")]
    taken += [(settings.config or "", "the settings file")]
    for name, role in (
        (settings.output, "the results file"),
        (settings.log_file, "the log file"),
        (settings.summary, _SUMMARY),
        (settings.metrics, _METRICS),
    ):
        if not name:
            continue
        place = _place(name)
        shown = "standard output" if place == _STDOUT else name
        if place == _STDOUT and sys.stdout is None and name != settings.output:
            raise UsageError(f"{shown} is closed and cannot be {role}: name a file")
        for other, other_role in taken:
            if other != "" and _same(place, other):
                raise UsageError(
                    f"{shown} is {other_role} and cannot be {role} as well: name another file"
                )
        if isinstance(place, str) or name == settings.output:
            taken.append((place, role))
    for name, role in ((settings.summary, _SUMMARY), (settings.metrics, _METRICS)):
        if name and isinstance(_place(name), str):
            _check_writable(Path(name), role)


def metrics_notes(name: str | None) -> list[str]:
    """Return what to say of the file that metrics go to."""
    if not name or name.endswith(".prom") or not isinstance(_place(name), str):
        return []
    return [f"the node exporter reads names that end in .prom: not {name}"]


def refuse_page_over(results: Sequence[str], page: str) -> None:
    """Raise `UsageError` if a page cannot be written where it is to go, or is a results file."""
    place = _place(page)
    for name in results:
        if _same(place, _STDIN if name == _STREAM else name):
            raise UsageError(f"{page} is a results file and cannot be the page as well")
    if isinstance(place, str):
        _check_writable(Path(page), "the page")


def is_stdout(name: str) -> bool:
    """Return whether a file to be written is standard output, by whatever name."""
    return _place(name) == _STDOUT


def _place(name: str) -> Place:
    """Return what a name to be written to means: `-` and `/dev/stdout` are one descriptor."""
    descriptor = _STDOUT if name == _STREAM else descriptor_of(Path(name))
    return name if descriptor is None else descriptor


def _check_writable(path: Path, role: str) -> None:
    """Raise `UsageError` if what has that role can neither replace `path` nor be written into it.

    The role is told in the message.
    """
    real = Path(os.path.realpath(path))
    try:
        mode = real.stat().st_mode
    except OSError:  # not there yet
        mode = None
    if mode is not None and stat.S_ISDIR(mode):
        raise UsageError(f"{role} {path} is a directory: name a file")
    if mode is not None and not (stat.S_ISREG(mode) or stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)):
        raise UsageError(f"{role} {path} is no file that can be written: name another")
    if not os.path.isdir(real.parent):  # noqa: PTH112 - pathlib's raises without permission
        raise UsageError(f"{role} {path}: there is no directory {real.parent}")
    written = real.parent if mode is None or is_replaceable(path) else real
    if not os.access(written, os.W_OK):
        raise UsageError(f"{role} {path} cannot be written there: name another file")


def _same(place: Place, other: Place) -> bool:
    """Return whether two places are one file, which need not exist yet.

    A terminal and `/dev/null` are no files: nothing in them can be overwritten.
    """
    if place == other:
        return True
    try:
        here = os.stat(place)  # noqa: PTH116 - it may be a descriptor
        if not (stat.S_ISREG(here.st_mode) or stat.S_ISFIFO(here.st_mode)):
            return False
        return os.path.samestat(here, os.stat(other))  # noqa: PTH116
    except OSError:
        return (
            isinstance(place, str)
            and isinstance(other, str)
            and os.path.realpath(place) == os.path.realpath(other)
        )
