"""When the circuit breaker holds requests back, on virtual time."""

from __future__ import annotations

import random
from itertools import pairwise

import anyio
import pytest

from bulkcancel.pacing.breaker import THRESHOLD, Breaker
from bulkcancel.pacing.pacer import Pacer
from tests.support.virtual_time import now, run


def _make(changes: list[bool] | None = None) -> Breaker:
    return Breaker(
        rng=random.Random(3),
        on_change=(changes if changes is not None else []).append,
        clock=now,
    )


def _fail(breaker: Breaker, times: int = THRESHOLD) -> None:
    for _ in range(times):
        breaker.on_failure(now(), first=True)


def test_it_opens_at_the_threshold() -> None:
    """Ten failures in a row open it, nine do not; it says so once."""

    async def main() -> list[bool]:
        changes: list[bool] = []
        breaker = _make(changes)
        _fail(breaker, THRESHOLD - 1)
        assert changes == []
        _fail(breaker, 1)
        assert breaker.open
        _fail(breaker, 20)
        return changes

    assert run(main) == [True]


def test_a_success_breaks_the_streak() -> None:
    """Failures among successes do not open it."""

    async def main() -> bool:
        breaker = _make()
        for _ in range(100):
            _fail(breaker, THRESHOLD - 1)
            assert not breaker.open
            breaker.on_success(now())
        return not breaker.open

    assert run(main)


def test_probes_go_one_at_a_time_with_growing_waits() -> None:
    """While open one consumer at a time probes, after 1, 2, 4 … 30 s, give or take a quarter."""

    async def main() -> list[float]:
        breaker = _make()
        probes: list[float] = []
        under_way = 0

        async def consume() -> None:
            nonlocal under_way
            while True:
                assert await breaker.admit()
                probes.append(now())
                under_way += 1
                assert under_way == 1
                await anyio.sleep(0.5)
                under_way -= 1
                breaker.on_failure(now() - 0.5, first=True, probe=True)

        _fail(breaker)
        probes.append(now() - 0.5)
        with anyio.move_on_after(180):
            async with anyio.create_task_group() as tasks:
                for _ in range(64):
                    tasks.start_soon(consume)
        return probes

    probes = run(main)
    waits_s = [b - a - 0.5 for a, b in pairwise(probes)]
    for wait_s, nominal_s in zip(waits_s, [1, 2, 4, 8, 16, 30, 30, 30], strict=False):
        assert 0.75 * nominal_s <= wait_s <= 1.25 * nominal_s
    assert 8 <= len(waits_s) <= 10


def test_a_success_lets_all_go_on() -> None:
    """The probe's success closes it for every waiter at once; the next outage waits 1 s again."""

    async def main() -> list[bool]:
        changes: list[bool] = []
        breaker = _make(changes)
        admitted: list[bool] = []
        opened = now()

        async def consume() -> None:
            probe = await breaker.admit()
            admitted.append(probe)
            if probe:
                await anyio.sleep(0.1)
                breaker.on_success(now())

        _fail(breaker)
        async with anyio.create_task_group() as tasks:
            for _ in range(16):
                tasks.start_soon(consume)
        assert admitted == [True] + [False] * 15
        assert now() - opened < 1.4
        await anyio.sleep(1)
        _fail(breaker)
        for _ in range(4):
            breaker.on_failure(now(), probe=await breaker.admit(), first=True)
        breaker.on_success(now())
        await anyio.sleep(1)
        _fail(breaker)
        reopened = now()
        assert await breaker.admit()
        assert now() - reopened < 1.3
        return changes

    assert run(main) == [True, False, True, False, True]


def test_late_failures_do_not_count_after_a_change() -> None:
    """Timeouts of requests sent into the outage neither prolong it nor open it again."""

    async def main() -> None:
        breaker = _make()
        sent_at = now()
        await anyio.sleep(10)
        _fail(breaker)
        assert await breaker.admit()
        probed = now()
        for _ in range(16):
            breaker.on_failure(sent_at, first=True)
        breaker.on_failure(now(), first=True, probe=True)
        await breaker.admit()
        assert now() - probed < 2.6
        breaker.on_success(now())
        for _ in range(16):
            breaker.on_failure(sent_at, first=True)
        assert not breaker.open

    run(main)


