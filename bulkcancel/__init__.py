"""Cancel many Domo workflow runs: paced, retried, one true result for each.

    from bulkcancel import DomoClient, cancel_many

The names below are loaded when they are first used (PEP 562): the command line shares this
package, and `bulkcancel --help` must not wait for an HTTP client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bulkcancel.domo import AttemptError, DomoClient
    from bulkcancel.engine import Progress, cancel_all, cancel_many
    from bulkcancel.errors import (
        BulkcancelError,
        BusyError,
        CancelInterrupted,
        InputError,
        LimitError,
        OutputError,
        ResultsError,
        StoppedError,
        TokenRefusedError,
        UntrustedError,
        UsageError,
    )
    from bulkcancel.models import CancelResult, Outcome
    from bulkcancel.results import ResultsPath
    from bulkcancel.sandbox import Sandbox, SandboxOptions

__all__ = [
    "AttemptError",
    "BulkcancelError",
    "BusyError",
    "CancelInterrupted",
    "CancelResult",
    "DomoClient",
    "InputError",
    "LimitError",
    "Outcome",
    "OutputError",
    "Progress",
    "ResultsError",
    "ResultsPath",
    "Sandbox",
    "SandboxOptions",
    "StoppedError",
    "TokenRefusedError",
    "UntrustedError",
    "UsageError",
    "cancel_all",
    "cancel_many",
]

_HOMES = ("errors", "models", "results", "domo", "engine", "sandbox")  # the quickest to load first


def __getattr__(name: str) -> object:
    if name in __all__:
        for home in _HOMES:
            value: object = getattr(import_module(f"bulkcancel.{home}"), name, None)
            if value is not None:
                globals()[name] = value
                return value
    raise AttributeError(f"module 'bulkcancel' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
