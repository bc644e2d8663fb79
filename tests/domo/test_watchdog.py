"""Which attempts are timed out, and who is obeyed when others cancel them too: on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from bulkcancel.domo.watchdog import Attempt, Watchdog
from tests.support.virtual_time import now, run, stall

TIMEOUT_S = 10.0
TICK_S = 0.25
LONG_S = 10_000.0  # no answer within it: then a test fails instead of hanging


@pytest.fixture(autouse=True)
def _virtual_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkcancel.domo.watchdog.time", SimpleNamespace(monotonic=now))


class Tried:
    """One attempt that waits for an answer, as `DomoClient.cancel` makes it."""

    def __init__(self, dog: Watchdog, *, answer_after_s: float = LONG_S) -> None:
        self.dog = dog
        self.answer_after_s = answer_after_s
        self.began = now()
        self.lasted_s = 0.0
        self.timed_out: bool | None = None
        self.cancels_seen = 0
        self.cancels_left = 0
        self.attempt: Attempt | None = None
        self.task = asyncio.create_task(self._try())

    async def _try(self) -> None:
        task = self.task
        self.attempt = self.dog.begin(self.began)
        try:
            await asyncio.sleep(self.answer_after_s)
        except asyncio.CancelledError:
            self.cancels_seen = task.cancelling()
            self.timed_out = self.attempt.timed_out()
            if not self.timed_out:
                raise
        finally:
            self.lasted_s = now() - self.began
            self.dog.end(self.attempt)
            self.cancels_left = task.cancelling()
        await asyncio.sleep(1)  # a cancel that is left over would come here


def _cancel_in_the_moment_of_the_timeout(task: asyncio.Task[Any], *, first: bool) -> None:
    """Have a caller cancel a task, just before the watchdog or just after, while the loop is busy.

    So both come before the task runs again.
    """
    loop, tick_at = asyncio.get_running_loop(), now() + TIMEOUT_S
    loop.call_at(tick_at - 0.1, stall, 0.2)
    loop.call_at(tick_at + (-0.05 if first else 0.05), task.cancel)


def _run(main: Callable[[Watchdog], Awaitable[None]], timeout_s: float = TIMEOUT_S) -> None:
    async def watched() -> None:
        dog = Watchdog(timeout_s)
        dog.start()
        try:
            await main(dog)
        finally:
            dog.stop()

    run(watched)


@pytest.mark.parametrize(
    ("timeout_s", "tick_s"),
    [(0.02, 0.005), (0.1, 0.005), (1, 0.05), (2, 0.1), (5, 0.25), (10, 0.25), (30, 0.25)],
)
def test_an_attempt_is_timed_out_to_a_twentieth(timeout_s: float, tick_s: float) -> None:
    """Never early; late by one tick at most, which is 5 to 250 ms. The task goes on after it."""

    async def main(dog: Watchdog) -> None:
        await asyncio.sleep(tick_s / 2)
        tried = Tried(dog)
        await tried.task
        assert tried.timed_out is True
        assert tried.lasted_s == pytest.approx(timeout_s + tick_s / 2)
        assert (tried.cancels_seen, tried.cancels_left) == (1, 0)

    _run(main, timeout_s)


def test_the_last_moment_is_over_time() -> None:
    """A tick that comes exactly at the timeout times the attempt out."""

    async def main(dog: Watchdog) -> None:
        tried = Tried(dog)
        await tried.task
        assert tried.lasted_s == TIMEOUT_S

    _run(main)


def test_an_answer_in_time_is_left_alone() -> None:
    """An attempt that has ended is never cancelled, however long its task lives on."""

    async def main(dog: Watchdog) -> None:
        tried = Tried(dog, answer_after_s=TIMEOUT_S - TICK_S / 2)
        await tried.task
        assert tried.timed_out is None
        task = asyncio.current_task()
        assert task is not None
        attempt = dog.begin(now())
        dog.end(attempt)
        await asyncio.sleep(10 * TIMEOUT_S)
        assert (attempt.overdue, attempt.timed_out(), task.cancelling()) == (False, False, 0)

    _run(main)


def test_only_what_is_over_time_is_timed_out() -> None:
    """All attempts that are due in one tick, and none of the later ones."""

    async def main(dog: Watchdog) -> None:
        first = [Tried(dog) for _ in range(3)]
        await asyncio.sleep(TIMEOUT_S / 2)
        later = [Tried(dog) for _ in range(3)]
        await asyncio.gather(*(each.task for each in first))
        assert [each.lasted_s for each in first] == [TIMEOUT_S] * 3
        assert [each.task.done() for each in later] == [False] * 3
        await asyncio.gather(*(each.task for each in later))
        assert [each.lasted_s for each in later] == [TIMEOUT_S] * 3

    _run(main)


def test_a_caller_who_cancels_is_obeyed() -> None:
    """Before the timeout the cancel is the caller's, and nothing is taken back."""

    async def main(dog: Watchdog) -> None:
        tried = Tried(dog)
        await asyncio.sleep(1)
        tried.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await tried.task
        assert tried.timed_out is False
        assert (tried.cancels_seen, tried.cancels_left) == (1, 1)

    _run(main)


@pytest.mark.parametrize("first", [True, False], ids=["caller_first", "watchdog_first"])
def test_a_caller_who_cancels_in_the_moment_of_the_timeout_is_obeyed(first: bool) -> None:
    """The task ends as cancelled. Only the watchdog's own cancel is taken back, once."""

    async def main(dog: Watchdog) -> None:
        tried = Tried(dog)
        _cancel_in_the_moment_of_the_timeout(tried.task, first=first)
        with pytest.raises(asyncio.CancelledError):
            await tried.task
        assert tried.task.cancelled()
        assert tried.cancels_seen == 2  # both had come before the task ran
        assert tried.timed_out is False
        assert tried.cancels_left == 1

    _run(main)


