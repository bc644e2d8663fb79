"""Whose turn it is: new targets, and IDs that come again when they are due, on virtual time."""

from __future__ import annotations

import asyncio
import math
import random
from datetime import UTC, datetime

import anyio
import pytest

from bulkcancel.engine.retries import WorkQueue
from bulkcancel.engine.turns import Retry, Turn
from bulkcancel.engine.verification import Check
from bulkcancel.models import CancelResult, Outcome, Target
from bulkcancel.pacing.breaker import THRESHOLD, Breaker
from tests.support.runs import make_ids
from tests.support.virtual_time import now, on_virtual_time, stall

IDS = make_ids(200)


class Bench:
    """A queue beside its breaker."""

    def __init__(self, bound: int = 100) -> None:
        self.began = now()
        rng = random.Random(1)
        self.breaker = Breaker(rng=rng, on_change=lambda _: None, clock=now)
        self.queue = WorkQueue(self.breaker, bound=bound, clock=now, rng=rng)

    async def put(self, *numbers: int, failed_before: bool = False) -> None:
        for n in numbers:
            await self.queue.put(Target(IDS[n], str(n), failed_before))

    def put_back(self, number: int, after_s: float = 0.0, *, exhausted: bool = False) -> Retry:
        retry = Retry(Target(IDS[number], str(number)), now() + after_s, ended_at=now())
        retry.outages = self.breaker.outages
        if exhausted:
            retry.exhausted, retry.counted, retry.result = True, 5, _row(retry.target)
        self.queue.put_back(retry)
        return retry

    def fail(self, times: int) -> None:
        for _ in range(times):
            self.breaker.on_failure(now(), first=True)

    def take(self) -> int | None:
        """The number of the ID whose turn it is, negative for a retry, whose attempt is then over.

        A target's is not: it stays untried.
        """
        turn = self.turn()
        if isinstance(turn, Retry):
            self.queue.done(turn)
        return _number(turn)

    def turn(self) -> Turn | None:
        """Whose turn it is; nobody here is to be looked at."""
        turn = self.queue.take_nowait()
        assert not isinstance(turn, Check)
        return turn

    def after_the_wait(self, turn: Turn) -> Turn:
        """Whose turn it is when one in hand has waited for breaker and pace."""
        self.queue.set_aside(turn)
        return self.queue.take_aside()

    async def wait(self) -> Turn | None:
        """Whose turn is next."""
        turn = await self.queue.take()
        assert not isinstance(turn, Check)
        return turn

    def take_all(self) -> list[int]:
        taken = iter(self.take, None)
        return list(taken)


def _number(turn: Turn | Check | None) -> int | None:
    if turn is None or isinstance(turn, Check):
        return None
    return int(turn.source) if isinstance(turn, Target) else -int(turn.target.source)


def _row(target: Target) -> CancelResult:
    return CancelResult(
        target.instance_id, Outcome.FAILED, None, None, None, None, 500, 5, "server_error: no",
        1.0, datetime.now(UTC), "acme.domo.com", target.source,
    )  # fmt: skip


@on_virtual_time
async def test_new_targets_come_in_their_order() -> None:
    """First in, first out, and nothing when there is nothing."""
    bench = Bench()
    assert bench.take() is None
    await bench.put(1, 2, 3)
    assert bench.take_all() == [1, 2, 3]


@on_virtual_time
async def test_a_full_queue_holds_its_producer_until_half_of_it_is_taken() -> None:
    """Back-pressure: no more than the bound is ever there."""
    bench = Bench(bound=4)
    placed: list[int] = []

    async def produce() -> None:
        for n in range(1, 11):
            await bench.put(n)
            placed.append(n)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(produce)
        await anyio.sleep(1)
        assert placed == [1, 2, 3, 4]
        assert bench.take() == 1
        await anyio.sleep(1)
        assert placed == [1, 2, 3, 4]
        assert [bench.take(), bench.take()] == [2, 3]
        await anyio.sleep(1)
        assert placed == [1, 2, 3, 4, 5, 6, 7]
        taken: list[int] = []
        while len(taken) < 7:
            taken += bench.take_all()
            await anyio.sleep(1)
        assert taken == [4, 5, 6, 7, 8, 9, 10]


