"""The inputs of one run: files checked whole before anything is sent, a pipe as it comes."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from itertools import chain, islice
from typing import TYPE_CHECKING, cast

from bulkcancel.errors import UsageError
from bulkcancel.ids import PageHost, pack, parse_instance_id
from bulkcancel.inputs import (
    STDIN,
    Argument,
    CheckedInput,
    Condition,
    InputOptions,
    ThreadedIterator,
    check_files,
    quoted,
    read_chunks,
    stream,
)
from bulkcancel.models import Breakdown, InvalidRow
from bulkcancel.reporting import stream_is_terminal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from io import BufferedReader

    from bulkcancel.cli.settings import RunSettings
    from bulkcancel.engine import Items
    from bulkcancel.models import Target
    from bulkcancel.results import Resumed

_MOST_ARGUMENTS_SHOWN = 3


class Inputs:
    """What is to be cancelled: the targets of the checked files, then of the pipe if there is one.

    Of those listed, `--resume` leaves out what is done and puts last what has failed before;
    of the rest `--limit` takes the first and leaves the others for a later run.
    """

    def __init__(
        self,
        names: Sequence[str],
        checked: CheckedInput,
        pipe: Iterator[Target | InvalidRow] | None,
        *,
        limit: int | None,
        where: Sequence[Condition],
    ) -> None:
        self.names = names
        self.counts = checked.counts
        self.notes = checked.notes
        self.invalid: Sequence[InvalidRow] = checked.invalid
        """The files' rows without an instance ID that still get a result."""
        self.already_done = 0
        """Targets and invalid rows left out, as they have their result."""
        self._checked = checked
        self._pipe = pipe
        self._limit = limit
        self._where = where
        self._resumed: Resumed | None = None
        self._chosen = bytearray(b"\1" * min(len(checked), limit or len(checked)))
        """Whether each of the files' targets is to be sent, by its position."""
        self._not_done = len(checked)
        """The files' targets that are not done, those beyond the limit among them."""
        if pipe is None:
            self._note_if_none_is_left()

    @property
    def has_pipe(self) -> bool:
        """Whether a pipe is among the inputs, so that nothing is known of the whole."""
        return self._pipe is not None

    @property
    def listed(self) -> int:
        """Distinct instance IDs listed so far, also those `--limit` or `--shard` leaves out."""
        return len(self._checked.seen)

    @property
    def to_cancel(self) -> int | None:
        """How many IDs are to be sent; `None` while a pipe is open."""
        return None if self.has_pipe else self._not_done - self.beyond_limit

    @property
    def breakdown(self) -> Breakdown:
        """What the inputs say of the IDs to be sent; nothing while a pipe is open."""
        return Breakdown() if self.has_pipe else self._checked.facts.breakdown(self._chosen)

    @property
    def beyond_limit(self) -> int:
        """How many of the files' IDs `--limit` leaves for later."""
        return 0 if self._limit is None else max(0, self._not_done - self._limit)

    def skip(self, resumed: Resumed) -> None:
        """Leave out what an earlier run has done, by ID and, for invalid rows, by their text.

        IDs that failed before and are beyond the limit keep their rows: for now they are as good
        as done. (Where a pipe follows, nobody knows which they are.)
        """
        self._resumed = resumed
        self.invalid = [row for row in self.invalid if not resumed.take_invalid(row.text)]
        limit = None if self.has_pipe else self._limit
        self._not_done = 0
        self._chosen = bytearray(len(self._checked))
        for at, target in self._due():
            beyond = limit is not None and self._not_done >= limit
            if beyond and resumed.is_sent_again(pack(target.instance_id)):
                break
            self._chosen[at] = not beyond
            self._not_done += 1
        rows_done = len(self._checked.invalid) - len(self.invalid)
        self.already_done = rows_done + len(self._checked) - self._not_done

    def items(self) -> Items:
        """Return all of it, in order, for the pipeline."""
        return self._listed() if self._pipe is None else self._listed_and_piped(self._pipe)

    def _listed(self) -> Iterator[Target | InvalidRow]:
        yield from self.invalid
        yield from (target for _, target in islice(self._due(), self._limit))

    def _due(self) -> Iterator[tuple[int, Target]]:
        """Yield the files' targets that are not done, each with its position.

        IDs that failed before come last, so that they never keep new ones from being sent.
        """
        if self._resumed is None:
            yield from enumerate(self._checked)
            return
        done, is_sent_again = self._resumed.done, self._resumed.is_sent_again
        for again in (False, True) if self._resumed.again else (False,):
            for at, target in enumerate(self._checked):
                packed = pack(target.instance_id)
                if packed not in done and is_sent_again(packed) is again:
                    yield at, self._known(target)

    async def _listed_and_piped(
        self, pipe: Iterator[Target | InvalidRow]
    ) -> AsyncIterator[Target | InvalidRow]:
        for item in self._listed():
            yield item
        left = sys.maxsize if self._limit is None else max(0, self._limit - self._not_done)
        # Under a limit, what has failed before waits until no other is left.
        again = CheckedInput()
        again.begin(STDIN)
        async for item in ThreadedIterator(pipe):
            if self._is_done(item):
                self.already_done += 1
            elif isinstance(item, InvalidRow):
                yield item
            elif self._limit is not None and self._is_sent_again(item):
                again.add(pack(item.instance_id), int(item.source.rpartition(":")[2]))
            elif left > 0:
                left -= 1
                yield self._known(item)
        for target in islice(again, left):
            yield self._known(target)
        self.already_done += max(0, len(again) - left)  # they keep their rows
        self._note_if_none_is_left()

    def _is_done(self, item: Target | InvalidRow) -> bool:
        if self._resumed is None:
            return False
        if isinstance(item, InvalidRow):
            return self._resumed.take_invalid(item.text)
        return pack(item.instance_id) in self._resumed.done

    def _is_sent_again(self, target: Target) -> bool:
        return self._resumed is not None and self._resumed.is_sent_again(pack(target.instance_id))

    def _known(self, target: Target) -> Target:
        """Return the target with what the resumed results file says of it."""
        if self._resumed is None or not self._resumed.has_failed(pack(target.instance_id)):
            return target
        return target._replace(failed_before=True)

    def _note_if_none_is_left(self) -> None:
        """Note what leaves out every row: a mistake in `--where`, or chance in a small shard."""
        counts = self.counts
        if counts.other_shards and not (counts.targets or counts.invalid):
            self.notes.append("none of the rows belongs to this shard")
        elif counts.filtered and counts.filtered == counts.rows:
            held = "; ".join(
                f'"{condition.column}" holds {quoted(condition.misses)}'
                for condition in self._where
                if condition.misses
            )
            self.notes.append(f"--where leaves out every row: {held}")


