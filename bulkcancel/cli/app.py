"""The command line: which command it is, and how its mistakes are told.

Each mistake is a sentence with the fix, in no library's words; values are repeated only where they
cannot be a token or hold a password.
"""

from __future__ import annotations

import os
import shlex
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import cyclopts
from cyclopts import (
    CoercionError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)
from pydantic import ValidationError

from bulkcancel.cli.process import hold_standard_descriptors
from bulkcancel.cli.settings_sources import ALONE, PREFIX, unknown_option
from bulkcancel.errors import CRASHED, BulkcancelError, InterruptedRunError, fault_of
from bulkcancel.reporting import logs_are_json, make_logger, stderr_console
from bulkcancel.text import conceal, did_you_mean, visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cyclopts import CycloptsError, Token
    from cyclopts.argument import Argument

app = cyclopts.App(
    name="bulkcancel",
    help="Cancel thousands of stuck Domo workflow runs: paced, resumable, one true row for each.",
    help_epilogue="Exit codes: 0 every ID succeeded, 1 some failed, 2 bad usage or input (nothing "
    "was sent), 3 token refused, 4 stopped early, 5 results could not be written, 6 another run "
    "holds the results file, 129/130/143 stopped by a signal.\n\n"
    "Examples:\n"
    "  bulkcancel run stuck.csv --sandbox\n"
    "  bulkcancel run stuck.csv --instance acme --dry-run\n"
    "  bulkcancel run stuck.csv --instance acme\n"
    "  bulkcancel run --help",
    help_format="plaintext",
    version=lambda: str(import_module("bulkcancel.version").VERSION),  # help need not look it up
    version_flags=["--version", "-V"],
    result_action="return_value",
)
# Named by module and attribute, so that only the command that runs is loaded.
app.command(
    "bulkcancel.cli.commands.run:app",
    name="run",
    help="Cancel every instance listed in the inputs.",
)
app.command(
    "bulkcancel.cli.commands.find:app",
    name="find",
    help="List executions, as an input for run, by an unofficial call that may change.",
)
app.command(
    "bulkcancel.cli.commands.sandbox:app",
    name="sandbox",
    help="Serve a local stand-in for Domo's Workflow API, for rehearsals and tests.",
)

app.command(
    "bulkcancel.cli.commands.verify:app",
    name="verify",
    help="Ask which of the accepted runs have stopped by now (unofficial call, read-only).",
)
app.command(
    "bulkcancel.cli.commands.report:app",
    name="report",
    help="Tell what results files say: outcomes, models, errors, latency; as text, JSON, a page.",
)
app.command(
    "bulkcancel.cli.commands.completion:app",
    name="--install-completion",
    help="Have your shell complete commands, options and file names.",
)

_COMMANDS = ("run", "find", "verify", "report", "sandbox")
_LOGGING = frozenset({"run", "find", "verify"})
"""The commands that have --log-format."""
_NARROWEST = 5  # the library of the help never ends where there is less room
_SWITCH = "is on or off: give it alone, or with =true or =false"
_NEEDS: Mapping[object, str] = {
    bool: _SWITCH,
    "int_parsing": "needs a whole number",
    "int_from_float": "needs a whole number",
    "float_parsing": "needs a number",
    "bool_parsing": _SWITCH,
}


def run_cli(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; mistakes are told in a sentence on stderr."""
    hold_standard_descriptors()
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) < _NARROWEST:  # its size is not known: no width at all
        del os.environ["COLUMNS"]
    try:
        code = app(list(arguments), exit_on_error=False, print_error=False)
        if sys.stdout is not None:  # closed, as in `>&-`
            sys.stdout.flush()
    except InterruptedRunError as error:
        _complain(f"{error}: nothing was sent")
        return error.exit_code
    except BulkcancelError as error:
        _refuse(conceal(str(error)), error.exit_code, arguments)
        return error.exit_code
    except cyclopts.CycloptsError as error:
        _refuse(conceal(_sentence_of(error)), 2, arguments)
        return 2
    except (BrokenPipeError, SystemExit):  # rich makes it a SystemExit
        # The reader of our output has gone; Python must not complain of that at exit.
        _drop_stdout()
        return 0
    except Exception as error:  # noqa: BLE001 - a fault of ours: never a traceback, never exit 1
        _say(fault_of(error))
        _drop_stdout()
        return CRASHED
    return code if isinstance(code, int) else 0


def _drop_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _refuse(message: str, code: int, arguments: Sequence[str]) -> None:
    """Tell why a command line is not carried out: as an event where its logs would be JSON."""
    command = next(iter(arguments), "")
    if command not in _LOGGING or not logs_are_json(_log_format(arguments)):
        _complain(message)
        return
    log = make_logger(
        console=_say, console_level="error", json_console=True, file=None, file_level="error"
    )
    event = f"{command}.refused"
    log.error(event, error=message, exit_code=code)


def _log_format(arguments: Sequence[str]) -> str:
    """Return the log format that a command line asks for, although it has a mistake."""
    flag = "--log-format"
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word == flag or word.startswith(f"{flag}="):
            return following if word == flag else word.partition("=")[2]
    return os.environ.get(f"{PREFIX}LOG_FORMAT", "auto")


def _complain(message: str) -> None:
    _say(f"bulkcancel: {message}")


def _say(line: str) -> None:
    stderr_console().print(visible(line), markup=False, soft_wrap=True)


def _sentence_of(error: CycloptsError) -> str:
    """Return what is wrong and what would be right."""
    help_of = f"see {' '.join(['bulkcancel', *(error.command_chain or ()), '--help'])}"
    match error:
        case UnknownCommandError(unused_tokens=[word, *more]):
            return _unknown_command(word, more=bool(more))
        case UnusedCliTokensError(command_chain=[*_, command]):
            return f"bulkcancel {command} takes options alone: {help_of}"
        case UnknownOptionError(token=token, argument_collection=known):
            names = [name for argument in known for name in argument.names]
            return unknown_option(token.keyword or token.value, names, help_of)
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


def _unknown_command(word: str, *, more: bool) -> str:
    if word.startswith("-"):
        hint = (
            did_you_mean(word, [*ALONE, "--install-completion"])
            or f"options follow the command, {_listed('or')}"
        )
        return f"unknown option {word.partition('=')[0]}: {hint}"
    hint = did_you_mean(word, _COMMANDS)
    if not hint and _is_input(word):
        hint = f"did you mean: {shlex.join(['bulkcancel', 'run', word])}{' …' if more else ''}"
    return f"{word!r} is no command: {hint or 'there are ' + _listed('and')}"


def _listed(last: str) -> str:
    """Return the commands in one text, with a word before the last one."""
    return f"{', '.join(_COMMANDS[:-1])} {last} {_COMMANDS[-1]}"


def _is_input(word: str) -> bool:
    """Return whether a word may have been meant as an input of `run`."""
    try:
        return "." in word or "/" in word or word.count("-") == 4 or Path(word).exists()
    except (OSError, ValueError):
        return False


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
        words = choices.replace(" or ", ", ").split(", ")
        hint = did_you_mean(tokens[0].value.lower(), words) if tokens else ""
        return f"{named} may be {choices}{hint and ': ' + hint}"
    if "ge" in limits or "le" in limits:
        return f"{named} must be " + (
            f"{limits['ge']} or more" if "ge" in limits else f"{limits['le']} or less"
        )
    return f"{named} {_NEEDS.get(kind, 'has a value that cannot be read')}"