def test_an_id_begins_without_a_history() -> None:
    """Due at once, on whatever connection there is, with all its attempts before it."""
    target = Target(IDS[0], "1")
    assert Retry(target) == Retry(
        target, due=0.0, needs_new_connection=False, requests=0, failed=False, counted=0,
        throttled=0, unauthorized=0, ambiguous=False, ended_at=0.0, outages=0, exhausted=False,
        untried=False, result=None, failure=None, failed_at=math.inf,
    )  # fmt: skip


@on_virtual_time
async def test_a_retry_comes_when_it_is_due() -> None:
    """Not a moment before; the one that is due first comes first, whenever it was put back."""
    bench = Bench()
    bench.put_back(1, 3.0)
    bench.put_back(2, 1.0)
    bench.put_back(3, 1.0)
    assert bench.take() is None
    await anyio.sleep(0.999)
    assert bench.take() is None
    await anyio.sleep(0.002)
    assert bench.take_all() == [-2, -3]
    await anyio.sleep(2)
    assert bench.take_all() == [-1]


@on_virtual_time
async def test_retries_come_first_and_every_fifth_turn_is_a_new_targets() -> None:
    """Neither starves the other."""
    bench = Bench()
    await bench.put(*range(1, 5))
    for n in range(101, 112):
        bench.put_back(n)
    turns = bench.take_all()
    assert [n > 0 for n in turns] == [*[False] * 4, True] * 2 + [False] * 3 + [True] * 2


@on_virtual_time
async def test_retries_alone_are_not_counted_against_them() -> None:
    """Where a new target comes after many retries, a retry that is due need not wait for five."""
    bench = Bench()
    for n in range(101, 110):
        bench.put_back(n)
    assert len(bench.take_all()) == 9
    await bench.put(1, 2)
    for n in range(110, 113):
        bench.put_back(n)
    assert bench.take() == 1
    assert bench.take_all() == [-110, -111, -112, 2]


@on_virtual_time
async def test_while_first_attempts_fail_new_targets_come_first() -> None:
    """They tell an outage from IDs that always fail; a retry waits for ten of them at most."""
    bench = Bench()
    bench.fail(1)
    await bench.put(*range(1, 30))
    for n in range(101, 104):
        bench.put_back(n)
    turns = bench.take_all()
    assert [n > 0 for n in turns[:22]] == [*[True] * 10, False] * 2
    bench.breaker.on_success(now())
    for n in range(104, 106):
        bench.put_back(n)
    await bench.put(30)
    assert bench.take_all() == [-104, -105, 30]


@on_virtual_time
async def test_new_targets_are_counted_only_against_a_retry_that_is_due() -> None:
    """Those that went before it was due were not in its way."""
    bench = Bench()
    bench.fail(1)
    await bench.put(*range(1, 30))
    bench.put_back(101, after_s=1.0)
    assert [bench.take() for _ in range(9)] == [*range(1, 10)]
    await anyio.sleep(1.1)
    assert bench.take_all()[:11] == [*range(10, 20), -101]


@on_virtual_time
async def test_a_retry_whose_turn_it_is_keeps_it_while_it_waits_for_the_pace() -> None:
    """Ten new targets went before it: it makes room for no eleventh, unless the breaker opens."""
    bench = Bench()
    await anyio.sleep(1)
    bench.fail(1)
    await bench.put(*range(1, 30))
    retry = bench.put_back(101)
    assert [bench.take() for _ in range(10)] == list(range(1, 11))
    turn = bench.turn()
    assert turn is retry
    assert bench.after_the_wait(turn) is retry
    bench.fail(THRESHOLD - 1)
    assert _number(bench.after_the_wait(turn)) == 11
    assert bench.turn() == Target(IDS[12], "12")


