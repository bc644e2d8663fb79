"""What comes next: new targets as they are read, and IDs that are due to come again.

The shape is that of a delaying work queue, as in Kubernetes' client-go (`util/workqueue`): an ID
that must wait goes back to the queue, so that no consumer sleeps for it.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from itertools import count
from typing import TYPE_CHECKING

import anyio

from bulkcancel.engine.turns import Retry, can_tell
from bulkcancel.models import Target
from bulkcancel.pacing import THRESHOLD

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from bulkcancel.engine.turns import Turn
    from bulkcancel.engine.verification import Check, Checks
    from bulkcancel.models import CancelResult
    from bulkcancel.pacing import Breaker

_MOST_DUE_IN_A_ROW = 4  # then a new target: it brings four more attempts at most, by default
_MOST_NEW_IN_A_ROW = 10  # then one that is due, although first attempts fail
_CANCELS_FOR_A_CHECK = 10  # so cancels are later by a tenth at most
_SPREAD_S = 3.0  # over which those that are due come back when the breaker has closed
_IN_DOUBT_S = 0.5
_LEAST_TIMER_S = 0.001


class WorkQueue:
    """Takes new targets, up to `bound`, and retries; gives each when its turn has come.

    Retries that are due come first, and at least every fifth turn is a new target's. Untried ones
    come first while the breaker is open, and up to ten in a row while first attempts fail: they
    tell an outage from IDs that always fail. After an outage IDs begin their attempts anew, spread
    over three seconds. One that has used up its attempts comes once more, to be told as failed,
    when a later request has shown the server to be well or no untried target is left that could.
    `checks`, IDs to be looked at, come where no cancel's turn is, and at least after ten cancels;
    while the breaker is open, if no cancel is left.
    """

    def __init__(
        self,
        breaker: Breaker,
        *,
        bound: int,
        clock: Callable[[], float],
        rng: random.Random,
        checks: Checks | None = None,
    ) -> None:
        self._breaker = breaker
        self._bound = bound
        self._clock = clock
        self._rng = rng
        self._new: deque[Target] = deque()
        self._untried = 0
        """New targets whose attempt has not told yet; those that failed before tell nothing."""
        self._waiting: list[tuple[float, int, Retry]] = []
        self._numbers = count()
        self._due_in_a_row = 0
        self._new_in_a_row = 0
        self._closed = False
        self._room = anyio.Event()
        self._aside: list[Turn] = []
        self._idle: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._cancels_in_a_row = 0
        self._checks = checks
        if checks is not None:
            checks.on_change = self._on_checks_change

    async def put(self, target: Target) -> None:
        """Add a new target; wait while there are as many as `bound`."""
        self._untried += not target.failed_before
        while len(self._new) >= self._bound:
            self._room = anyio.Event()
            await self._room.wait()
        self._new.append(target)
        self._wake(1)

    def put_back(self, retry: Retry) -> None:
        """Add an ID that comes again when it is due."""
        heapq.heappush(self._waiting, (retry.due, next(self._numbers), retry))
        self._set_timer()

    def set_aside(self, turn: Turn) -> None:
        """Keep what was taken, while its consumer waits for breaker and pace."""
        self._aside.append(turn)

    def take_aside(self) -> Turn:
        """Return whose turn it is after a wait; called once for each that was set aside.

        The first of those; while the breaker is open, the first that can tell of an outage, in
        whosever hands it was. While there is doubt about the server, one that cannot tell goes
        back, and a new target that can takes its turn.
        """
        at = 0
        if self._breaker.open:
            at = next((n for n, each in enumerate(self._aside) if can_tell(each)), 0)
        turn = self._aside.pop(at)
        untried = None if can_tell(turn) else self._pop_untried()
        if untried is None:
            return turn
        if isinstance(turn, Retry):
            self.put_back(turn)
        else:
            self._new.appendleft(turn)
        return untried

    def close(self) -> None:
        """Say that no new target will come."""
        self._closed = True
        self._wake(len(self._idle))

    def done(self, turn: Turn, *, again: Retry | None = None) -> None:
        """Say that what was taken has had its attempt, and what is to come `again` of it."""
        if isinstance(turn, Retry):
            if again is not None or not turn.exhausted:  # else nothing was sent in its turn
                self._new_in_a_row = 0
            untried = turn.untried
        else:
            untried = not turn.failed_before
        still = again is not None and untried and not again.has_told
        self._untried -= untried and not still
        if again is not None:
            again.untried = still
            self.put_back(again)
        elif self._checks:  # it may have been the last cancel that checks had to wait for
            self._set_timer()

    def take_nowait(self) -> Turn | Check | None:
        """Return whose turn it is, `None` if nobody's."""
        if self._checks is None:
            return self._take_cancel()
        check_is_due = self._check_due() <= self._clock()
        check_first = check_is_due and self._cancels_in_a_row >= _CANCELS_FOR_A_CHECK
        turn = None if check_first else self._take_cancel()
        if turn is not None:
            self._cancels_in_a_row += 1
            return turn
        if not check_is_due:
            return None
        self._cancels_in_a_row = 0
        return self._checks.take()

    def _take_cancel(self) -> Turn | None:
        due = bool(self._waiting) and self._waiting[0][0] <= self._clock()
        if due and not (self._new and self._is_new_ones_turn()):
            retry = self._pop_due()
            if retry is not None:
                self._due_in_a_row += 1
                return retry
        if not self._new:
            return None
        self._due_in_a_row = 0
        self._new_in_a_row += due
        return self._pop_new()

    async def take(self) -> Turn | Check | None:
        """Wait for the next turn; return `None` when none will come.

        One that others have in hand may come back, but then they take it themselves.
        """
        while (turn := self.take_nowait()) is None:
            if self._is_over():
                self._wake(len(self._idle))
                return None
            idle = asyncio.get_running_loop().create_future()
            self._idle.append(idle)
            self._set_timer()
            try:
                await idle
            finally:
                if idle in self._idle:
                    self._idle.remove(idle)
        self._set_timer()
        if self._new and not isinstance(turn, Target):  # a new one may be what woke this one
            self._wake(1)
        return turn

    def spread(self) -> None:
        """Let all that are due within three seconds come at random in them: the breaker closed."""
        now = self._clock()
        for n, (due, number, retry) in enumerate(self._waiting):
            if due < now + _SPREAD_S:
                retry.due = now + self._rng.random() * _SPREAD_S
                self._waiting[n] = retry.due, number, retry
        heapq.heapify(self._waiting)
        self._set_timer()

    def results(self) -> Iterator[CancelResult]:
        """Yield the rows that are known of those still waiting, once the run has ended.

        Where none is left that was not tried, and so many have failed that they would open a
        breaker, those have one too that failed while others were answered: a resumed run, with no
        others to tell it, would take them for an outage.
        """
        failed: list[Retry] = []
        for _, _, retry in self._waiting:
            retry.begin_anew_after(self._breaker.outages)
            if retry.result is not None:
                yield retry.result
            elif retry.failed:
                failed.append(retry)
        if len(failed) >= THRESHOLD and not self._untried:
            for retry in failed:
                if retry.failure is not None and self._breaker.well_since(retry.failed_at):
                    yield retry.failure

    def _is_new_ones_turn(self) -> bool:
        return self._next_new_one_can_tell() or self._due_in_a_row >= _MOST_DUE_IN_A_ROW

    def _next_new_one_can_tell(self) -> bool:
        """Return whether there is doubt about the server that the next new target can end."""
        if not self._breaker.streak or self._new[0].failed_before:
            return False
        return self._breaker.open or self._new_in_a_row < _MOST_NEW_IN_A_ROW

    def _pop_untried(self) -> Target | None:
        """Take a target that can end a doubt about the server, if there is one."""
        if not (self._breaker.open or (self._new and self._next_new_one_can_tell())):
            return None
        # While the breaker is open it may stand behind some that failed before.
        at = next((n for n, each in enumerate(self._new) if can_tell(each)), None)
        if at is None:
            return None
        self._new_in_a_row += 1
        self._new.rotate(-at)
        untried = self._pop_new()
        self._new.rotate(at)
        return untried

    def _pop_new(self) -> Target:
        if len(self._new) <= self._bound // 2:
            self._room.set()
        return self._new.popleft()

    def _pop_due(self) -> Retry | None:
        now = self._clock()
        while self._waiting and self._waiting[0][0] <= now:
            retry = heapq.heappop(self._waiting)[2]
            retry.begin_anew_after(self._breaker.outages)
            is_its_own = not self._untried or self._breaker.well_since(retry.ended_at)
            if is_its_own or not retry.exhausted:  # else an outage may be why it failed
                return retry
            retry.due = now + _IN_DOUBT_S
            self.put_back(retry)
        return None

    def _check_due(self) -> float:
        """Let checks know if a cancel is left; return when an ID may be looked at.

        That is infinity while cancels wait for the breaker.
        """
        checks = self._checks
        if checks is None:
            return math.inf
        checks.alone = self._closed and not (self._new or self._waiting or self._aside)
        return math.inf if self._breaker.open and not checks.alone else checks.next_due()

    def _on_checks_change(self) -> None:
        if self._is_over():
            self._wake(len(self._idle))
        else:
            self._set_timer()

    def _is_over(self) -> bool:
        return self._closed and not (self._waiting or self._checks)

    def _wake(self, waiters: int) -> None:
        while waiters and self._idle:
            idle = self._idle.popleft()
            if not idle.done():  # else its consumer was stopped, and has not run since
                idle.set_result(None)
                waiters -= 1

    def _set_timer(self) -> None:
        """Wake one of those who wait when the next ID is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._idle:
            return
        due = min(self._waiting[0][0] if self._waiting else math.inf, self._check_due())
        if due < math.inf:
            delay_s = max(due - self._clock(), _LEAST_TIMER_S)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._wake(1)
