"""When a run as a whole is not worth going on with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from bulkcancel.domo import Next, Verdict
from bulkcancel.errors import (
    TOKENS_PAGE,
    LimitError,
    StoppedError,
    TokenRefusedError,
    UntrustedError,
    UsageError,
)
from bulkcancel.models import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulkcancel.engine.stop import Stop
    from bulkcancel.models import CancelResult

_TICK_S = 0.25
_NEVER_ANSWERED_S = 29.0  # so that it is told within half a minute
_STRANGERS_FROM_START_S = 30.0
_FORBIDDEN_FROM_START = 25
DEFAULT_MAX_OUTAGE_S = 600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much trouble a run tolerates before it stops; `None` is no limit.

    Raises `UsageError` for what makes no sense.
    """

    max_outage_s: float = DEFAULT_MAX_OUTAGE_S
    deadline_s: float | None = None
    max_failures: int | None = None
    max_failure_share: float | None = None
    """Of the IDs finished so far, once there are a hundred: for inputs of unknown length."""

    def __post_init__(self) -> None:
        for name in ("max_outage_s", "deadline_s", "max_failures"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name} must be above 0, not {value}")
        share = self.max_failure_share
        if share is not None and not 0 < share <= 1:
            raise UsageError(f"max_failure_share must be above 0 and at most 1, not {share}")