@on_virtual_time
async def test_while_the_breaker_is_open_untried_ids_are_the_probes() -> None:
    """Each probe is another ID as long as there is one, and only then one that has failed."""
    bench = Bench()
    await anyio.sleep(1)
    bench.fail(THRESHOLD)
    assert bench.breaker.open
    await bench.put(*range(1, 25))
    for n in range(101, 104):
        bench.put_back(n)
    assert bench.take_all() == [*range(1, 25), -101, -102, -103]


@on_virtual_time
async def test_in_doubt_a_retry_in_hand_gives_its_turn_to_a_new_target() -> None:
    """After a wait for breaker and pace: it comes again. Without doubt or new ones it goes."""
    bench = Bench()
    await anyio.sleep(1)
    retry, new = Retry(Target(IDS[101], "101")), Target(IDS[100], "100")
    await bench.put(1, 2, 3)
    assert bench.after_the_wait(retry) is retry
    bench.fail(1)
    assert bench.after_the_wait(new) is new
    assert _number(bench.after_the_wait(retry)) == 1
    assert bench.take_all() == [2, 3, -101]
    assert bench.after_the_wait(retry) is retry
    bench.fail(THRESHOLD - 1)
    await bench.put(4)
    assert _number(bench.after_the_wait(retry)) == 4
    assert bench.take_all() == [-101]


@on_virtual_time
async def test_the_probe_is_an_untried_id_in_whosever_hands_it_is() -> None:
    """Many wait for the breaker; without an outage each has its turn as it came."""
    bench = Bench()
    await anyio.sleep(1)
    known = Target(IDS[1], "1", failed_before=True)
    retries = [Retry(Target(IDS[n], str(n))) for n in (101, 102)]
    new = [Target(IDS[n], str(n)) for n in (2, 3)]
    in_hand: list[Turn] = [retries[0], known, new[0], retries[1], new[1]]

    def wait() -> list[int | None]:
        for turn in in_hand:
            bench.queue.set_aside(turn)
        return [_number(bench.queue.take_aside()) for _ in in_hand]

    assert wait() == [-101, 1, 2, -102, 3]
    bench.fail(THRESHOLD - 1)
    assert wait() == [-101, 1, 2, -102, 3]
    bench.fail(1)
    assert wait() == [2, 3, -101, 1, -102]
    await bench.put(4, 5)
    assert wait() == [2, 3, 4, 5, -102]
    assert bench.take_all() == [-101, 1]


@on_virtual_time
async def test_the_probe_may_be_one_whose_attempt_reached_nobody() -> None:
    """It has told nothing yet: such as one that met a connection closed while idle."""
    bench = Bench()
    await anyio.sleep(1)
    bench.fail(THRESHOLD)
    untried = Retry(Target(IDS[2], "2"), untried=True)
    bench.queue.set_aside(Retry(Target(IDS[1], "1")))
    bench.queue.set_aside(untried)
    assert bench.queue.take_aside() is untried


@on_virtual_time
async def test_of_eleven_retries_in_hand_one_keeps_its_turn() -> None:
    """While first attempts fail and the breaker is closed: else retries would starve."""
    bench = Bench()
    await anyio.sleep(1)
    await bench.put(*range(1, 31))
    bench.fail(1)
    given = [bench.after_the_wait(Retry(Target(IDS[n], str(n)), now())) for n in range(101, 113)]
    assert [_number(each) for each in given] == [*range(1, 11), -111, -112]


@on_virtual_time
async def test_one_that_is_told_as_failed_takes_no_turn_of_a_retry() -> None:
    """Nothing is sent for it, so the one behind it need not wait for ten more new ones."""
    bench = Bench()
    await anyio.sleep(1)
    await bench.put(*range(1, 41))
    bench.put_back(101, exhausted=True)
    bench.put_back(102)
    await anyio.sleep(1)
    bench.breaker.on_success(now())
    bench.fail(1)
    assert [bench.take() for _ in range(14)] == [*range(1, 11), -101, -102, 11, 12]


