"""Print the JSON Schema of `--summary`: `python -m bulkcancel.reporting.summary`."""

from __future__ import annotations

import contextlib

from bulkcancel.reporting.summary.schema import schema_text
from bulkcancel.results import write_whole

if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # `… | head` has seen enough
        write_whole("-", schema_text().encode())
