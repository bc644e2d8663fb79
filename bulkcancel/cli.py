"""The command line: which command it is, and how its mistakes are told."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import cyclopts
from pydantic import ValidationError

from bulkcancel.errors import BulkcancelError, InterruptedRunError
from bulkcancel.terminal import hold_standard_descriptors, stderr_console
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
# Named by their place, so that only the one that runs is loaded.
app.command(
    "bulkcancel.run_command:app", name="run", help="Cancel every instance listed in the inputs."
)
app.command(
    "bulkcancel.sandbox_command:app",
    name="sandbox",
    help="Serve a local stand-in for Domo's Workflow API, for rehearsals and tests.",
)

_VALUE = re.compile(r"(--[\w-]+)=[^\s\"']+")


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
        _complain(str(error))
        return error.exit_code
    except cyclopts.CycloptsError as error:
        _complain(_sentence(error))
        return 2
    except (BrokenPipeError, SystemExit):  # rich's word for it is SystemExit
        # Whoever read our output has left; Python must not say so at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    return code if isinstance(code, int) else 0


def _complain(message: str) -> None:
    stderr_console().print(f"bulkcancel: {visible(message)}", markup=False, soft_wrap=True)


def _sentence(error: cyclopts.CycloptsError) -> str:
    """Return what is wrong with the flags or settings, without pydantic's or cyclopts' frames."""
    cause = error.__cause__
    if isinstance(cause, ValidationError):
        return "; ".join(_complaint(dict(e)) for e in cause.errors(include_url=False))
    text = _VALUE.sub(r"\1=…", " ".join(str(error).split()))  # it may be a token
    return f"{text.rstrip('.')}. See bulkcancel --help"


def _complaint(error: dict[str, object]) -> str:
    location = error["loc"]
    name = str(location[0]).replace("_", "-") if isinstance(location, tuple) and location else ""
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"--{name}: {message}" if name else message
