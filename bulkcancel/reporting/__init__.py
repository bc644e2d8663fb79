"""What a person, a log or a monitor sees; decides nothing."""

from bulkcancel.reporting.display import Display, DisplayOptions
from bulkcancel.reporting.finish import Finish, finish_command
from bulkcancel.reporting.log import make_logger
from bulkcancel.reporting.plan import Plan
from bulkcancel.reporting.progress import Gauge
from bulkcancel.reporting.summary import RunSummary, Summary
from bulkcancel.reporting.terminal import (
    confirm,
    is_interactive,
    logs_are_json,
    stderr_console,
    stream_is_terminal,
)

__all__ = [
    "Display",
    "DisplayOptions",
    "Finish",
    "Gauge",
    "Plan",
    "RunSummary",
    "Summary",
    "confirm",
    "finish_command",
    "is_interactive",
    "logs_are_json",
    "make_logger",
    "stderr_console",
    "stream_is_terminal",
]