@on_virtual_time
async def test_the_probe_is_an_untried_id_behind_those_that_failed_before() -> None:
    """They keep their places; where all have failed it is whose turn it was."""
    bench = Bench()
    await anyio.sleep(1)
    retry, known = Retry(Target(IDS[101], "101")), Target(IDS[100], "100", failed_before=True)
    await bench.put(1, 2, failed_before=True)
    await bench.put(3)
    await bench.put(4, failed_before=True)
    await bench.put(5)
    await bench.put(6, failed_before=True)
    bench.fail(1)
    assert bench.after_the_wait(retry) is retry
    bench.fail(THRESHOLD - 1)
    assert _number(bench.after_the_wait(retry)) == 3
    assert _number(bench.after_the_wait(known)) == 5
    assert bench.after_the_wait(known) is known
    bench.breaker.on_success(now() + 1)
    assert bench.take_all() == [-101, 100, 1, 2, 4, 6]


@on_virtual_time
async def test_when_the_breaker_is_open_a_401_is_doubt_enough() -> None:
    """Whatever opened it: untried IDs are the probes."""
    bench = Bench()
    await anyio.sleep(1)
    bench.breaker.on_failure(now(), first=False, unauthorized=True)
    await bench.put(1)
    assert _number(bench.after_the_wait(Retry(Target(IDS[101], "101")))) == 1


@on_virtual_time
async def test_one_that_is_exhausted_waits_for_a_sign_that_the_server_is_well() -> None:
    """A success of a later request tells that it is the ID's own failure; nothing earlier does."""
    bench = Bench()
    await bench.put(1, 2)
    before = now()
    await anyio.sleep(1)
    bench.put_back(101, exhausted=True)
    assert bench.take() == 1
    bench.breaker.on_success(before)
    await anyio.sleep(10)
    assert bench.take() == 2
    assert bench.take() is None
    sent_at = now()
    bench.breaker.on_success(sent_at)
    await anyio.sleep(1)
    turn = bench.turn()
    assert isinstance(turn, Retry)
    assert turn.exhausted


@on_virtual_time
async def test_one_that_is_exhausted_is_told_when_nothing_untried_is_left() -> None:
    """Neither waiting nor in hand: nobody could tell any more."""
    bench = Bench()
    await bench.put(1)
    bench.put_back(101, exhausted=True)
    turn = bench.turn()
    assert _number(turn) == 1
    await anyio.sleep(5)
    assert bench.take() is None
    assert turn is not None
    bench.queue.done(turn)
    await anyio.sleep(1)
    retry = bench.turn()
    assert isinstance(retry, Retry)
    bench.queue.done(retry)
    bench.put_back(102, exhausted=True)
    assert bench.take() == -102


@on_virtual_time
async def test_one_that_is_exhausted_waits_for_each_that_is_untried() -> None:
    """As many as were put in are to have their attempt first; it asks twice a second."""
    bench = Bench()
    await bench.put(1, 2, 3)
    turns = [bench.turn() for _ in range(3)]
    bench.put_back(101, exhausted=True)
    for turn in turns:
        assert turn is not None
        assert bench.take() is None
        bench.queue.done(turn)
        assert bench.take() is None
        await anyio.sleep(0.49)
        assert bench.take() is None
        await anyio.sleep(0.02)
    assert bench.take() == -101


@on_virtual_time
async def test_a_target_whose_attempt_reached_nobody_is_untried_still() -> None:
    """A connection closed while idle, a machine without descriptors: the next one can tell."""
    bench = Bench()
    await bench.put(1)
    bench.put_back(101, exhausted=True)
    turn = bench.turn()
    assert isinstance(turn, Target)
    again = Retry(turn, now())
    for _ in range(3):
        bench.queue.done(turn, again=again)
        assert bench.turn() is again
        assert bench.take() is None
        turn = again
    await anyio.sleep(1)
    assert bench.take() is None
    again.failed = True
    bench.queue.done(turn, again=again)
    assert bench.take() == -1
    await anyio.sleep(1)
    assert bench.take() == -101


@on_virtual_time
@pytest.mark.parametrize("told", ["failed", "throttled"])
async def test_any_answer_tells(told: str) -> None:
    """A 429 too: whoever sends it is there."""
    bench = Bench()
    await bench.put(1)
    turn = bench.turn()
    assert isinstance(turn, Target)
    again = Retry(turn, now() + 60)
    setattr(again, told, 1)
    bench.queue.done(turn, again=again)
    bench.put_back(101, exhausted=True)
    assert bench.take() == -101


