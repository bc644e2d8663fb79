"""The timeout of every attempt in flight, kept by one timer."""

from __future__ import annotations

import asyncio
import time


class Attempt:
    """One attempt being timed: the task that makes it, and since when."""

    __slots__ = ("_cancelling", "overdue", "started", "task")

    def __init__(self, task: asyncio.Task[object], started: float) -> None:
        self.task = task
        self.started = started
        self.overdue = False
        """Whether the watchdog has cancelled it, and nobody has taken that back."""
        self._cancelling = task.cancelling()

    def timed_out(self) -> bool:
        """Return whether its `CancelledError` is the watchdog's alone, and take it back.

        Someone else may have cancelled the task at the same time, and is then obeyed: as in
        `asyncio.timeout`.
        """
        if not self.overdue:
            return False
        self.overdue = False
        return self.task.uncancel() <= self._cancelling


class Watchdog:
    """Cancels the task of each attempt that outlasts `timeout_s`, to about a twentieth of it.

    One ticking timer serves all attempts: a timer or a cancel scope for each would cost more
    than the rest of the bookkeeping together. Time in which this process did not run (SIGSTOP,
    a suspended laptop) does not count against an attempt: its answer may be waiting in the
    socket.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._tick_s = min(max(timeout_s / 20, 0.005), 0.25)
        self._attempts: set[Attempt] = set()
        self._lost_s = 0.0
        self._ticked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to tick in the running event loop."""
        self._ticked_at = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._tick_s, self._tick)

    def stop(self) -> None:
        """Stop ticking; attempts still in flight are no longer timed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def begin(self, now: float) -> Attempt:
        """Time the attempt that the current task makes from `now` on."""
        task = asyncio.current_task(self._loop)  # told which loop, it makes no system call
        assert task is not None  # noqa: S101 - code that awaits runs in a task
        attempt = Attempt(task, now - self._lost_s)
        self._attempts.add(attempt)
        return attempt

    def pause(self, attempt: Attempt) -> None:
        """Stop its time, as while it waits for the pace; `resume` starts its timeout from zero."""
        self._attempts.discard(attempt)

    def resume(self, attempt: Attempt) -> None:
        """Time a paused attempt from now on."""
        attempt.started = time.monotonic() - self._lost_s
        self._attempts.add(attempt)

    def end(self, attempt: Attempt) -> None:
        """Time it no longer."""
        self._attempts.discard(attempt)
        if attempt.overdue:  # it ended in the same moment in another way
            attempt.timed_out()

    def _tick(self) -> None:
        now = time.monotonic()
        late_s = now - self._ticked_at - self._tick_s
        if late_s > 1:
            self._lost_s += late_s
        self._ticked_at = now
        overdue = now - self._lost_s - self._timeout_s
        for attempt in [a for a in self._attempts if a.started <= overdue]:
            self._attempts.discard(attempt)
            attempt.overdue = True
            attempt.task.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._tick)
