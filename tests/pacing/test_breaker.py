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
        _fail(breaker, 9)
        assert changes == []
        _fail(breaker, 1)
        assert breaker.open
        _fail(breaker, 20)
        return changes

    assert run(main) == [True]


def test_a_success_breaks_the_streak() -> None:
    """Failures among successes do not open it, and nothing has changed by them."""

    async def main() -> bool:
        changes: list[bool] = []
        breaker = _make(changes)
        for _ in range(100):
            _fail(breaker, THRESHOLD - 1)
            assert not breaker.open
            breaker.on_success(now())
        assert changes == []
        return not breaker.open

    assert run(main)


def test_a_failure_costs_an_attempt_while_it_is_closed() -> None:
    """The one that opens it costs nothing any more, and no failure does while it is open."""

    async def main() -> None:
        breaker = _make()
        await anyio.sleep(1)
        costs = [breaker.on_failure(now(), first=True) for _ in range(THRESHOLD + 1)]
        assert costs == [True] * (THRESHOLD - 1) + [False] * 2
        assert breaker.on_failure(now(), first=True, probe=await breaker.admit()) is False
        breaker.on_success(now())
        assert breaker.on_failure(now() - 1, first=True) is False  # was under way when it closed
        await anyio.sleep(1)
        assert breaker.on_failure(now(), first=True) is True
        await anyio.sleep(1)
        assert breaker.on_failure(now(), first=True, unauthorized=True) is False

    run(main)


def test_what_is_sent_as_it_closes_tells_of_the_time_after_that() -> None:
    """A coarse clock gives a whole burst that one time; while it was open nothing else was sent."""

    async def main() -> None:
        breaker = _make()
        for _ in range(2):
            costs = [breaker.on_failure(now(), first=True) for _ in range(THRESHOLD)]
            assert costs == [True] * (THRESHOLD - 1) + [False]
            await anyio.sleep(5)
            breaker.on_success(now())
        assert breaker.outages == 2

    run(main)


def test_later_attempts_do_not_count_towards_the_threshold() -> None:
    """An ID that always fails is no outage, however often it is sent."""

    async def main() -> None:
        breaker = _make()
        for _ in range(50):
            assert breaker.on_failure(now(), first=False) is True
        assert (breaker.streak, breaker.open) == (0, False)
        _fail(breaker, 9)
        breaker.on_failure(now(), first=False)
        assert (breaker.streak, breaker.open) == (9, False)
        _fail(breaker, 1)
        assert breaker.open

    run(main)


def test_it_counts_outages() -> None:
    """Each time that failures in a row open it; what a 401 opens is none."""

    async def main() -> list[int]:
        breaker = _make()
        outages = [breaker.outages]
        for unauthorized in (False, True, False, True):
            await anyio.sleep(1)
            if unauthorized:
                breaker.on_failure(now(), first=True, unauthorized=True)
            else:
                _fail(breaker)
            assert await breaker.admit()
            breaker.on_success(now())
            outages.append(breaker.outages)
        return outages

    assert run(main) == [0, 1, 1, 2, 2]


def test_it_knows_when_the_server_was_last_well() -> None:
    """By when the last request that succeeded was sent, in whatever order the answers come."""

    async def main() -> list[bool]:
        breaker = _make()
        told = [breaker.well_since(0.0)]
        breaker.on_success(50.0)
        breaker.on_success(40.0)
        return told + [breaker.well_since(when) for when in (39.0, 49.0, 50.0, 51.0)]

    assert run(main) == [False, True, True, False, False]


def test_nothing_puts_the_token_in_doubt_but_a_401() -> None:
    """Neither at the start nor after an outage."""

    async def main() -> None:
        breaker = _make()
        assert breaker.token_in_doubt is False
        breaker.on_failure(now(), first=True)
        assert breaker.token_in_doubt is False
        _fail(breaker)
        assert breaker.open
        assert breaker.token_in_doubt is False

    run(main)


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


