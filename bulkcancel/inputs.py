"""The inputs of one run: files checked whole, a pipe taken as it comes."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from bulkcancel.errors import InputError, UsageError
from bulkcancel.source import CheckedInput, Condition, InputOptions, check_files, stream
from bulkcancel.stdin import ThreadedIterator, read_chunks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from bulkcancel.models import InvalidRow, Target
    from bulkcancel.settings import RunSettings
    from bulkcancel.source import InputCounts
