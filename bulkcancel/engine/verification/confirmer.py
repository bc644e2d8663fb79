"""Whether what was accepted has stopped: each ID is looked at until the server says so.

A look is a read-only call that Domo does not document; nothing that goes wrong with it may cost the
cancels anything. So an ID that waits for one is an item of the work queue's, beside its targets
and retries, and trouble with looks holds up looks alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bulkcancel.domo import (
    READ_BACK,
    Answer,
    AttemptError,
    Next,
    judge,
    seen_outcome_of,
)
from bulkcancel.engine.verification.checks import Check, Checks, Findings
from bulkcancel.errors import StoppedError, TokenRefusedError
from bulkcancel.ids import ANY_ID, pack, unpack
from bulkcancel.models import ErrorCode, Finding, Outcome, Target

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable

    from bulkcancel.domo import DomoClient, Verdict
    from bulkcancel.engine.stats import Observer, Stats
    from bulkcancel.engine.stop import Stop
    from bulkcancel.pacing import AdaptiveRate, Pacer

_FIRST_AFTER_S = 2.0
_GROWTH = 1.5
_LONGEST_WAIT_S = 30.0
_LOCAL_WAIT_S = 0.5
_TOKEN_PATIENCE_S = 10.0
DEFAULT_VERIFY_TIMEOUT_S = 120.0
_TROUBLES = 3  # in a row: then one look at a time, further and further apart


@dataclass(frozen=True, slots=True)
class Verification:
    """How IDs are looked at."""

    timeout_s: float = DEFAULT_VERIFY_TIMEOUT_S
    """From an ID's first look that was answered until it is told as `unconfirmed`."""
    refusals: int = 3
    """So many looks that were refused (403, 404), and none answered, show that there is no such
    call."""
    patience_s: float = 30.0
    """How long nothing but trouble is put up with; as long as `timeout_s` at least."""


