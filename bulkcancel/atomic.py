"""A file replaced whole or not at all."""

from __future__ import annotations

import contextlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a new file, mode 0600, that takes the place of `path` once the block ends well.

    It is synced before and its name after, so that a power cut leaves the old file or the new.
    Raises `OSError`, and then leaves `path` as it was, unless only the name could not be synced.
    Call it for one `path` once at a time.
    """
    temporary = path.with_name(f".{path.name}.rewrite")
    temporary.unlink(missing_ok=True)  # what a killed process left, or a link put in our way
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def sync_directory(directory: Path) -> None:
    """Make a new or replaced name survive a power cut, where the system can. Raises `OSError`."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