def test_a_late_success_breaks_the_streak_while_it_is_closed() -> None:
    """It was sent before the breaker last closed; the server answers all the same."""

    async def main() -> None:
        breaker = _make()
        _fail(breaker)
        assert await breaker.admit()
        sent_at = now()
        await anyio.sleep(1)
        breaker.on_success(now())
        await anyio.sleep(1)
        _fail(breaker, 9)
        breaker.on_success(sent_at)
        assert breaker.streak == 0

    run(main)


def test_one_failure_to_hold_opens_it_and_the_first_probe_decides() -> None:
    """It waits as for any outage; `token_in_doubt` tells what the probe is for."""

    async def main() -> list[bool]:
        breaker = _make()
        await anyio.sleep(1)
        breaker.on_failure(now(), first=True, unauthorized=True)
        told = [breaker.open, breaker.token_in_doubt]
        assert await breaker.admit()
        breaker.on_success(now())
        await anyio.sleep(1)
        _fail(breaker)
        told += [breaker.open, breaker.token_in_doubt]
        assert await breaker.admit()
        breaker.on_failure(now(), first=True, probe=True, unauthorized=True)
        return [*told, breaker.token_in_doubt]

    assert run(main) == [True, True, True, False, True]


def test_trouble_of_another_kind_ends_the_doubt_about_the_token() -> None:
    """It counts as a first failure, and the next 401 begins the doubt anew."""

    async def main() -> None:
        for first in (True, False):
            breaker = _make()
            await anyio.sleep(1)
            breaker.on_failure(now(), first=True, unauthorized=True)
            assert await breaker.admit()
            assert breaker.on_failure(now(), first=first, probe=True)
            assert not breaker.open
            assert breaker.streak == first
            await anyio.sleep(1)
            breaker.on_failure(now(), first=True, unauthorized=True)
            assert (breaker.open, breaker.token_in_doubt, breaker.outages) == (True, True, 0)

    run(main)


class _Always(random.Random):
    """Draws the same number again and again."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self._number = number

    def random(self) -> float:
        return self._number


@pytest.mark.parametrize(("number", "factor"), [(0.0, 0.75), (0.5, 1.0), (1 - 2**-53, 1.25)])
def test_waits_for_a_probe_differ_by_a_quarter(number: float, factor: float) -> None:
    """Down or up: 1, 2, 4, 8, 16, 30 and 30 seconds, so that many runs do not probe in step."""

    async def main() -> list[float]:
        breaker = Breaker(rng=_Always(number), on_change=lambda _: None, clock=now)
        _fail(breaker)
        waits_s: list[float] = []
        for _ in range(7):
            began = now()
            assert await breaker.admit()
            waits_s.append(now() - began)
            breaker.on_failure(now(), first=True, probe=True)
        return waits_s

    assert run(main) == pytest.approx([factor * wait_s for wait_s in (1, 2, 4, 8, 16, 30, 30)])


def test_a_401_to_a_later_attempt_opens_it_too() -> None:
    """Whichever attempt it was; a success closes it as ever."""

    async def main() -> list[bool]:
        changes: list[bool] = []
        breaker = _make(changes)
        await anyio.sleep(1)
        breaker.on_failure(now(), first=False, unauthorized=True)
        assert await breaker.admit()
        breaker.on_success(now())
        assert not breaker.open
        return changes

    assert run(main) == [True, False]


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


@pytest.mark.parametrize("ends", ["failed", "abandoned"])
def test_those_who_wait_are_told_when_the_next_probe_is_due(ends: str) -> None:
    """They wait while a probe is under way, and one of them is the next, in its time."""

    async def main() -> float:
        breaker = _make()
        probes: list[float] = []

        async def consume() -> None:
            if await breaker.admit():
                probes.append(now())
                await anyio.sleep(5)
                if len(probes) == 2:
                    breaker.on_success(now())
                elif ends == "failed":
                    breaker.on_failure(now() - 5, first=True, probe=True)
                else:
                    breaker.on_abandoned()

        _fail(breaker)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(consume)
        assert len(probes) == 2
        return probes[1] - probes[0] - 5

    waited_s = run(main)
    assert waited_s == 0 if ends == "abandoned" else 1.5 <= waited_s <= 2.5


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
