"""When the pacer lets requests go, on virtual time."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from bulkcancel.pacing.pacer import HEADROOM, Pacer
from tests.support.virtual_time import now, run, stall

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def _send(pacer: Pacer, sent: list[float], count: int) -> None:
    for _ in range(count):
        if not pacer.try_acquire():
            await pacer.acquire()
        sent.append(now())


async def _send_together(pacer: Pacer, *, consumers: int, each: int) -> list[float]:
    sent: list[float] = []
    async with anyio.create_task_group() as tasks:
        for _ in range(consumers):
            tasks.start_soon(_send, pacer, sent, each)
    return sent


async def _send_one(pacer: Pacer, sent: list[str], name: str) -> None:
    await pacer.acquire()
    sent.append(name)


def _fullest_second(sent: list[float]) -> int:
    return max(bisect_left(sent, at + 1 - 1e-9) - i for i, at in enumerate(sent))


@pytest.mark.parametrize("rate_per_s", [0.5, 1, 10, 20, 100, 200, 1000, 5000])
@pytest.mark.parametrize("consumers", [1, 16])
def test_the_rate_is_reached_and_never_exceeded(rate_per_s: float, consumers: int) -> None:
    """A busy run sends at 99 to 100 % of the ceiling, and no second holds 2 % more than that."""

    async def main() -> list[float]:
        pacer = Pacer(rate_per_s, clock=now)
        each = max(int(rate_per_s * 10 / consumers), 5)
        return await _send_together(pacer, consumers=consumers, each=each)

    sent = run(main)
    achieved_per_s = (len(sent) - 1) / (sent[-1] - sent[0])
    assert 0.99 <= achieved_per_s / rate_per_s <= 1.005
    assert _fullest_second(sent) <= max(rate_per_s * 1.02, 1)


def test_requests_are_evenly_spaced() -> None:
    """Slots come one by one, not in a group every second."""

    async def main() -> list[float]:
        return await _send_together(Pacer(10, clock=now), consumers=4, each=5)

    sent = run(main)
    assert [b - a for a, b in pairwise(sent)] == pytest.approx([0.1 / HEADROOM] * 19, abs=0.002)


@pytest.mark.parametrize("burst", [1, 2, 10])
@pytest.mark.parametrize("idle_s", [0, 3600])
@pytest.mark.parametrize("rate_per_s", [10, 5000])
def test_only_the_burst_goes_at_once(burst: int, idle_s: float, rate_per_s: float) -> None:
    """At the start, and after any idle time, no more than `burst` requests go together."""

    async def main() -> int:
        pacer = Pacer(rate_per_s, burst=burst, clock=now)
        stall(idle_s)
        return sum(pacer.try_acquire() for _ in range(50))

    assert run(main) == burst


@pytest.mark.parametrize("rate_per_s", [10, 100, 1000, 5000])
@pytest.mark.parametrize("stall_s", [0.005, 0.015, 0.05, 0.15, 60])
def test_a_stalled_process_never_bursts(rate_per_s: float, stall_s: float) -> None:
    """After a late wake-up, a slow loop or SIGSTOP the ceiling still holds for every second."""

    async def main() -> None:
        pacer = Pacer(rate_per_s, clock=now)

        async def stalls() -> None:
            for _ in range(4):
                await anyio.sleep(0.4)
                stall(stall_s)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stalls)
            each = int(rate_per_s * 3 / 32) + 1
            sent.extend(await _send_together(pacer, consumers=32, each=each))

    sent: list[float] = []
    run(main)
    assert _fullest_second(sent) <= rate_per_s * 1.02


@pytest.mark.parametrize(
    ("rate_per_s", "every_s", "late_s"), [(500, 0.02, 0.012), (20, 0.003, 0.0029)]
)
def test_late_wake_ups_cost_no_throughput(rate_per_s: float, every_s: float, late_s: float) -> None:
    """Timers that fire some milliseconds late are caught up with."""

    async def main() -> list[float]:
        pacer = Pacer(rate_per_s, clock=now)

        async def jitter() -> None:
            while True:
                await anyio.sleep(every_s)
                stall(late_s)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(jitter)
            sent = await _send_together(pacer, consumers=16, each=int(rate_per_s / 2))
            tasks.cancel_scope.cancel()
        return sent

    sent = run(main)
    assert (len(sent) - 1) / (sent[-1] - sent[0]) >= 0.99 * rate_per_s


@pytest.mark.parametrize(
    ("rate_per_s", "late_s", "together"),
    [(1000, 0.01, 10), (1000, 0.098, 19), (1000, 0.102, 1), (100, 0.098, 1), (10_000, 0.05, 199)],
)
def test_only_so_much_is_caught_up_with(rate_per_s: float, late_s: float, together: int) -> None:
    """Two hundredths of a second less an interval; nothing when a tenth of a second late."""

    async def main() -> int:
        pacer = Pacer(rate_per_s, clock=now)
        pacer.try_acquire()
        stall(1 / (rate_per_s * HEADROOM) + late_s)
        return sum(pacer.try_acquire() for _ in range(3000))

    assert run(main) == together


def test_a_slow_pace_catches_up_with_three_milliseconds() -> None:
    """So much lateness does not add up, where an interval is longer than what may be caught up."""

    async def main() -> tuple[bool, bool]:
        pacer = Pacer(10, clock=now)
        pacer.try_acquire()
        stall(0.1 / HEADROOM + 0.05)
        assert pacer.try_acquire()
        stall(0.1 / HEADROOM - 0.0031)
        early = pacer.try_acquire()
        stall(0.0002)
        return early, pacer.try_acquire()

    assert run(main) == (False, True)


def test_a_free_slot_is_taken_at_once() -> None:
    """Whoever need not wait is not held up by a timer."""

    async def main() -> float:
        pacer = Pacer(1, burst=3, clock=now)
        started = now()
        for _ in range(3):
            await pacer.acquire()
        return now() - started

    assert run(main) == 0


def test_timers_are_a_millisecond_long_at_least() -> None:
    """At a high rate several requests go at one wake-up, so that the loop does not spin."""

    async def main() -> list[float]:
        return await _send_together(Pacer(5000, clock=now), consumers=16, each=100)

    sent = run(main)
    assert min(b - a for a, b in pairwise(sent) if b - a > 1e-6) >= 0.001 - 1e-6
    assert max(b - a for a, b in pairwise(sent)) <= 0.0011


def test_the_first_to_wait_is_the_first_to_go() -> None:
    """Waiters are served in order, and nobody overtakes them."""

    async def main() -> list[str]:
        pacer = Pacer(10, clock=now)
        pacer.try_acquire()
        sent: list[str] = []
        async with anyio.create_task_group() as tasks:
            for name in "abc":
                tasks.start_soon(_send_one, pacer, sent, name)
            await anyio.sleep(0.01)
            stall(0.5)
            assert not pacer.try_acquire()
            assert pacer.waiting == 3
        return sent

    assert run(main) == ["a", "b", "c"]


async def _change_while_waiting(
    change: Callable[[Pacer], None], rate_per_s: float = 0.5
) -> list[float]:
    """Take a slot at 0, wait for two more, change the pacer at 1 s; return when the two went."""
    pacer = Pacer(rate_per_s, clock=now)
    started = now()
    pacer.try_acquire()
    sent: list[float] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_send, pacer, sent, 1)
        tasks.start_soon(_send, pacer, sent, 1)
        await anyio.sleep(1)
        change(pacer)
    return [at - started for at in sent]


@pytest.mark.parametrize(
    ("before_per_s", "after_per_s", "went_s"),
    [(0.5, 10, [1.0, 1.1]), (0.5, 0.8, [1.256, 2.51]), (0.9, 0.1, [10.05, 20.1])],
)
def test_a_new_rate_applies_to_those_waiting(
    before_per_s: float, after_per_s: float, went_s: list[float]
) -> None:
    """A raised or lowered rate counts from the last request on, at once."""

    async def main() -> list[float]:
        return await _change_while_waiting(lambda p: p.set_rate(after_per_s), before_per_s)

    assert run(main) == pytest.approx(went_s, abs=0.01)


def test_a_pause_holds_those_already_waiting() -> None:
    """A pause set by one consumer's answer holds all, and what follows is evenly spaced."""

    async def main() -> list[float]:
        return await _change_while_waiting(lambda p: p.pause_until(now() + 299))

    assert run(main) == pytest.approx([300, 302.01], abs=0.01)


