"""What is wrong with a command line: each mistake a sentence with the fix, in no library's words.

Values are repeated only where they cannot be a token.
"""

from __future__ import annotations

import difflib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import (
    CoercionError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)
from pydantic import ValidationError

from bulkcancel.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cyclopts import CycloptsError, Token
    from cyclopts.argument import Argument

_SWITCH = "is on or off: give it alone, or with =true or =false"
_NEEDS: Mapping[object, str] = {
    bool: _SWITCH,
    "int_parsing": "needs a whole number",
    "int_from_float": "needs a whole number",
    "float_parsing": "needs a number",
    "bool_parsing": _SWITCH,
}
_ALONE = ("--help", "--version")


def sentence_of(error: CycloptsError, commands: Iterable[str]) -> str:
    """Return what is wrong and what would be right; `commands` are all that exist."""
    help_of = f"see {' '.join(['bulkcancel', *(error.command_chain or ()), '--help'])}"
    match error:
        case UnknownCommandError(unused_tokens=[word, *more]):
            return _unknown_command(word, commands, more=bool(more))
        case UnusedCliTokensError(command_chain=[*_, command]):
            return f"bulkcancel {command} takes options alone: {help_of}"
        case UnknownOptionError(token=token, argument_collection=known):
            names = [name for argument in known for name in argument.names]
            return _unknown_option(token.keyword or token.value, names, help_of)
        case MissingArgumentError(keyword=str(keyword)):
            return f"{keyword} needs a value: {help_of}"
        case RepeatArgumentError(token=token):
            return f"{_named(token)} is given twice: give it once"
        case CoercionError(token=token, target_type=kind) if token is not None:
            return f"{_named(token)} {_NEEDS.get(kind, 'has a value that cannot be read')}"
    cause = error.__cause__
    if isinstance(cause, ValidationError) and error.argument is not None:
        return "; ".join(_refusal(dict(e), error.argument) for e in cause.errors(include_url=False))
    return f"the command line cannot be read: {help_of}"


def refuse_options(inputs: Iterable[str], settings: Iterable[str]) -> None:
    """Raise `UsageError` if an input is an option that does not exist: `-x` may be a file."""
    for word in inputs:
        if word.startswith("-") and word != "-":
            known = [f"--{name.replace('_', '-')}" for name in settings]
            hint = "see bulkcancel run --help (a file of that name: put ./ before it)"
            raise UsageError(_unknown_option(word, known, hint))


def _unknown_option(word: str, known: Iterable[str], help_of: str) -> str:
    """Return what to say of an option that does not exist, without its value."""
    name = word.partition("=")[0] if word.startswith("--") else word[:2]
    return f"unknown option {name}: {_close(name, [*known, *_ALONE]) or help_of}"


def _unknown_command(word: str, commands: Iterable[str], *, more: bool) -> str:
    if word.startswith("-"):
        hint = _close(word, _ALONE) or f"options follow the command, {' or '.join(commands)}"
        return f"unknown option {word.partition('=')[0]}: {hint}"
    hint = _close(word, commands)
    if not hint and _is_input(word):
        hint = f"did you mean: {shlex.join(['bulkcancel', 'run', word])}{' …' if more else ''}"
    return f"{word!r} is no command: {hint or 'there are ' + ' and '.join(commands)}"


def _is_input(word: str) -> bool:
    """Return whether a word may have been meant as an input of `run`."""
    try:
        return "." in word or "/" in word or word.count("-") == 4 or Path(word).exists()
    except (OSError, ValueError):
        return False


def _close(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), 1, 0.7)
    return f"did you mean {close[0]}?" if close else ""


def _named(token: Token) -> str:
    """Return the flag, the environment variable or the settings file's key that a value is from."""
    return f"the settings file's {token.keyword}" if token.source == "file" else str(token.keyword)


def _refusal(error: Mapping[str, object], argument: Argument) -> str:
    """Return one of pydantic's complaints about the options that `argument` consists of."""
    location, kind, limits = error["loc"], str(error["type"]), error.get("ctx")
    name = str(location[0]) if isinstance(location, tuple) and location else ""
    tokens = [t for each in argument.children if each.keys[-1] == name for t in each.tokens]
    named = _named(tokens[0]) if tokens else ""
    limits = limits if isinstance(limits, dict) else {}
    if kind == "value_error":
        said = str(error["msg"]).removeprefix("Value error, ")
        return f"{named}: {said}" if named else said
    if kind == "literal_error":
        choices = str(limits["expected"]).replace("'", "")
        return f"{named} may be {choices}"
    if "ge" in limits or "le" in limits:
        return f"{named} must be " + (
            f"{limits['ge']} or more" if "ge" in limits else f"{limits['le']} or less"
        )
    return f"{named} {_NEEDS.get(kind, 'has a value that cannot be read')}"
