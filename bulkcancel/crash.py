"""A fault of bulkcancel itself, told without a traceback: what to report, and no values."""

from __future__ import annotations

import traceback
from pathlib import PurePath

CRASHED = 4
"""The exit code."""


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
