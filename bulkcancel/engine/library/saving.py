"""Where results are saved besides: what the library asks of it, and how it is opened."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anyio.streams.memory import MemoryObjectReceiveStream

    from bulkcancel.models import CancelResult, Finding, InvalidRow, Target


class Saved(Protocol):
    """Open results of this and earlier runs; see `bulkcancel.results.SavedResults`."""

    @property
    def succeeded_before(self) -> int: ...  # noqa: D102
    def begin(self) -> None: ...  # noqa: D102
    def left(self, item: Target | InvalidRow) -> Target | InvalidRow | None: ...  # noqa: D102
    def unseen(self) -> Iterable[bytes]: ...  # noqa: D102
    async def collect(  # noqa: D102
        self,
        results: MemoryObjectReceiveStream[CancelResult],
        on_written: Callable[[Sequence[CancelResult]], None],
    ) -> None: ...
    def bring_up_to_date(self, finding_of: Callable[[bytes], Finding | None]) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Into(Protocol):
    """Where results are saved besides; `bulkcancel.ResultsPath` is one."""

    def open(self, host: str, *, asks: bool = False) -> Saved:
        """Return what holds the results of `host`, an earlier call's among them."""


class Opening:
    """Opens in a thread, and closes what nobody waits for any more.

    A task can be cancelled while its thread reads a long file. Nobody would close what comes of
    that, and its lock would be held as long as the process lives.
    """

    def __init__(self, open_: Callable[[], Saved]) -> None:
        self._open = open_
        self._changing = threading.Lock()
        self._saved: Saved | None = None
        self._abandoned = False

    def open(self) -> Saved:
        """Return what is open and ready for rows. Raises what that raises; then it is closed."""
        saved = self._open()
        try:
            saved.begin()
        except BaseException:
            saved.close()
            raise
        with self._changing:
            self._saved = saved
            abandoned = self._abandoned
        if abandoned:
            saved.close()
        return saved

    def abandon(self) -> None:
        """Close it, now or once it is open."""
        with self._changing:
            self._abandoned = True
            saved = self._saved
        if saved is not None:
            saved.close()
