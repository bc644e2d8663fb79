"""The results file of a Python caller: where it is, and what becomes of an earlier run's there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from bulkcancel.errors import InputError, UsageError
from bulkcancel.ids import pack
from bulkcancel.models import SENT_AGAIN, SUCCESSES, InvalidRow, Outcome
from bulkcancel.quantities import checked_outcomes
from bulkcancel.results.earlier.reading import RowReader
from bulkcancel.results.results_file import ResultsFile
from bulkcancel.results.writer import ResultsWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from anyio.streams.memory import MemoryObjectReceiveStream

    from bulkcancel.models import CancelResult, Finding, Target


@dataclass(frozen=True, slots=True)
class ResultsPath:
    """A results file, `.csv` or `.jsonl`, as `bulkcancel run` writes and resumes it.

    With `resume` the call goes on with an earlier one's file: only IDs without a row are sent, and
    those whose outcome is in `again`. With `overwrite` the file is replaced; with neither a file
    that holds rows is refused. Raises `UsageError` for what makes no sense.
    """

    path: str | os.PathLike[str]
    resume: bool = False
    overwrite: bool = False
    again: Collection[Outcome] = SENT_AGAIN

    def __post_init__(self) -> None:
        if self.resume and self.overwrite:
            raise UsageError("resume keeps the results file, overwrite replaces it: give one")
        if PurePath(self.path).suffix.lower() not in {".csv", ".jsonl"}:
            raise UsageError(f"the results file {self.path} must end in .csv or .jsonl")
        if Outcome.INVALID in checked_outcomes(self.again, "again"):
            raise UsageError("again: invalid rows hold no instance ID, so nothing is sent again")

    def results(self) -> list[CancelResult]:
        """Return what the file holds, of each ID its last row: of this call and earlier ones.

        Lines that do not parse are left out. Raises `InputError` where there is no results file.
        """
        kept: dict[object, CancelResult] = {}
        try:
            with Path(self.path).open("rb") as file:
                for number, row in enumerate(RowReader(file, os.fspath(self.path))):
                    kept[number if row.outcome is Outcome.INVALID else row.instance_id] = row
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror or error}") from None
        return list(kept.values())

    def open(self, host: str, *, asks: bool = False) -> SavedResults:
        """Lock the file for results of `host` and read back what it holds; changes no row.

        `asks`: what was accepted is looked at, in earlier runs too. Raises `BusyError` where
        another run holds it and `OutputError` where it cannot be used.
        """
        return SavedResults(
            _File.reserve(
                os.fspath(self.path),
                host=host,
                mode="resume" if self.resume else "overwrite" if self.overwrite else "new",
                form="auto",
                again=checked_outcomes(self.again, "again"),
                dry_run=False,
                asks=asks,
            )
        )


class _File(ResultsFile):
    """The same file, whose messages speak of arguments."""

    _advice = "Put that right and call again with resume=True"


class SavedResults:
    """An open results file: what it says of IDs, and where new results go."""

    def __init__(self, file: ResultsFile) -> None:
        self._file = file
        self._resumed = file.resumed

    @property
    def succeeded_before(self) -> int:
        """How many rows of earlier runs are successes."""
        return sum(self._resumed.outcomes[each] for each in SUCCESSES) if self._resumed else 0

    def begin(self) -> None:
        """Make it ready for rows. Raises `OutputError` and `ResultsError`."""
        self._file.begin()

    def left(self, item: Target | InvalidRow) -> Target | InvalidRow | None:
        """Return what is still to be done of an item, with what is known of it; `None` if done."""
        resumed = self._resumed
        if resumed is None:
            return item
        if isinstance(item, InvalidRow):
            return None if resumed.take_invalid(item.text) else item
        packed = pack(item.instance_id)
        if packed in resumed.done:
            return None
        return item._replace(failed_before=True) if resumed.has_failed(packed) else item

    def unseen(self) -> Iterable[bytes]:
        """Return the packed IDs of rows kept that have not been seen to stop, if it asks."""
        return self._resumed.ids_unseen() if self._resumed else ()

    async def collect(
        self,
        results: MemoryObjectReceiveStream[CancelResult],
        on_written: Callable[[Sequence[CancelResult]], None],
    ) -> None:
        """Write results until their stream ends; tell of each group once the system has it.

        Raises `ResultsError`.
        """
        await ResultsWriter(self._file, on_written).collect(results)

    def bring_up_to_date(self, finding_of: Callable[[bytes], Finding | None]) -> None:
        """Rewrite the rows of IDs that were looked at. Raises `ResultsError`."""
        self._file.bring_up_to_date(finding_of, _nothing)

    def close(self) -> None:
        """Sync, close and unlock. Raises `ResultsError`."""
        self._file.close()


def _nothing(_old: CancelResult, _new: CancelResult, _earlier: bool) -> None:  # noqa: FBT001
    """Count nothing."""
