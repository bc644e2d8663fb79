"""Flags to a run, a run to an exit code."""

from bulkcancel.cli.process import SIGNALS

__all__ = ["SIGNALS"]