class RunMonitor:
    """Watches every answer and every result, and asks the run to stop when a rule says so.

    Outcomes in `ok` are no failures; `succeeded_before` are the successes of the runs that this
    one goes on with.
    """

    def __init__(
        self,
        stop: Stop,
        limits: Limits,
        *,
        host: str,
        timeout_s: float,
        ok: frozenset[Outcome],
        succeeded_before: int,
        clock: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._stop = stop
        self._limits = limits
        self._host = host
        self._never_answered_s = timeout_s if timeout_s > 30 else _NEVER_ANSWERED_S
        self._ok = ok
        self._succeeded_before = succeeded_before
        self._began = self._clock()
        self._ticked_at = math.inf
        """When `watch` last looked at the clock; it has not yet."""
        self._held_at: float | None = None
        """Since when nothing is sent because nobody asks for results."""
        self._left_out_s = 0.0
        """How long this process did not run or was held: no server's trouble."""
        self.answered = False
        """Whether the server has ever answered."""
        self._successes = 0
        self._tolerated = 0
        self._failures = 0
        self._forbidden = 0
        self._token_accepted = False
        """Whether the API has answered about an ID, as it does not where it refuses the token."""
        self._api_answered = False
        """Whether the API itself has answered, and not a stranger."""
        self._strangers_since: float | None = None
        self._trouble_since: float | None = None
        self._troubles = 0
        self._last_trouble = ""
        self._throttled_once = False
        """Whether all the trouble so far is a single throttling answer, which is no outage."""
        self._only_local = False
        """Whether all the trouble so far is a shortage here: the server's begins after it."""

    def on_attempt(self, verdict: Verdict, *, answered: bool, decisive: bool) -> None:
        """Record an attempt that was not a plain success; ask for a stop where a rule says so.

        It was `answered`, or ended by a fault; it is `decisive` if it is the probe after a 401:
        another 401 then stops the run.
        """
        now_s = self.work_clock()
        if verdict.next is Next.UNAUTHORIZED:
            if decisive or not self._token_accepted:
                refused = (
                    f"{self._host} refused the token ({verdict.error}): make a new one in "
                    f"{TOKENS_PAGE}"
                )
                self._stop.request(TokenRefusedError(refused))
        elif verdict.next in {Next.STOP_TLS, Next.STOP_ISSUER}:
            untrusted = f"no trusted TLS connection to {self._host} ({verdict.error})"
            untrusted += ": nothing was sent over it"
            if verdict.next is Next.STOP_TLS:
                self._stop.request(StoppedError(untrusted))
            else:
                untrusted += "; if it is to be trusted, give its certificate in SSL_CERT_FILE or "
                self._stop.request(UntrustedError(untrusted, "ca_file"))
        elif verdict.at_first and not self.answered:
            self._stop.request(StoppedError(verdict.at_first), cut=not answered)
        if answered:
            self.answered = True
            self._api_answered |= not verdict.stranger
            if verdict.stranger and self._strangers_since is None:
                self._strangers_since = now_s
        self._record_trouble(verdict, now_s)

    def on_success(self) -> None:
        """Record an answer that names the instance; the only call on the plain path."""
        self.answered = self._api_answered = self._token_accepted = True
        self._successes += 1
        self._trouble_since = None

    def on_failed(self, result: CancelResult) -> None:
        """Count an ID that was not cancelled; ask for a stop where there are too many of them."""
        # A failed ID means that this is no outage: in one, nothing fails. And the success that
        # would end the trouble may come late, as on a silent pipe.
        self._trouble_since = None
        if result.outcome in self._ok:
            self._tolerated += 1
            return
        self._failures += 1
        if result.outcome is Outcome.FORBIDDEN:
            self._forbidden += 1
            are_first = self._forbidden == self._failures and not self._tolerated
            allowed = self._successes or self._succeeded_before
            if are_first and not allowed and self._forbidden >= _FORBIDDEN_FROM_START:
                forbade = (
                    f"{self._host} forbade the first {self._forbidden} cancels and allowed none"
                )
                self._stop.request(TokenRefusedError(f"{forbade}: {result.error}"))
        self._look_for_failures()

    def hold(self) -> None:
        """Count no time as trouble from now on: nothing is sent."""
        if self._held_at is None:
            self.work_clock()  # a stall before it is none of the time that it is held
            self._held_at = self._clock()

    def release(self) -> None:
        """Count time as trouble again, without that since `hold`."""
        if self._held_at is not None:
            now = self._clock()
            self._left_out_s += now - self._held_at
            self._held_at = None
            self._ticked_at = max(self._ticked_at, now)  # a stall meanwhile is left out with it

    def _look_for_failures(self) -> None:
        count, share = self._limits.max_failures, self._limits.max_failure_share
        finished = self._failures + self._successes + self._tolerated
        if count is not None and self._failures >= count:
            limit = "max_failures"
        elif share is not None and finished >= 100 and self._failures >= share * finished:
            limit = "max_failure_share"
        else:
            return
        self._stop.request(LimitError(f"{self._failures} failed, the limit of ", limit))

    async def watch(self) -> None:
        """Stop the run at its deadline, or when trouble lasts too long; runs until cancelled."""
        self._began = self._ticked_at = self._clock()
        while not self._stop.requested:
            await anyio.sleep(_TICK_S)
            now_s = self.work_clock()
            self._ticked_at = now = self._clock()
            deadline_s = self._limits.deadline_s
            if deadline_s is not None and now - self._began >= deadline_s:
                passed = f"the deadline of {deadline_s:g} s has passed ("
                self._stop.request(LimitError(passed, "deadline_s", ")"))
            self._look_for_strangers(now_s)
            self._look_for_outage(now_s)

    def work_clock(self) -> float:
        """Return the clock's seconds without those in which the run could not work.

        It was held, or did not run: SIGSTOP, a suspended laptop. That is seen at the first look at
        the clock; an answer that was waiting in the socket may come before the next tick.
        """
        now = self._clock()
        if self._held_at is not None:
            now = self._held_at
        elif now - self._ticked_at > 1 + _TICK_S:
            self._left_out_s += now - self._ticked_at
            self._ticked_at = now
        return now - self._left_out_s

    def _look_for_strangers(self, now_s: float) -> None:
        since = self._strangers_since
        if since is None or self._api_answered:
            return
        if now_s - since >= _STRANGERS_FROM_START_S:
            strange = (
                f"{self._host} has not answered once as Domo's Workflow API does "
                f"({self._last_trouble}): check the instance name or the base URL, and what stands "
                "in between"
            )
            self._stop.request(StoppedError(strange))

    def _look_for_outage(self, now_s: float) -> None:
        if self._trouble_since is None:
            return
        trouble_s = now_s - self._trouble_since
        if not self.answered and trouble_s >= self._never_answered_s:
            silent = f"{self._host} has never answered ({self._last_trouble})"
            self._stop.request(StoppedError(silent), cut=True)
        elif trouble_s >= self._limits.max_outage_s and not self._throttled_once:
            outage = f"an outage of {trouble_s:.0f} s, the limit of "
            self._stop.request(LimitError(outage, "max_outage_s", f" ({self._last_trouble})"))

    def on_first_request(self, *, sent: bool = False) -> None:
        """Start the clock for a host that never answers.

        It starts anew once a request is `sent`, if all that came before was a shortage here.
        """
        if self.answered or not (self._trouble_since is None or (sent and self._only_local)):
            return
        self._trouble_since = self.work_clock()
        self._troubles, self._only_local = 0, False
        self._last_trouble = "the first request is still unanswered"

    def _record_trouble(self, verdict: Verdict, now_s: float) -> None:
        if verdict.next is Next.DONE:
            self._token_accepted = True
            self._trouble_since = None
            return
        self._last_trouble = verdict.error
        local = verdict.next is Next.WAIT_LOCAL
        if self._trouble_since is None or (self._only_local and not local):
            self._trouble_since = now_s
            self._troubles = 0
        self._only_local = local and (self._only_local or not self._troubles)
        self._troubles += 1
        self._throttled_once = self._troubles == 1 and verdict.throttled
        if verdict.pause_s is not None:
            run_s = self._clock() - self._began
            self._check_pause(verdict.pause_s, now_s - self._trouble_since, run_s)

    def _check_pause(self, wait_s: float, trouble_s: float, run_s: float) -> None:
        """Stop the run if the server wants to be left alone for longer than the run can wait."""
        left_s, limit = self._limits.max_outage_s - trouble_s, "max_outage_s"
        if self._limits.deadline_s is not None and self._limits.deadline_s - run_s < left_s:
            left_s, limit = self._limits.deadline_s - run_s, "deadline_s"
        if wait_s > max(left_s, 0.0):  # else the outage is told as one
            asks = f"{self._host} asks to be left alone for {wait_s:.0f} s"
            left = f" ({max(left_s, 0):.0f} s; {self._last_trouble})"
            self._stop.request(LimitError(f"{asks}, longer than what is left of ", limit, left))