def test_late_successes_do_not_close_it() -> None:
    """A request that was under way when it opened shows nothing of the time after that."""

    async def main() -> None:
        breaker = _make()
        sent_at = now()
        await anyio.sleep(10)
        _fail(breaker)
        breaker.on_success(sent_at)
        assert breaker.open
        assert await breaker.admit()
        breaker.on_success(now())
        assert not breaker.open

    run(main)


def test_one_failure_to_hold_opens_it_and_the_first_probe_decides() -> None:
    """It waits as for any outage; `token_in_doubt` tells what the probe is for."""

    async def main() -> list[bool]:
        breaker = _make()
        await anyio.sleep(1)
        breaker.on_failure(now(), first=True, open_at_once=True)
        told = [breaker.open, breaker.token_in_doubt]
        assert await breaker.admit()
        breaker.on_success(now())
        await anyio.sleep(1)
        _fail(breaker)
        told += [breaker.open, breaker.token_in_doubt]
        assert await breaker.admit()
        breaker.on_failure(now(), first=True, probe=True, open_at_once=True)
        return [*told, breaker.token_in_doubt]

    assert run(main) == [True, True, True, False, True]


def test_trouble_of_another_kind_ends_the_doubt_about_the_token() -> None:
    """It counts as a first failure, and the next 401 begins the doubt anew."""

    async def main() -> None:
        for first in (True, False):
            breaker = _make()
            await anyio.sleep(1)
            breaker.on_failure(now(), first=True, open_at_once=True)
            assert await breaker.admit()
            assert breaker.on_failure(now(), first=first, probe=True)
            assert not breaker.open
            assert breaker.streak == first
            await anyio.sleep(1)
            breaker.on_failure(now(), first=True, open_at_once=True)
            assert (breaker.open, breaker.token_in_doubt, breaker.outages) == (True, True, 0)

    run(main)


def test_a_probe_given_up_is_followed_at_once() -> None:
    """A probe that was never sent makes room for the next waiter."""

    async def main() -> float:
        breaker = _make()
        _fail(breaker)
        assert await breaker.admit()
        given = now()
        breaker.on_abandoned()
        assert await breaker.admit()
        return now() - given

    assert run(main) == 0


def test_cancelled_waiters_leave_nothing_behind() -> None:
    """When those who wait are cancelled, the next to ask becomes the probe in time."""

    async def main() -> float:
        breaker = _make()
        _fail(breaker)
        opened = now()
        with anyio.move_on_after(0.5):
            async with anyio.create_task_group() as tasks:
                for _ in range(16):
                    tasks.start_soon(breaker.admit)
        assert await breaker.admit()
        return now() - opened

    assert 0.75 <= run(main) <= 1.25


@pytest.mark.parametrize("consumers", [16, 64])
@pytest.mark.parametrize("latency_s", [0.002, 0.2])
def test_an_outage_of_a_minute_costs_few_requests(consumers: int, latency_s: float) -> None:
    """At 100 a second, a server down for 60 s sees those in flight and some ten probes."""

    async def main() -> tuple[int, int]:
        pacer, breaker = Pacer(100, clock=now), _make()
        began = now()
        during = successes = 0

        async def consume() -> None:
            nonlocal during, successes
            while successes < 1000:
                probe = await breaker.admit()
                await pacer.acquire()
                if breaker.open and not probe:
                    continue
                sent_at = now()
                down = 5 <= sent_at - began < 65
                during += down
                await anyio.sleep(latency_s)
                if down:
                    breaker.on_failure(sent_at, probe=probe, first=True)
                else:
                    breaker.on_success(now())
                    successes += 1

        async with anyio.create_task_group() as tasks:
            for _ in range(consumers):
                tasks.start_soon(consume)
        return during, successes

    during, successes = run(main)
    assert successes >= 1000
    assert during <= THRESHOLD + min(consumers, 100 * latency_s) + 10