def test_a_cancel_from_before_the_attempt_is_not_taken_back() -> None:
    """A task that cleans up after its own cancel is timed out as any other."""

    async def main(dog: Watchdog) -> None:
        left: list[int] = []

        async def clean_up() -> None:
            try:
                await asyncio.sleep(LONG_S)
            except asyncio.CancelledError:
                attempt = dog.begin(now())
                with pytest.raises(asyncio.CancelledError):
                    await asyncio.sleep(LONG_S)
                assert attempt.timed_out()
                task = asyncio.current_task()
                assert task is not None
                left.append(task.cancelling())
                raise

        task = asyncio.create_task(clean_up())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert left == [1]

    _run(main)


@pytest.mark.parametrize("by_caller", [False, True], ids=["watchdog_alone", "caller_too"])
def test_a_timeout_that_became_another_error_is_taken_back(by_caller: bool) -> None:
    """When a library turns the cancel into an error of its own, the task is not left cancelled.

    A caller's cancel in the same moment stays counted.
    """

    async def main(dog: Watchdog) -> None:
        async def attempt_it() -> tuple[int, bool]:
            attempt = dog.begin(now())
            try:
                with pytest.raises(asyncio.CancelledError):
                    await asyncio.sleep(LONG_S)
            finally:
                dog.end(attempt)
            task = asyncio.current_task()
            assert task is not None
            return task.cancelling(), attempt.overdue or attempt.timed_out()

        task = asyncio.create_task(attempt_it())
        if by_caller:
            _cancel_in_the_moment_of_the_timeout(task, first=False)
        assert await task == (int(by_caller), False)

    _run(main)


def test_a_timeout_is_taken_back_once() -> None:
    """Asked a second time, it is nobody's; so no cancel of a caller can be lost with it."""

    async def main(dog: Watchdog) -> None:
        attempt = dog.begin(now())
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(LONG_S)
        assert attempt.overdue
        assert attempt.timed_out()
        task = asyncio.current_task()
        assert task is not None
        task.cancel()  # the caller's
        assert not attempt.timed_out()
        dog.end(attempt)
        assert task.cancelling() == 1
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(0)
        task.uncancel()

    _run(main)


@pytest.mark.parametrize("stopped_s", [1.3, 9.0, 3600.0])
def test_time_in_which_the_process_did_not_run_does_not_count(stopped_s: float) -> None:
    """An attempt has all of its timeout beside it; a later one is timed as ever."""

    async def main(dog: Watchdog) -> None:
        tried = Tried(dog)
        await asyncio.sleep(1.1 * TICK_S)
        stall(stopped_s)
        await asyncio.sleep(1.1 * TICK_S)
        later = Tried(dog)
        await tried.task
        assert TIMEOUT_S - TICK_S <= tried.lasted_s - stopped_s <= TIMEOUT_S + TICK_S
        await later.task
        assert TIMEOUT_S <= later.lasted_s <= TIMEOUT_S + TICK_S
        paused = Tried(dog)
        await asyncio.sleep(1)
        assert paused.attempt is not None
        dog.pause(paused.attempt)
        dog.resume(paused.attempt)
        await paused.task
        assert TIMEOUT_S + 1 <= paused.lasted_s <= TIMEOUT_S + 1 + TICK_S

    _run(main)


def test_stops_add_up() -> None:
    """What was lost in each of them is given back."""

    async def main(dog: Watchdog) -> None:
        tried = Tried(dog)
        for _ in range(3):
            await asyncio.sleep(2)
            stall(100)
        await tried.task
        assert TIMEOUT_S - 3 * TICK_S <= tried.lasted_s - 300 <= TIMEOUT_S + TICK_S

    _run(main)


@pytest.mark.parametrize("late_s", [0.5, 1.0])
def test_a_busy_process_is_no_stopped_one(late_s: float) -> None:
    """Up to a second of lateness counts: that is load, and the attempt's time as well."""

    async def main(dog: Watchdog) -> None:
        tried = Tried(dog)
        for _ in range(3):
            await asyncio.sleep(1 + TICK_S / 2)
            stall(late_s + TICK_S / 2)
        await tried.task
        assert TIMEOUT_S <= tried.lasted_s <= TIMEOUT_S + TICK_S

    _run(main)


def test_a_paused_attempt_is_not_timed() -> None:
    """While it waits for the pace it takes no time, and afterwards it has its whole timeout."""

    async def main(dog: Watchdog) -> None:
        tried = Tried(dog)
        await asyncio.sleep(TIMEOUT_S - 1)
        assert tried.attempt is not None
        dog.pause(tried.attempt)
        await asyncio.sleep(5 * TIMEOUT_S)
        assert not tried.task.done()
        dog.resume(tried.attempt)
        await tried.task
        assert tried.timed_out
        assert tried.lasted_s == 7 * TIMEOUT_S - 1

    _run(main)


def test_nothing_is_timed_before_the_start_and_after_the_end() -> None:
    """Stopping is fine at any time, twice as well; what is still in flight is let be."""

    async def main() -> None:
        dog = Watchdog(TIMEOUT_S)
        dog.stop()
        tried = Tried(dog, answer_after_s=100)
        await asyncio.sleep(50)
        dog.start()
        dog.stop()
        dog.stop()
        await tried.task
        assert (tried.timed_out, tried.lasted_s) == (None, 100)

    run(main)