def open_inputs(
    paths: Sequence[str],
    settings: RunSettings,
    host: str,
    on_progress: Callable[[int, int], None] | None,
) -> Inputs:
    """Check every file and open the pipe. Raises `InputError` and `UsageError`.

    A standard input that is redirected from a file is a file: it is checked whole as well. So is
    a pipe where nothing will be sent anyway. `host` is the run's: pages of another instance of
    Domo are refused.
    """
    names = _names(paths)
    options = InputOptions(
        column=settings.column,
        format=settings.format,
        encoding=settings.encoding,
        where=tuple(Condition.parse(text) for text in settings.where),
        shard=settings.shard,
        pages=PageHost.of_run(host),
    )
    given = [_file_or_id(*each) for each in enumerate(names, 1)]
    files = [each for each in given if isinstance(each, str)]
    id_count = len(given) - len(files)
    if id_count and (options.where or options.column is not None):
        raise UsageError("an ID that is itself an INPUT has no columns: no --column, no --where")
    piped = STDIN in names and not (settings.dry_run or stat.S_ISREG(os.fstat(0).st_mode))
    chunks = read_chunks(0) if piped else None
    if not paths:
        chunks = _with_a_byte(chunks)
    checked = check_files(
        [
            sys.stdin.buffer if each == STDIN else each
            for each in given
            if each != STDIN or not piped
        ],
        options,
        on_progress=on_progress,
    )
    pipe = None if chunks is None else stream(chunks, options, checked)
    if id_count > _MOST_ARGUMENTS_SHOWN:
        names = [*files, f"{id_count} IDs as arguments"]
    return Inputs(names, checked, pipe, limit=settings.limit, where=options.where)


def _file_or_id(number: int, name: str) -> str | Argument:
    if name == STDIN or os.path.lexists(name) or not parse_instance_id(name):
        return name
    return Argument(name, number)


def _with_a_byte(chunks: Iterator[bytes] | None) -> Iterator[bytes] | None:
    """Return the `chunks` of standard input; raise `UsageError` if it is empty.

    Waits for the first. `None` means that it is a file: that is peeked at, and `None` returned.
    """
    first = b"?"
    if chunks is not None:
        first = next(chunks, b"")
    else:
        with suppress(OSError):  # what is wrong is said when it is read
            first = cast("BufferedReader", sys.stdin.buffer).peek(1)
    if not first:
        raise UsageError(
            "no INPUT is named (is a variable empty?) and standard input is empty: name a file of "
            "instance IDs, or - if it may be empty"
        )
    return None if chunks is None else chain([first], chunks)


def _names(paths: Sequence[str]) -> list[str]:
    if paths:
        if not all(paths):
            raise UsageError("an INPUT is an empty text (is a variable empty?): leave it out")
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