class Confirmer:
    """Makes looks, for any number of consumers at a time, and keeps what they find.

    The better of the calls that may be there is used; the next one once this one was refused
    `refusals` times without an answer about any ID. Where none is there, where looks meet nothing
    but trouble, or are to wait longer than an ID may take, it gives up: `gave_up` says why, and
    what has not been found stays as it is. How long there was trouble goes by `work_clock`, which
    leaves out the time in which the run could not work.
    """

    def __init__(
        self,
        policy: Verification,
        *,
        client: DomoClient,
        pacer: Pacer,
        adaptive: AdaptiveRate,
        stats: Stats,
        stop: Stop,
        observer: Observer,
        clock: Callable[[], float],
        work_clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.checks = Checks(clock)
        self.findings = Findings()
        self.gave_up: StoppedError | TokenRefusedError | None = None
        self._policy = policy
        self._patience_s = max(policy.patience_s, policy.timeout_s)
        self._client = client
        self._pacer = pacer
        self._adaptive = adaptive
        self._stats = stats
        self._stop = stop
        self._observer = observer
        self._clock = clock
        self._work_clock = work_clock
        self._rng = rng
        self._call = 0
        self._answered = False
        """Whether the call has ever told what has become of an ID."""
        self._refusals = 0
        self._troubles = 0
        self._trouble_since = math.inf
        """By `work_clock`, and without the time in which the breaker was open."""
        self._held_since = math.inf

    def add(self, instance_id: str) -> None:
        """Let an ID that was just accepted wait for its first look."""
        self._wait(Check(pack(instance_id), 0, None), _FIRST_AFTER_S)

    def add_known(self, ids: Iterable[bytes]) -> None:
        """Let IDs that were accepted long ago be looked at as soon as may be."""
        for each in ids:
            self._wait(Check(each, 0, None), 0.0)

    def on_breaker_change(self, *, opened: bool) -> None:
        """Count no time as trouble in which cancels are held back: looks are too."""
        if opened:
            self._held_since = self._work_clock()
        else:
            self._trouble_since += self._work_clock() - self._held_since

    async def look(self, check: Check) -> None:
        """Make one look, once the pace allows it, and keep what it finds, or let the ID wait.

        If it is cancelled, the ID waits again. A fault of bulkcancel's own ends the looks alone.
        """
        is_recorded = False
        try:
            await self._pacer.acquire()
            call = self._call
            asked = await self._ask(check, READ_BACK[call]) if self._may_go() else None
            if asked is not None:
                is_recorded = True
                self._record(check, *asked, call)
        except Exception as error:  # noqa: BLE001 - the cancels go on
            self._observer.bug(Target(unpack(check.packed), ""), error)
            self._give_up(StoppedError(f"bulkcancel itself failed ({type(error).__name__})"))
        finally:
            if not is_recorded:
                self._wait(check, 0.0)
            self.checks.done()
            self._stats.unchecked = len(self.checks)

    def _may_go(self) -> bool:
        """Return whether a look may still be sent; while one waits for the pace much happens."""
        return self.gave_up is None and not (self.checks.held() or self._stop.requested)

    async def _ask(self, check: Check, call: str) -> tuple[Answer | AttemptError, float] | None:
        """Return what came of a look and when it was sent; `None` if it was not to be sent."""
        began = self._clock()
        self._stats.in_flight += 1
        try:
            connection = self._client.idle()
            if connection is None:
                connection = await self._client.connect()
                # Looks that hung together must not all be sent at once.
                if self._clock() - began > 1 / self._pacer.rate_per_s or self._pacer.paused:
                    await self._pacer.acquire(ahead=True)
                if not self._may_go():
                    self._client.give_back(connection)
                    return None
            sent_at = self._clock()
            self._stats.looks += 1
            return await self._client.look(unpack(check.packed), connection, call=call), sent_at
        except AttemptError as fault:
            return fault, began
        finally:
            self._stats.in_flight -= 1

    def _record(
        self, check: Check, answer: Answer | AttemptError, sent_at: float, call: int
    ) -> None:
        verdict = judge(answer, ambiguous_before=False)
        now = self._clock()
        if verdict.next in {Next.RETRY_FREE, Next.WAIT_LOCAL}:
            self._wait(check, _LOCAL_WAIT_S if verdict.next is Next.WAIT_LOCAL else 0.0)
        elif isinstance(answer, Answer) and answer.instance is not None:
            self._well()
            if not self._answered:  # a late answer tells that a call is there after all
                self._answered, self._call = True, call
            self._adaptive.on_success(sent_at, now)
            status = answer.instance.status
            outcome = seen_outcome_of(status)
            if outcome is None:
                said = f"the server still says {status or 'nothing of its state'}"
                self._wait_or_tell(check, Finding(Outcome.UNCONFIRMED, status, said), now)
            else:
                self.findings.add(check.packed, Finding(outcome, status, ""))
        elif verdict.next is Next.DONE or (
            verdict.next is Next.UNAUTHORIZED and not self._answered
        ):
            self._refused(check, verdict, now, call)
        else:
            if verdict.throttled and self.checks.alone:  # else cancels find out what is allowed
                self._adaptive.on_throttled(sent_at, now, None, outage=self.checks.in_doubt)
            self._trouble(verdict, now)
            self._wait(check, self._back_off_s(check.looks))

    def _refused(self, check: Check, verdict: Verdict, now: float, call: int) -> None:
        """Record that there is no such call, no such execution, or no right to look."""
        if call != self._call:  # what a call says that is no longer used is nothing about an ID
            self._wait(check, 0.0)
            return
        if self._answered:  # it is about this ID alone
            self._well()
            said = verdict.error.partition(": ")[2] or verdict.error
            self._wait_or_tell(check, Finding(Outcome.UNCONFIRMED, None, said), now)
            return
        self._refusals += 1
        if self._refusals >= self._policy.refusals:
            self._next_call(verdict)
        self._wait(check, 0.0 if call != self._call else self._back_off_s(check.looks))

    def _trouble(self, verdict: Verdict, now: float) -> None:
        """Hold looks back, the longer the more of them met trouble in a row; or give up."""
        self._troubles += 1
        if verdict.next in {Next.STOP_TLS, Next.STOP_ISSUER}:
            self._give_up(StoppedError(f"no trusted TLS connection ({verdict.error})"))
        pause_s = wait_s = verdict.pause_s or 0.0
        self.checks.in_doubt = self._troubles >= _TROUBLES
        if self.checks.in_doubt:
            wait_s = max(wait_s, self._back_off_s(self._troubles - _TROUBLES))
        self.checks.held_until = max(self.checks.held_until, now + wait_s)
        if pause_s > self._patience_s:
            asks = f"the server asks to be left alone for {pause_s:.0f} s ({verdict.error})"
            self._give_up(StoppedError(asks))
        if verdict.at_first and not self._stats.requests and not self._answered:
            self._give_up(StoppedError(verdict.at_first))
        now_s = self._work_clock()
        self._trouble_since = min(self._trouble_since, now_s)
        token = verdict.next is Next.UNAUTHORIZED  # which may still be a gateway's, in passing
        patience_s = min(self._patience_s, _TOKEN_PATIENCE_S) if token else self._patience_s
        if now_s - self._trouble_since >= patience_s:
            if self._answered:
                kind = TokenRefusedError if token else StoppedError
                self._give_up(kind(f"nothing but trouble ({verdict.error})"))
            else:
                self._next_call(verdict)

    def _well(self) -> None:
        self._troubles = self._refusals = 0
        self._trouble_since = math.inf
        self.checks.in_doubt = False

    def _next_call(self, verdict: Verdict) -> None:
        self._well()
        self._call += 1
        if self._call < len(READ_BACK):
            return
        self._call = 0
        kind = TokenRefusedError if verdict.next is Next.UNAUTHORIZED else StoppedError
        self._give_up(kind(f"this server does not tell what has become of a run ({verdict.error})"))

    def _give_up(self, reason: StoppedError | TokenRefusedError) -> None:
        if self.gave_up is None:
            self.gave_up = reason
            self.checks.drop()
            self._observer.verification_ended(str(reason))

    def _wait(self, check: Check, wait_s: float) -> None:
        if self.gave_up is None:
            due = self._clock() + wait_s
            self.checks.add(check.packed, due, looks=check.looks, first_at=check.first_at)
            self._stats.unchecked = len(self.checks)

    def _wait_or_tell(self, check: Check, finding: Finding, now: float) -> None:
        """Let an ID that has not stopped wait for another look, if it has time left; else tell."""
        first_at = now if check.first_at is None else check.first_at
        left_s = self._policy.timeout_s - (now - first_at)
        if left_s > 0:
            again = Check(check.packed, check.looks + 1, first_at)
            self._wait(again, min(self._back_off_s(check.looks), left_s))
            return
        said = ANY_ID.sub("…", f"{ErrorCode.NOT_CONFIRMED}: {finding.error}")
        self.findings.add(check.packed, finding._replace(error=said))

    def _back_off_s(self, looks: int) -> float:
        """Return how long to wait after so many looks, give or take a quarter."""
        wait_s = min(_FIRST_AFTER_S * _GROWTH ** min(looks, 20), _LONGEST_WAIT_S)
        return wait_s * (0.75 + self._rng.random() / 2)
