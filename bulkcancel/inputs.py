"""The inputs of one run: files checked whole before anything is sent, a pipe as it comes."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

from bulkcancel.errors import UsageError
from bulkcancel.instance_id import pack
from bulkcancel.models import InvalidRow
from bulkcancel.source import Condition, InputOptions, check_files, stream
from bulkcancel.stdin import ThreadedIterator, read_chunks
from bulkcancel.terminal import stream_is_terminal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from typing import BinaryIO

    from bulkcancel.models import Target
    from bulkcancel.pipeline import Items
    from bulkcancel.resume import Resumed
    from bulkcancel.settings import RunSettings
    from bulkcancel.source import CheckedInput

STDIN = "-"


class Inputs:
    """What is to be cancelled: the checked files, then the pipe if there is one."""

    def __init__(
        self,
        names: Sequence[str],
        checked: CheckedInput,
        pipe: Iterator[Target | InvalidRow] | None,
    ) -> None:
        self.names = names
        self.counts = checked.counts
        self.notes = checked.notes
        self.already_done = 0
        self._done_ids = 0
        self._checked = checked
        self._pipe = pipe
        self._resumed: Resumed | None = None
        self._invalid = checked.invalid

    @property
    def is_open(self) -> bool:
        """Whether a pipe is among the inputs, so that nothing is known of the whole."""
        return self._pipe is not None

    @property
    def invalid(self) -> Sequence[InvalidRow]:
        """The files' rows without an instance ID that still get a result."""
        return self._invalid

    @property
    def listed(self) -> int:
        """Distinct instance IDs listed so far, whether or not `--limit` leaves them out."""
        return self.counts.targets + self.counts.beyond_limit

    @property
    def to_cancel(self) -> int | None:
        """How many IDs are to be sent; `None` while a pipe is open."""
        return None if self.is_open else len(self._checked) - self._done_ids

    @property
    def to_write(self) -> int | None:
        """How many results there will be; `None` while a pipe is open."""
        return None if self.to_cancel is None else self.to_cancel + len(self.invalid)

    def skip(self, resumed: Resumed) -> None:
        """Leave out what an earlier run has done, by ID and, for invalid rows, by their text."""
        done = resumed.done
        self._resumed = resumed
        self._invalid = [row for row in self._invalid if not resumed.take_invalid(row.text)]
        self.already_done = len(self._checked.invalid) - len(self._invalid)
        if len(done):
            self._done_ids = sum(pack(t.instance_id) in done for t in self._checked)
            self.already_done += self._done_ids

    def items(self) -> Items:
        """Return all of it, in order, for the pipeline."""
        return self._listed() if self._pipe is None else self._listed_and_piped(self._pipe)

    def _listed(self) -> Iterator[Target | InvalidRow]:
        yield from self._invalid
        if self._resumed is None or not (len(self._resumed.done) or len(self._resumed.again)):
            yield from self._checked
            return
        done, again = self._resumed.done, self._resumed.again
        for target in self._checked:
            packed = pack(target.instance_id)
            if packed not in done and packed not in again:
                yield target
        # What has failed before comes last: it must not keep a run from ever getting further.
        if len(again):
            for target in self._checked:
                packed = pack(target.instance_id)
                if packed in again and packed not in done:
                    yield target

    async def _listed_and_piped(
        self, pipe: Iterator[Target | InvalidRow]
    ) -> AsyncIterator[Target | InvalidRow]:
        for item in self._listed():
            yield item
        async for item in ThreadedIterator(pipe):
            if self._is_done(item):
                self.already_done += 1
            else:
                yield item

    def _is_done(self, item: Target | InvalidRow) -> bool:
        if self._resumed is None:
            return False
        if isinstance(item, InvalidRow):
            return self._resumed.take_invalid(item.text)
        return pack(item.instance_id) in self._resumed.done


def open_inputs(
    paths: Sequence[str], settings: RunSettings, on_progress: Callable[[int, int], None] | None
) -> Inputs:
    """Check every file and open the pipe. Raises `InputError` and `UsageError`.

    A standard input that is redirected from a file is a file: it is checked whole as well. So is
    a pipe where nothing will be sent anyway.
    """
    names = _names(paths)
    options = InputOptions(
        column=settings.column,
        format=settings.format,
        encoding=settings.encoding,
        where=tuple(Condition.parse(text) for text in settings.where),
        limit=settings.limit,
    )
    piped = STDIN in names and not (settings.dry_run or stat.S_ISREG(os.fstat(0).st_mode))
    files: list[str | tuple[str, BinaryIO]] = [
        (STDIN, sys.stdin.buffer) if name == STDIN else name
        for name in names
        if name != STDIN or not piped
    ]
    checked = check_files(files, options, on_progress=on_progress)
    pipe = None
    if piped:
        pipe = stream(
            read_chunks(0),
            options,
            name=STDIN,
            counts=checked.counts,
            seen=checked.seen,
            notes=checked.notes,
        )
    return Inputs(names, checked, pipe)


def _names(paths: Sequence[str]) -> list[str]:
    if paths:
        if STDIN in paths and sys.stdin is None:
            raise UsageError("standard input is closed: name a file instead of -")
        if paths.count(STDIN) > 1:
            raise UsageError("standard input (-) is given twice: name it once")
        return list(paths)
    if sys.stdin is None or stream_is_terminal(sys.stdin):
        raise UsageError(
            "no input: name a file of instance IDs, or pipe them in (bulkcancel run runs.csv)"
        )
    return [STDIN]
