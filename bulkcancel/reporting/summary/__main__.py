"""Print the JSON Schema of `--summary`: `python -m bulkcancel.reporting.summary`."""

from __future__ import annotations

import sys

from bulkcancel.reporting.summary.schema import schema_text

if __name__ == "__main__":
    sys.stdout.write(schema_text())
