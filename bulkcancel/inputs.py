"""The inputs of one run: files checked whole before anything is sent, a pipe as it comes."""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from bulkcancel.errors import InputError, UsageError
from bulkcancel.instance_id import pack
from bulkcancel.models import InvalidRow
from bulkcancel.source import Condition, InputOptions, check_files, stream
from bulkcancel.stdin import ThreadedIterator, read_chunks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
    from contextlib import ExitStack

    from bulkcancel.checked import CheckedInput
    from bulkcancel.models import Target
    from bulkcancel.resume import Resumed
    from bulkcancel.settings import RunSettings
    from bulkcancel.source import InputCounts

STDIN = "-"
