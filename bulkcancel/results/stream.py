"""Results on an open descriptor: whole rows, and the first failure kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bulkcancel.errors import ResultsError
from bulkcancel.results.atomic import write_all
from bulkcancel.results.codec import Format, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bulkcancel.models import CancelResult
    from bulkcancel.results.earlier.resume import Resumed


class ResultsStream:
    """Results on an open descriptor, such as standard output: nothing to resume or lock."""

    _name = "standard output"
    _advice = "With -o FILE a run can be resumed"

    def __init__(self, descriptor: int, form: Format) -> None:
        self.resumed: Resumed | None = None
        self._descriptor = descriptor
        self._form = form
        self.failure: ResultsError | None = None
        """Why nothing more can be written, once that is so."""

    def begin(self) -> None:
        """Write the header. Raises `ResultsError`."""
        self._put(self._form.header)

    def write(self, results: Sequence[CancelResult]) -> None:
        """Hand whole rows to the operating system. Raises `ResultsError`, then always the same."""
        self._put(encode(results, self._form))

    def sync(self) -> None:
        """Raise the `ResultsError` of an earlier write again, if there was one."""
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        """Leave the stream as it is; it is not ours."""

    def _put(self, data: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        try:
            write_all(self._descriptor, data)
        except OSError as error:
            self._undo()
            raise self._fail(error.strerror or str(error)) from None

    def _undo(self) -> None:
        """Remove a row that was written in part; a stream cannot."""

    def _fail(self, reason: str) -> ResultsError:
        self.failure = ResultsError(
            f"cannot write the results to {self._name} ({reason}): nothing more was sent. "
            f"{self._advice}"
        )
        return self.failure