@on_virtual_time
async def test_one_that_cannot_be_told_yet_holds_up_none_that_is_due() -> None:
    """Those behind it go first."""
    bench = Bench()
    await bench.put(1)
    assert bench.take() == 1
    for n in (101, 102):
        bench.put_back(n, exhausted=True)
    bench.put_back(103)
    assert bench.take_all() == [-103]


@on_virtual_time
async def test_a_target_that_waits_at_a_full_queue_is_untried_too() -> None:
    """All that was in the queue may be taken before its producer gets a turn."""
    bench = Bench(bound=2)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.put, 1, 2, 3)
        await anyio.sleep(1)
        for _ in range(2):
            turn = bench.turn()
            assert turn is not None
            bench.queue.done(turn)
        bench.put_back(101, exhausted=True)
        assert bench.take() is None
        await anyio.sleep(1)
        assert bench.take() == 3


@on_virtual_time
async def test_ids_that_an_earlier_run_has_failed_tell_nothing_of_the_server() -> None:
    """They do not keep the others from being told as failed."""
    bench = Bench()
    bench.put_back(101, exhausted=True)
    await bench.put(1, 2, failed_before=True)
    assert bench.take() == -101
    turn = bench.turn()
    assert turn is not None
    bench.queue.done(turn)
    bench.put_back(102, exhausted=True)
    assert bench.take() == -102


@on_virtual_time
async def test_an_outage_gives_attempts_back() -> None:
    """What failed before the breaker opened, and was exhausted by it, begins anew."""
    bench = Bench()
    await anyio.sleep(1)
    bench.put_back(101, exhausted=True)
    counted = bench.put_back(102)
    counted.counted = 3
    bench.fail(THRESHOLD)
    during = bench.put_back(103)
    during.counted = 2
    bench.breaker.on_success(now() + 1)
    for _ in range(3):
        retry = bench.turn()
        assert isinstance(retry, Retry)
        if retry is during:
            assert retry.counted == 2
        else:
            assert (retry.counted, retry.exhausted, retry.result) == (0, False, None)
            assert retry.outages == 1


@on_virtual_time
async def test_an_outage_takes_no_word_of_its_own_from_an_id() -> None:
    """A 401 before it is still the last that was heard; it counts no more."""
    bench = Bench()
    await anyio.sleep(1)
    refused = bench.put_back(101)
    refused.result, refused.unauthorized = _row(refused.target), 2
    bench.fail(THRESHOLD)
    assert bench.take() == -101
    assert refused.result is not None
    assert (refused.unauthorized, refused.exhausted, refused.outages) == (0, False, 1)


@on_virtual_time
async def test_after_an_outage_they_come_back_spread_out() -> None:
    """Over three seconds, each at a time of its own; what is due later stays as it was."""
    bench = Bench()
    for n in range(1, 61):
        bench.put_back(n, after_s=(n % 5) / 2)
    later = bench.put_back(100, after_s=3.5)
    due = later.due
    bench.queue.spread()
    times = []
    for _ in range(35):
        times.append(len(bench.take_all()))
        await anyio.sleep(0.1)
    assert sum(times) == 60
    assert max(times) <= 8
    assert sum(times[:10]) > 10
    assert sum(times[20:31]) > 10
    assert later.due == due


@on_virtual_time
async def test_each_retry_that_is_due_wakes_a_consumer() -> None:
    """Those who wait take them side by side, at their time."""
    bench = Bench()
    taken: list[tuple[float, int | None]] = []

    async def consume() -> None:
        while (turn := await bench.wait()) is not None:
            taken.append((round(now() - bench.began, 2), _number(turn)))
            await anyio.sleep(5)

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(consume)
        await anyio.sleep(1)
        for n in (1, 2, 3):
            bench.put_back(n, after_s=2.0)
        bench.put_back(4, after_s=1.0)
        await anyio.sleep(0.5)
        await bench.put(5)
        bench.queue.close()
    assert [at for at, _ in sorted(taken)] == [1.5, 2.0, 3.0, 3.0, 6.5]
    assert dict(taken[:2]) == {1.5: 5, 2.0: -4}
    assert {number for _, number in taken} == {5, -1, -2, -3, -4}


