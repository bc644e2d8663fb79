"""What is ended because it takes too long: on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest

from bulkcancel.http.watchdog import Watchdog
from tests.support.virtual_time import now, run, stall

TIMEOUT_S = 10.0
TICK_S = 0.25


@pytest.fixture(autouse=True)
def _virtual_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkcancel.http.watchdog.time", SimpleNamespace(monotonic=now))


class Exchange:
    """Something that is timed; `lasted_s` once it was ended."""

    def __init__(self, dog: Watchdog) -> None:
        self.began = now()
        self.started = now() - dog.lost_s
        self.lasted_s: float | None = None
        dog.watched.add(self)

    def expire(self) -> None:
        assert self.lasted_s is None
        self.lasted_s = now() - self.began


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
def test_what_takes_too_long_is_ended_to_a_twentieth(timeout_s: float, tick_s: float) -> None:
    """Never early; late by one tick at most, which is 5 to 250 ms; once."""

    async def main(dog: Watchdog) -> None:
        await asyncio.sleep(tick_s / 2)
        exchange = Exchange(dog)
        await asyncio.sleep(3 * timeout_s)
        assert exchange.lasted_s == pytest.approx(timeout_s + tick_s / 2)
        assert dog.watched == set()

    _run(main, timeout_s)


def test_the_last_moment_is_over_time() -> None:
    """A tick that comes exactly at the timeout ends it."""

    async def main(dog: Watchdog) -> None:
        exchange = Exchange(dog)
        await asyncio.sleep(2 * TIMEOUT_S)
        assert exchange.lasted_s == TIMEOUT_S

    _run(main)


def test_what_has_ended_is_left_alone() -> None:
    """One that was taken out in time is never ended."""

    async def main(dog: Watchdog) -> None:
        exchange = Exchange(dog)
        await asyncio.sleep(TIMEOUT_S - TICK_S / 2)
        dog.watched.discard(exchange)
        await asyncio.sleep(10 * TIMEOUT_S)
        assert exchange.lasted_s is None

    _run(main)


def test_only_what_is_over_time_is_ended() -> None:
    """All that are due in one tick, and none of the later ones; what took time before counts."""

    async def main(dog: Watchdog) -> None:
        first = [Exchange(dog) for _ in range(3)]
        await asyncio.sleep(TIMEOUT_S / 2)
        later = [Exchange(dog) for _ in range(3)]
        connected = Exchange(dog)
        connected.started -= 2
        await asyncio.sleep(2 * TIMEOUT_S)
        assert [each.lasted_s for each in first + later] == [TIMEOUT_S] * 6
        assert connected.lasted_s == TIMEOUT_S - 2

    _run(main)


@pytest.mark.parametrize("stopped_s", [1.3, 9.0, 3600.0])
def test_time_in_which_the_process_did_not_run_does_not_count(stopped_s: float) -> None:
    """An exchange has all of its timeout beside it; a later one is timed as ever."""

    async def main(dog: Watchdog) -> None:
        exchange = Exchange(dog)
        await asyncio.sleep(1.1 * TICK_S)
        stall(stopped_s)
        await asyncio.sleep(1.1 * TICK_S)
        later = Exchange(dog)
        await asyncio.sleep(2 * TIMEOUT_S)
        assert exchange.lasted_s is not None
        assert TIMEOUT_S - TICK_S <= exchange.lasted_s - stopped_s <= TIMEOUT_S + TICK_S
        assert later.lasted_s is not None
        assert TIMEOUT_S <= later.lasted_s <= TIMEOUT_S + TICK_S

    _run(main)


def test_stops_add_up() -> None:
    """What was lost in each of them is given back."""

    async def main(dog: Watchdog) -> None:
        exchange = Exchange(dog)
        for _ in range(3):
            await asyncio.sleep(2)
            stall(100)
        await asyncio.sleep(2 * TIMEOUT_S)
        assert exchange.lasted_s is not None
        assert TIMEOUT_S - 3 * TICK_S <= exchange.lasted_s - 300 <= TIMEOUT_S + TICK_S

    _run(main)


@pytest.mark.parametrize("late_s", [0.5, 1.0])
def test_a_busy_process_is_no_stopped_one(late_s: float) -> None:
    """Up to a second of lateness counts: that is load, and the exchange's time as well."""

    async def main(dog: Watchdog) -> None:
        exchange = Exchange(dog)
        for _ in range(3):
            await asyncio.sleep(1 + TICK_S / 2)
            stall(late_s + TICK_S / 2)
        await asyncio.sleep(2 * TIMEOUT_S)
        assert exchange.lasted_s is not None
        assert TIMEOUT_S <= exchange.lasted_s <= TIMEOUT_S + TICK_S

    _run(main)


def test_nothing_is_timed_before_the_start_and_after_the_end() -> None:
    """Stopping is fine at any time, twice as well; what still runs is let be."""

    async def main() -> None:
        dog = Watchdog(TIMEOUT_S)
        dog.stop()
        exchange = Exchange(dog)
        await asyncio.sleep(50)
        assert exchange.lasted_s is None
        dog.start()
        dog.stop()
        dog.stop()
        await asyncio.sleep(50)
        assert exchange.lasted_s is None

    run(main)
