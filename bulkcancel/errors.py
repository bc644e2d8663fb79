"""Every way a run ends early, as exceptions that carry their exit code.

A failed ID is not here: it is a `CancelResult`. The tree:

    BulkcancelError         1  the input was worked through, but is not what was expected
    ├── UsageError          2  a flag, a setting or the environment is wrong
    ├── InputError          2  an input cannot be read as what it claims to be
    ├── OutputError         2  the results file cannot be used; nothing was sent
    │   └── ExistsError     2  it holds an earlier run's rows
    ├── TokenRefusedError   3
    ├── StoppedError        4  an outage, a deadline, too many failures
    │   └── NamingError     4  the text names an argument, or the flag in its place
    │       ├── LimitError      a limit was reached
    │       └── UntrustedError  a certificate of nobody who is trusted
    ├── ResultsError        5  the results could not be written
    ├── BusyError           6  another run holds the results file
    ├── DeclinedError       130  a question was answered with no
    └── InterruptedRunError 129, 130 or 143: SIGHUP, SIGINT, SIGTERM

`CancelInterrupted` is none of these: it is a `KeyboardInterrupt`.
"""

from __future__ import annotations

import traceback
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bulkcancel.models import CancelResult

TOKENS_PAGE = "Admin > Authentication (or Security) > Access tokens"
"""Where Domo makes tokens; the menu has had both names."""
CRASHED = 4
"""The exit code of a fault of bulkcancel itself."""


class BulkcancelError(Exception):
    """Ends a run; its text is a sentence that says what to do."""

    exit_code = 1
    results: Sequence[CancelResult] = ()
    """What had come by then, where `cancel_all` raises it; `cancel_many` has yielded that."""


class UsageError(BulkcancelError):
    """A flag, an argument, a setting or the environment is wrong; nothing was sent."""

    exit_code = 2


class InputError(BulkcancelError):
    """An input cannot be read; names the file and the line."""

    exit_code = 2


class OutputError(BulkcancelError):
    """The results file cannot be used as asked; nothing was sent."""

    exit_code = 2


class ExistsError(OutputError):
    """An earlier run's rows are in the results file, and nothing says what becomes of them."""

    def __init__(self, path: PurePath) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return self._said("resume=True", "overwrite=True")

    def called(self, resume: str, overwrite: str) -> OutputError:
        """Return the same sentence with other names for the arguments, such as flags."""
        return OutputError(self._said(resume, overwrite))

    def _said(self, resume: str, overwrite: str) -> str:
        ways = f"{resume} goes on with it, {overwrite} replaces it"
        return f"{self.path} exists: {ways}, or choose another file"


class TokenRefusedError(BulkcancelError):
    """The server refused the token."""

    exit_code = 3


class StoppedError(BulkcancelError):
    """The run was stopped early: an outage, the deadline, too many failures, a fault of ours."""

    exit_code = 4


class NamingError(StoppedError):
    """The text names an argument between two parts; `name` is what it is called in Python."""

    def __init__(self, before: str, name: str, after: str = "") -> None:
        super().__init__(before, name, after)
        self.name = name

    def __str__(self) -> str:
        return "".join(self.args)

    def called(self, name: str) -> StoppedError:
        """Return the same sentence with another name for the argument, such as a flag's."""
        before, _, after = self.args
        return StoppedError(f"{before}{name}{after}")


class LimitError(NamingError):
    """The run was stopped by one of its limits.

    `name` is `max_outage_s`, `deadline_s`, `max_failures` or `max_failure_share`.
    """


class UntrustedError(NamingError):
    """The server's certificate is of an authority that is not trusted; `name` is `ca_file`."""


class ResultsError(BulkcancelError):
    """The results could not be written; no request was sent after it was noticed."""

    exit_code = 5


class BusyError(BulkcancelError):
    """Another run holds the results file."""

    exit_code = 6


class DeclinedError(BulkcancelError):
    """A question was answered with no; nothing was sent."""

    exit_code = 130


class InterruptedRunError(BulkcancelError):
    """The operator stopped the run by a signal; `exit_code` is 128 plus its number."""

    def __init__(self, signal_name: str, signal_number: int) -> None:
        super().__init__(f"interrupted by {signal_name}")
        self.exit_code = 128 + signal_number


class CancelInterrupted(KeyboardInterrupt):
    """Ctrl-C has ended `cancel_all`; `results` had come by then."""

    def __init__(self, results: Sequence[CancelResult]) -> None:
        super().__init__()
        self.results = results


def unwrapped(error: Exception) -> Exception:
    """Return `error`, or the one in a group that says why it ended: bulkcancel's own if any."""
    if isinstance(error, ExceptionGroup):
        error = error.subgroup(BulkcancelError) or error
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def fault_of(error: BaseException) -> str:
    """Return a sentence with the kind of fault and where it happened.

    The message of an exception may hold anything, a token too: only that of the operating
    system and the name of a module that is missing are told.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{PurePath(f.filename).name}:{f.lineno}" for f in reversed(frames)]
    kind = type(error).__name__
    said = error.strerror if isinstance(error, OSError) else None
    said = error.name if isinstance(error, ImportError) else said
    at = f" at {places[0]}" if places else ""
    way = f": {' < '.join(places[:6])}" if places else ""
    return (
        f"bulkcancel itself failed ({kind}{f', {said},' if said else ''}{at}): please report this "
        f"line{way}"
    )