@on_virtual_time
async def test_what_is_put_back_wakes_one_who_waits_already() -> None:
    """At its time, though nothing else happens; one that is put back later may be due sooner."""
    bench = Bench()
    taken: list[tuple[int | None, float]] = []

    async def consume() -> None:
        turn = await bench.wait()
        taken.append((_number(turn), round(now() - bench.began, 2)))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(consume)
        await anyio.sleep(1)
        bench.put_back(1, after_s=9)
        bench.put_back(2, after_s=2)
        await anyio.sleep(4)
        bench.put_back(3, after_s=0)
    assert taken == [(-2, 3.0), (-3, 5.0), (-1, 10.0)]


@on_virtual_time
async def test_who_was_woken_for_a_new_target_and_takes_a_retry_wakes_another() -> None:
    """A retry fell due in the same moment; the one that waits beside it takes the new one."""
    bench = Bench()
    taken: list[tuple[int | None, float]] = []

    async def consume() -> None:
        turn = await bench.wait()
        taken.append((_number(turn), now() - bench.began))
        await anyio.sleep(60)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(consume)
        await anyio.sleep(1)
        bench.put_back(101, after_s=2)
        await anyio.sleep(1)
        stall(1.5)
        await bench.put(1)
        await anyio.sleep(1)
        assert sorted(number for number, _ in taken if number is not None) == [-101, 1]
        tasks.cancel_scope.cancel()


@on_virtual_time
async def test_nobody_is_woken_for_nothing() -> None:
    """Many wait, and many are to come: each turn costs one look, or the second of who waited."""
    bench = Bench()
    looks = taken = 0
    real = bench.queue.take_nowait

    def look() -> Turn | Check | None:
        nonlocal looks
        looks += 1
        return real()

    async def consume() -> None:
        nonlocal taken
        while await bench.wait() is not None:
            taken += 1

    bench.queue.take_nowait = look  # type: ignore[method-assign]
    async with anyio.create_task_group() as tasks:
        for _ in range(16):
            tasks.start_soon(consume)
        await anyio.sleep(1)
        for n in range(50):
            bench.put_back(n, after_s=60 - n)
        bench.queue.spread()
        await anyio.sleep(100)
        for n in range(10):
            await bench.put(n)
        await anyio.sleep(1)
        assert taken == 60
        assert looks <= 16 + 2 * taken
        bench.queue.close()


@on_virtual_time
async def test_after_an_outage_those_who_wait_are_woken_in_time() -> None:
    """What would have come first may come later now, and the other way round."""
    bench = Bench()
    times: list[float] = []

    async def consume() -> None:
        while await bench.wait() is not None:
            times.append(now() - bench.began)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(consume)
        await anyio.sleep(1)
        retries = [bench.put_back(n, after_s=2.9) for n in range(4)]
        bench.queue.spread()
        due = sorted(retry.due - bench.began for retry in retries)
        await anyio.sleep(5)
        bench.queue.close()
    assert due[0] < 2
    assert times == pytest.approx(due, abs=0.01)


@on_virtual_time
async def test_closing_with_nothing_left_ends_all_who_wait() -> None:
    """The last target has had its attempt, and they wait for more."""
    bench = Bench()
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(bench.queue.take)
        await anyio.sleep(1)
        bench.queue.close()
        with anyio.fail_after(1):
            assert await bench.wait() is None


@on_virtual_time
async def test_closing_ends_those_who_wait_once_nothing_is_left() -> None:
    """As long as one is to come again somebody waits for it; then all are told that it is over."""
    bench = Bench()
    ended: list[float] = []
    taken: list[int | None] = []

    async def consume() -> None:
        while (turn := await bench.wait()) is not None:
            taken.append(_number(turn))
        ended.append(now() - bench.began)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(consume)
        bench.put_back(1, after_s=2)
        await anyio.sleep(1)
        bench.queue.close()
        await anyio.sleep(0.5)
        assert ended == []
    assert taken == [-1]
    assert ended == pytest.approx([2] * 8, abs=0.01)


