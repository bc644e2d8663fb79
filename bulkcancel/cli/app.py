"""The command line: which command it is, and how its mistakes are told."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import cyclopts

from bulkcancel.cli.mistakes import sentence_of
from bulkcancel.cli.process import hold_standard_descriptors
from bulkcancel.cli.settings_sources import PREFIX
from bulkcancel.errors import CRASHED, BulkcancelError, InterruptedRunError, fault_of
from bulkcancel.text import visible
from bulkcancel.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

app = cyclopts.App(
    name="bulkcancel",
    help="Cancel thousands of stuck Domo workflow runs: paced, resumable, one true row for each.",
    help_epilogue="Exit codes: 0 every ID succeeded, 1 some failed, 2 bad usage or input (nothing "
    "was sent), 3 token refused, 4 stopped early, 5 results could not be written, 6 another run "
    "holds the results file, 129/130/143 stopped by a signal.",
    version=VERSION,
    version_flags=["--version"],
    result_action="return_value",
)
# Named by module and attribute, so that only the command that runs is loaded.
app.command(
    "bulkcancel.cli.run:app", name="run", help="Cancel every instance listed in the inputs."
)
app.command(
    "bulkcancel.cli.sandbox:app",
    name="sandbox",
    help="Serve a local stand-in for Domo's Workflow API, for rehearsals and tests.",
)

_COMMANDS = ("run", "sandbox")


def run_cli(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; mistakes are told in a sentence on stderr."""
    hold_standard_descriptors()
    try:
        code = app(list(arguments), exit_on_error=False, print_error=False)
        if sys.stdout is not None:  # closed, as in `>&-`
            sys.stdout.flush()
    except InterruptedRunError as error:
        _complain(f"{error}: nothing was sent")
        return error.exit_code
    except BulkcancelError as error:
        _refuse(str(error), error.exit_code, arguments)
        return error.exit_code
    except cyclopts.CycloptsError as error:
        _refuse(sentence_of(error, _COMMANDS), 2, arguments)
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
    from bulkcancel.reporting import logs_are_json, make_logger  # noqa: PLC0415 - as below

    if arguments[:1] != ["run"] or not logs_are_json(_log_format(arguments)):
        _complain(message)
        return
    log = make_logger(
        console=_say, console_level="error", json_console=True, file=None, file_level="error"
    )
    log.error("run.refused", error=message, exit_code=code)


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
    from bulkcancel.reporting import stderr_console  # noqa: PLC0415 - `--help` need not load it

    stderr_console().print(visible(line), markup=False, soft_wrap=True)