def test_a_pause_is_never_shortened() -> None:
    """Neither a shorter pause nor a higher rate ends a pause early."""

    def change(pacer: Pacer) -> None:
        pacer.pause_until(now() + 99)
        pacer.pause_until(now() + 5)
        pacer.set_rate(1000)

    async def main() -> list[float]:
        return await _change_while_waiting(change)

    sent = run(main)
    assert sent[0] >= 100
    assert sent[1] == pytest.approx(100, abs=0.01)


def test_a_pause_shorter_than_the_interval_is_kept_when_the_rate_rises() -> None:
    """The new interval is over before the pause is: the pause counts."""

    def change(pacer: Pacer) -> None:
        pacer.pause_until(now() + 4)
        pacer.set_rate(100)

    async def main() -> list[float]:
        return await _change_while_waiting(change, 0.1)

    assert run(main) == pytest.approx([5, 5.01], abs=0.003)


@pytest.mark.parametrize("rate_per_s", [0.01, 0.9, 100])
def test_a_rate_set_during_a_pause_counts_from_its_end(rate_per_s: float) -> None:
    """The first request goes when the pause ends, whatever the rate, the second an interval on."""

    def change(pacer: Pacer) -> None:
        pacer.pause_until(now() + 9)
        pacer.set_rate(rate_per_s)

    async def main() -> list[float]:
        return await _change_while_waiting(change)

    assert run(main) == pytest.approx([10, 10 + 1 / (rate_per_s * HEADROOM)], abs=0.003)


