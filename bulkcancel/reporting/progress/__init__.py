"""The run as it goes on: a bar on a terminal, lines where none can be drawn, events in a log."""

from bulkcancel.reporting.progress.bar import Bar, ReadingBar
from bulkcancel.reporting.progress.gauge import Gauge
from bulkcancel.reporting.progress.lines import log_progress, print_progress

__all__ = ["Bar", "Gauge", "ReadingBar", "log_progress", "print_progress"]
