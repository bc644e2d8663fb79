"""Files and pipes in, distinct targets out."""

from __future__ import annotations

from bulkcancel.inputs.columns import Condition, InputOptions, listed
from bulkcancel.inputs.pipe import ThreadedIterator, read_chunks
from bulkcancel.inputs.reader import Argument, check_files, stream
from bulkcancel.inputs.worklist import CheckedInput

__all__ = [
    "Argument",
    "CheckedInput",
    "Condition",
    "InputOptions",
    "ThreadedIterator",
    "check_files",
    "listed",
    "read_chunks",
    "stream",
]
