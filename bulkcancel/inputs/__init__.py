"""Files and pipes in, distinct targets out."""

from __future__ import annotations

from bulkcancel.inputs.columns import Condition, InputOptions, PageHost, listed
from bulkcancel.inputs.pipe import ThreadedIterator, read_chunks
from bulkcancel.inputs.reader import Argument, check_files, stream
from bulkcancel.inputs.worklist import CheckedInput

__all__ = [
    "Argument",
    "CheckedInput",
    "Condition",
    "InputOptions",
    "PageHost",
    "ThreadedIterator",
    "check_files",
    "listed",
    "read_chunks",
    "stream",
]
