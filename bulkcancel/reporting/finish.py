"""The command that finishes a stopped run, and what a person has to do besides."""

from __future__ import annotations

import os
import re
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Names of descriptors that only the stopped process has, such as a shell makes for <(...).
_DESCRIPTOR = re.compile(r"(?<![^=])/(?:dev/fd|proc/(?:self|[0-9]+)/fd)/[0-9]+$")
_STDIN = "-"
_STDIN_PATHS = frozenset({"/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})
_REPLACED = frozenset({"--resume", "--overwrite"})
_FILE = "FILE"
_PROXY = "--proxy"
_PROXY_LOGIN = re.compile(r"^((?:--proxy=)?(?:[a-z]+://)?).*@", re.IGNORECASE | re.DOTALL)
_LOGIN = "LOGIN"


class Finish(NamedTuple):
    """How to finish a run."""

    command: str
    """Quoted for a POSIX shell."""
    needs: str = ""
    """What to do besides, in words to print before the command; empty where it works alone."""


def finish_command(
    arguments: Sequence[str], inputs: Sequence[str], variables: Iterable[str]
) -> Finish:
    """Return the command that resumes a run; `arguments` are the run's, after `bulkcancel`.

    `inputs` are the names of its inputs, with `-` for standard input even where that was not
    named; `variables` are the environment variables that hold settings of the run.
    """
    command, *rest = _without_login(arguments) or ["run"]
    kept: list[str] = []
    stdin = _STDIN in inputs
    gone = False
    for word in rest:
        if word.partition("=")[0] in _REPLACED:
            continue
        if word.rpartition("=")[2] in _STDIN_PATHS:
            stdin = True
        elif _DESCRIPTOR.search(word) or (word in inputs and _is_pipe(word)):
            gone = True
            word = _FILE if word in inputs else _DESCRIPTOR.sub(_FILE, word)  # noqa: PLW2901
        kept.append(word)
    needs = []
    if stdin:
        from_file = stat.S_ISREG(os.fstat(0).st_mode)
        needs.append("redirect the same file into" if from_file else "pipe the same IDs into")
        if _STDIN in inputs and _STDIN not in kept:
            kept.insert(0, _STDIN)
    if gone:
        needs.append(f"with a file of the same content in place of {_FILE}")
    if rest != [*arguments[1:]]:
        needs.append(f"with the proxy's user:password in place of {_LOGIN}")
    if settings := sorted(variables):
        needs.insert(0, f"with {' and '.join(settings)} set as for this run")
    return Finish(shlex.join(["bulkcancel", command, "--resume", *kept]), ", ".join(needs))


def _without_login(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with another word for the login in a proxy's address."""
    return [
        _PROXY_LOGIN.sub(rf"\1{_LOGIN}@", word)
        if before == _PROXY or word.startswith(f"{_PROXY}=")
        else word
        for before, word in zip(["", *arguments], arguments, strict=False)
    ]


def _is_pipe(name: str) -> bool:
    """Return whether an input can be read only once."""
    try:
        return name != _STDIN and not stat.S_ISREG(Path(name).stat().st_mode)
    except (OSError, ValueError):
        return False