def test_a_pause_of_a_day_ends_when_said() -> None:
    """Longer than any one timer."""

    async def main() -> list[float]:
        return await _change_while_waiting(lambda p: p.pause_until(now() + 86_400))

    assert run(main)[0] == pytest.approx(86_401, abs=0.003)


@pytest.mark.parametrize("late_s", [0, 0.002, 0.09])
@pytest.mark.parametrize("burst", [1, 5])
@pytest.mark.parametrize("change", [False, True])
def test_nothing_goes_together_after_a_pause(late_s: float, burst: int, change: bool) -> None:
    """Whatever the burst, nothing goes before the end of a pause and one request at its end."""

    async def main() -> tuple[int, int]:
        pacer = Pacer(10, burst=burst, clock=now)
        pacer.pause_until(now() + 60)
        stall(59.999)
        if change:
            pacer.set_rate(9)
        early = sum(pacer.try_acquire() for _ in range(5))
        stall(0.001 + late_s)
        return early, sum(pacer.try_acquire() for _ in range(5))

    assert run(main) == (0, 1)


async def _cancel_first_of_two(granted: bool) -> tuple[list[str], float]:
    pacer = Pacer(1, clock=now)
    started = now()
    pacer.try_acquire()
    sent: list[str] = []
    async with anyio.create_task_group() as tasks, anyio.create_task_group() as doomed:
        doomed.start_soon(_send_one, pacer, sent, "a")
        await anyio.sleep(0.1)
        tasks.start_soon(_send_one, pacer, sent, "b")
        await anyio.sleep(0.1)
        if granted:
            stall(1)
        doomed.cancel_scope.cancel()
    return sent, now() - started


@pytest.mark.parametrize("granted", [False, True])
def test_a_cancelled_waiter_leaves_its_slot(granted: bool) -> None:
    """The next in line goes at the time the cancelled one would have gone."""
    sent, took_s = run(_cancel_first_of_two, granted)
    assert sent == ["b"]
    assert took_s == pytest.approx(1.2 if granted else 1 / HEADROOM, abs=0.01)