@on_virtual_time
async def test_a_consumer_that_is_stopped_while_it_waits_takes_nothing_with_it() -> None:
    """What comes afterwards goes to another."""
    bench = Bench()
    taken: list[int | None] = []

    async def consume() -> None:
        taken.append(_number(await bench.wait()))

    async with anyio.create_task_group() as tasks:
        with anyio.move_on_after(1):
            await bench.wait()
        tasks.start_soon(consume)
        await anyio.sleep(1)
        await bench.put(7)
    assert taken == [7]
    assert bench.take() is None


@on_virtual_time
async def test_a_consumer_that_is_stopped_and_has_not_run_since_is_not_woken() -> None:
    """The one behind it is, and nothing of the first is kept."""
    bench = Bench()
    stopped, waiting = (asyncio.create_task(bench.queue.take()) for _ in range(2))
    await anyio.sleep(1)
    stopped.cancel()
    await bench.put(7)
    assert _number(await waiting) == 7
    assert stopped.cancelled()
    late = asyncio.create_task(bench.queue.take())
    await anyio.sleep(1)
    late.cancel()
    await anyio.sleep(1)
    assert not bench.queue._idle


@on_virtual_time
async def test_what_is_known_of_those_that_wait_is_told_at_the_end() -> None:
    """Rows of IDs that have used up their attempts, or whose last answer is a word of its own."""
    bench = Bench()
    bench.put_back(1, after_s=9)
    bench.put_back(2, after_s=9, exhausted=True)
    refused = bench.put_back(3, after_s=9)
    refused.result = _row(refused.target)
    assert {row.instance_id for row in bench.queue.results()} == {IDS[2], IDS[3]}


@on_virtual_time
async def test_what_an_outage_has_exhausted_has_no_row_at_the_end() -> None:
    """It would have begun anew; a word of its own is told all the same."""
    bench = Bench()
    await anyio.sleep(1)
    bench.put_back(1, after_s=9, exhausted=True)
    refused = bench.put_back(2, after_s=9)
    refused.result = _row(refused.target)
    bench.fail(THRESHOLD)
    bench.put_back(3, after_s=9, exhausted=True)
    assert {row.instance_id for row in bench.queue.results()} == {IDS[2], IDS[3]}


@pytest.mark.parametrize(
    ("failed", "throttled", "untried", "told"),
    [(10, 0, False, 10), (9, 1, False, 9), (9, 0, False, 0), (10, 0, True, 0)],
)
@on_virtual_time
async def test_ten_that_failed_while_others_were_answered_are_told_when_none_is_untried(
    failed: int, throttled: int, untried: bool, told: int
) -> None:
    """Each whose last attempt failed; one that was throttled since counts, but has no row."""
    bench = Bench()
    if untried:
        await bench.put(100)
    retries = [bench.put_back(n, after_s=9) for n in range(failed + throttled)]
    for retry in retries:
        retry.failed, retry.failed_at = True, now()
    for retry in retries[:failed]:
        retry.failure = _row(retry.target)
    await anyio.sleep(1)
    bench.breaker.on_success(now())
    assert [row.instance_id for row in bench.queue.results()] == IDS[:told]


@on_virtual_time
async def test_none_is_told_that_failed_when_nobody_was_answered() -> None:
    """Neither since, nor after an outage that has begun since."""
    bench = Bench()
    for n in range(10):
        retry = bench.put_back(n, after_s=9)
        retry.failed, retry.failed_at, retry.failure = True, now(), _row(retry.target)
    bench.breaker.on_success(now())
    assert list(bench.queue.results()) == []
    await anyio.sleep(1)
    bench.fail(THRESHOLD)
    bench.breaker.on_success(now() + 1)
    assert not bench.breaker.open
    assert list(bench.queue.results()) == []
