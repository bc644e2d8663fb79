"""What to do next, by what the rows say."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

from bulkcancel.models import SENT_AGAIN, UNSEEN, Outcome

if TYPE_CHECKING:
    from bulkcancel.analysis.figures import Figures, FileFigures

_STDIN = "-"
_SANDBOX = "sandbox"
_MOST_COMMANDS = 20
_FINAL = frozenset({Outcome.NOT_FOUND, Outcome.REJECTED, Outcome.INVALID})


class Step(NamedTuple):
    """Something to do."""

    said: str
    commands: tuple[str, ...] = ()
    """Quoted for a POSIX shell; `INPUT` is to be replaced."""


def steps(figures: Figures) -> list[Step]:
    """Return what to do next, what matters most first; nothing where all is done."""
    found = []
    if figures.torn:
        found.append(
            Step(
                "A last row is not whole. If a run still writes the file, report again later; if "
                "not, it was cut off: the command that wrote it, with --resume, mends it."
            )
        )
    again = [each for each in figures.files if each.count_of(*SENT_AGAIN) or each.unreadable]
    count = sum(each.count_of(*SENT_AGAIN) for each in again)
    if again:
        what, them = "What cannot be read", "it"
        if count:
            what, them = f"{count:,} failed, forbidden or unconfirmed", "them"
        found.append(
            Step(
                f"{what}: --resume sends {them} again; the same command as before, as",
                _commands("run INPUT --resume -o", again, figures),
            )
        )
    unseen = [each for each in figures.files if each.count_of(*UNSEEN)]
    if unseen and not _rehearsed(figures):  # that sandbox, and what it knew, is gone
        count = sum(each.count_of(*UNSEEN) for each in unseen)
        found.append(
            Step(
                f"{count:,} accepted or unconfirmed: whether they have stopped is told by",
                _commands("verify", unseen, figures),
            )
        )
    if count := sum(figures.outcomes.get(each, 0) for each in _FINAL):
        found.append(
            Step(
                f"{count:,} not found, rejected or invalid: sending them again changes nothing; "
                "their errors say why."
            )
        )
    return found


def _rehearsed(figures: Figures) -> bool:
    return {group.key for group in figures.hosts} == {_SANDBOX}


def _commands(words: str, files: list[FileFigures], figures: Figures) -> tuple[str, ...]:
    """Return a command for each file that has a name."""
    rehearsal = " --sandbox" if _rehearsed(figures) else ""
    names = [each.name for each in files if each.name != _STDIN][:_MOST_COMMANDS]
    shown = [name if not name.startswith("-") else f"./{name}" for name in names]
    return tuple(f"bulkcancel {words} {shlex.quote(name)}{rehearsal}" for name in shown)
