"""Cancel many Domo workflow runs: paced, retried, one true result for each.

    from bulkcancel import DomoClient, cancel_many

The names below are loaded when they are first used (PEP 562): the command line shares this
package, and `bulkcancel --help` must not wait for an HTTP client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bulkcancel.domo import DomoClient
    from bulkcancel.engine import cancel_many
    from bulkcancel.errors import (
        BulkcancelError,
        StoppedError,
        TokenRefusedError,
        UsageError,
    )
    from bulkcancel.models import CancelResult, Outcome

__all__ = [
    "BulkcancelError",
    "CancelResult",
    "DomoClient",
    "Outcome",
    "StoppedError",
    "TokenRefusedError",
    "UsageError",
    "cancel_many",
]

_HOMES = {
    "BulkcancelError": "bulkcancel.errors",
    "CancelResult": "bulkcancel.models",
    "DomoClient": "bulkcancel.domo",
    "Outcome": "bulkcancel.models",
    "StoppedError": "bulkcancel.errors",
    "TokenRefusedError": "bulkcancel.errors",
    "UsageError": "bulkcancel.errors",
    "cancel_many": "bulkcancel.engine",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'bulkcancel' has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value
