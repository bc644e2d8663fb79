"""Files and pipes in, distinct targets out."""

from bulkcancel.inputs.columns import Condition, Format, InputOptions, quoted
from bulkcancel.inputs.lines import STDIN
from bulkcancel.inputs.pipe import ThreadedIterator, read_chunks
from bulkcancel.inputs.reader import Argument, check_files, stream
from bulkcancel.inputs.worklist import CheckedInput

__all__ = [
    "STDIN",
    "Argument",
    "CheckedInput",
    "Condition",
    "Format",
    "InputOptions",
    "ThreadedIterator",
    "check_files",
    "quoted",
    "read_chunks",
    "stream",
]