def _behind_a_cancelled_one(
    meanwhile: Callable[[Any, Pacer], Awaitable[None]],
) -> tuple[list[str], float]:
    """Return what went, and when, behind a waiter that is cancelled after `meanwhile`."""

    async def main() -> tuple[list[str], float]:
        pacer = Pacer(1, clock=now)
        started = now()
        pacer.try_acquire()
        sent: list[str] = []
        async with anyio.create_task_group() as tasks:
            waiting = pacer.acquire()
            future = waiting.send(None)
            tasks.start_soon(_send_one, pacer, sent, "b")
            await meanwhile(future, pacer)
            with pytest.raises(asyncio.CancelledError):
                waiting.throw(asyncio.CancelledError())
        return sent, now() - started

    return run(main)


def test_a_slot_given_in_the_moment_of_cancellation_is_not_lost() -> None:
    """A task that is cancelled after its slot was given hands the slot on."""

    async def given(future: asyncio.Future[None], _pacer: Pacer) -> None:
        await anyio.sleep(1.01)
        assert future.done()

    sent, took_s = _behind_a_cancelled_one(given)
    assert sent == ["b"]
    assert took_s == pytest.approx(1.01, abs=0.01)


def test_a_slot_given_back_during_a_pause_is_not_used_before_its_end() -> None:
    """A pause that comes between a slot and its cancellation holds for the next in line."""

    async def paused(future: asyncio.Future[None], pacer: Pacer) -> None:
        await anyio.sleep(1.01)
        assert future.done()
        pacer.pause_until(now() + 9)

    sent, took_s = _behind_a_cancelled_one(paused)
    assert sent == ["b"]
    assert took_s == pytest.approx(10.01, abs=0.003)


def test_a_slot_given_back_is_one_slot() -> None:
    """One request goes at once in place of the cancelled one, the next an interval later."""

    async def main() -> list[float]:
        pacer = Pacer(1, clock=now)
        started = now()
        pacer.try_acquire()
        waiting = pacer.acquire()
        waiting.send(None)
        await anyio.sleep(1.01)
        with pytest.raises(asyncio.CancelledError):
            waiting.throw(asyncio.CancelledError())
        sent: list[float] = []
        await _send(pacer, sent, 2)
        return [at - started for at in sent]

    assert run(main) == pytest.approx([1.01, 1.01 + 1 / HEADROOM], abs=0.01)


def test_a_cancelled_waiter_waits_no_longer() -> None:
    """Its place in the line is gone at once, and it is not counted."""

    async def main() -> tuple[int, int]:
        pacer = Pacer(0.5, clock=now)
        pacer.try_acquire()
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(_send_one, pacer, [], "x")
            await anyio.sleep(0.1)
            before = pacer.waiting
            tasks.cancel_scope.cancel()
        return before, pacer.waiting

    assert run(main) == (3, 0)


def test_a_slot_is_not_given_to_a_task_about_to_be_cancelled() -> None:
    """A waiter cancelled in the very moment it is due does not hold up the one behind it."""

    async def cancelled(future: asyncio.Future[None], _pacer: Pacer) -> None:
        await anyio.sleep(0.1)
        future.cancel()
        await anyio.sleep(1)

    sent, took_s = _behind_a_cancelled_one(cancelled)
    assert sent == ["b"]
    assert took_s == pytest.approx(1.1, abs=0.01)


def test_all_waiters_cancelled_leaves_nothing_behind() -> None:
    """Leaving the run early leaves no timer and no waiter."""

    async def main() -> int:
        pacer = Pacer(0.5, clock=now)
        with anyio.move_on_after(1):
            await _send_together(pacer, consumers=16, each=1)
        stall(100)
        assert pacer.try_acquire()
        await anyio.sleep(10)
        return pacer.waiting

    assert run(main) == 0


@pytest.mark.parametrize("rate_per_s", [0, -1, float("nan"), float("inf")])
def test_an_impossible_rate_is_refused(rate_per_s: float) -> None:
    """A rate that is no number above zero is refused where it is given."""
    with pytest.raises(ValueError, match="above 0"):
        Pacer(rate_per_s)


def test_a_burst_below_one_is_refused() -> None:
    """Without a burst of one nothing could ever go."""
    with pytest.raises(ValueError, match="at least 1"):
        Pacer(1, burst=0)


def test_a_practically_unlimited_rate_never_waits() -> None:
    """A very high rate lets every request go at once."""
    pacer = Pacer(1e9)
    assert all(pacer.try_acquire() for _ in range(10_000))
