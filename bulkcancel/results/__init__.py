"""The results file: whole, locked, resumable, readable."""

from bulkcancel.models import timestamp
from bulkcancel.results.atomic import (
    descriptor_of,
    is_replaceable,
    open_in_place,
    replacing,
    write_all,
    write_whole,
)
from bulkcancel.results.codec import format_of
from bulkcancel.results.earlier.reading import RowReader
from bulkcancel.results.earlier.resume import Resumed
from bulkcancel.results.results_file import Mode, ResultsFile
from bulkcancel.results.saved import ResultsPath, SavedResults
from bulkcancel.results.stream import ResultsStream
from bulkcancel.results.writer import ResultsWriter

__all__ = [
    "Mode",
    "ResultsFile",
    "ResultsPath",
    "ResultsStream",
    "ResultsWriter",
    "Resumed",
    "RowReader",
    "SavedResults",
    "descriptor_of",
    "format_of",
    "is_replaceable",
    "open_in_place",
    "replacing",
    "timestamp",
    "write_all",
    "write_whole",
]
