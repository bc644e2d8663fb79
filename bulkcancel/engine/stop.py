"""How a run is asked to end before its input does."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Iterator


class Stop:
    """One place to ask a run to end; the first reason given is the one reported.

    Once asked, nothing new is begun, waits end at once, and requests in flight may finish
    within the grace. With `cut` they are abandoned as well.
    """

    def __init__(self) -> None:
        self.reason: Exception | None = None
        self.requested = False
        self._asked = anyio.Event()
        self._cut = anyio.Event()
        self._waiting: set[anyio.CancelScope] = set()

    def request(self, reason: Exception, *, cut: bool = False) -> None:
        """Ask the run to end because of `reason`."""
        if self.reason is None:
            self.reason = reason
        self.requested = True
        self._asked.set()
        if cut:
            self._cut.set()
        for scope in self._waiting:
            scope.cancel()

    @contextmanager
    def waiting(self) -> Iterator[anyio.CancelScope]:
        """Mark a wait that a stop ends at once: a sleep, a pause, an empty queue."""
        with anyio.CancelScope() as scope:
            if self.requested:
                scope.cancel()
            self._waiting.add(scope)
            try:
                yield scope
            finally:
                self._waiting.discard(scope)

    async def wait(self) -> None:
        """Return once a stop has been requested."""
        await self._asked.wait()

    async def wait_cut(self) -> None:
        """Return once what is in flight is to be abandoned as well."""
        await self._cut.wait()
