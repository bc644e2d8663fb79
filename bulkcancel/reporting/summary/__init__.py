"""The summary of a run: its figures, a table for people, JSON with a schema for scripts."""

from bulkcancel.reporting.summary.figures import SCHEMA_VERSION, Summary, write_summary
from bulkcancel.reporting.summary.schema import RunSummary
from bulkcancel.reporting.summary.table import print_summary

__all__ = ["SCHEMA_VERSION", "RunSummary", "Summary", "print_summary", "write_summary"]
