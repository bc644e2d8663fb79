"""A heap of what is due, in place of an event loop: for simulations of many thousand steps."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import types
from typing import TYPE_CHECKING, Any, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    Task: TypeAlias = Coroutine[Any, Any, object]


class EventHeap:
    """Virtual time, and of an asyncio loop the little that the code under test asks for.

    Tasks are coroutines that wait for `sleep` or for a future of `create_future` and raise
    nothing. What is due at the same time is done in the order in which it was asked for.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self._due: list[tuple[float, int, Callable[[Any], object], Any]] = []
        self._order = itertools.count()

    def time(self) -> float:
        """Return `now`: the clock to pass to the code under test."""
        return self.now

    def run(self, *tasks: Task, for_s: float = math.inf) -> None:
        """Start the tasks and do what is due, until nothing is or that time is over."""
        due, until = self._due, self.now + for_s
        for task in tasks:
            self.call_at(self.now, self.step, task)
        asyncio._set_running_loop(cast("asyncio.AbstractEventLoop", self))
        try:
            while due and due[0][0] < until:
                self.now, _, call, argument = heapq.heappop(due)
                call(argument)
        finally:
            asyncio._set_running_loop(None)

    def step(self, task: Task) -> None:
        """Let a task go on to its next `await`, or to its end."""
        try:
            awaited = task.send(None)
        except StopIteration:
            return
        if isinstance(awaited, Future):
            awaited.task = task
        else:
            self.call_at(self.now + awaited, self.step, task)

    def call_at(self, when: float, call: Callable[[Any], object], argument: object) -> None:
        """Call it at that time."""
        heapq.heappush(self._due, (when, next(self._order), call, argument))

    def call_later(self, delay_s: float, call: Callable[[], object]) -> Timer:
        """Call it in so many seconds, unless the timer is cancelled."""
        timer = Timer(call)
        self.call_at(self.now + delay_s, Timer.fire, timer)
        return timer

    def create_future(self) -> Future:
        """Return what one task can wait for."""
        return Future(self)


class Timer:
    """What `call_later` returns."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """Do nothing when its time comes."""
        self._call = None

    def fire(self) -> None:
        """Its time has come."""
        if self._call is not None:
            self._call()


class Future:
    """Something that has yet to happen, without a result."""

    def __init__(self, heap: EventHeap) -> None:
        self._heap = heap
        self._done = False
        self.task: Task | None = None

    def done(self) -> bool:
        """Whether it has happened."""
        return self._done

    def set_result(self, _result: None) -> None:
        """Let the task that waits for it go on."""
        self._done = True
        if self.task is not None:
            self._heap.call_at(self._heap.now, self._heap.step, self.task)

    def __await__(self) -> Generator[Future]:
        if not self._done:
            yield self


@types.coroutine
def sleep(seconds: float) -> Generator[float]:
    """Let a task go on after so many seconds."""
    yield seconds
