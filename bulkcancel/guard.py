"""When a run as a whole is not worth going on with."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from bulkcancel.errors import StoppedError, TokenRefusedError
from bulkcancel.faults import AttemptError, ConnectFailedError
from bulkcancel.models import SUCCESSES, Outcome
from bulkcancel.verdict import Next, Verdict

if TYPE_CHECKING:
    from bulkcancel.models import CancelResult
    from bulkcancel.reply import Reply
    from bulkcancel.stop import Stop

_TICK_S = 0.1
_NEVER_ANSWERED_S = 29.0
_UNREADABLE_FROM_START = 3
_FORBIDDEN_FROM_START = 25
_CONCLUSIVE = frozenset({Next.DONE, Next.STOP_TOKEN})


@dataclass(frozen=True, slots=True)
class Limits:
    """How much trouble a run puts up with; seconds, counts, `None` for no limit."""

    max_outage_s: float = 300.0
    deadline_s: float | None = None
    max_failures: int | None = None
    max_failure_share: float | None = None
    """Of the IDs finished so far, once there are a hundred: for inputs of unknown length."""


class Guard:
    """Watches every answer and every result, and asks the run to stop when a rule says so."""

    def __init__(self, stop: Stop, limits: Limits, *, host: str, timeout_s: float = 0.0) -> None:
        self._stop = stop
        self._limits = limits
        self._host = host
        self._never_answered_s = max(_NEVER_ANSWERED_S, timeout_s if timeout_s > 30 else 0.0)
        self._paused_until = float("-inf")
        self._answers = 0
        self._successes = 0
        self._failures = 0
        self._unreadable = 0
        self._forbidden = 0
        self._trouble_since: float | None = None
        self._last_trouble = ""

    @property
    def answered(self) -> bool:
        """Whether the server has ever answered."""
        return self._answers > 0

    def on_attempt(self, verdict: Verdict, reply: Reply | None, fault: AttemptError | None) -> None:
        """Take note of an attempt that was not a plain success."""
        if verdict.next is Next.STOP_TOKEN:
            self._stop.request(
                TokenRefusedError(
                    f"{self._host} refused the token ({verdict.error}): "
                    "make a new one in Admin > Security > Access tokens"
                )
            )
        elif verdict.next is Next.STOP_TLS:
            self._stop.request(
                StoppedError(
                    f"no trusted TLS connection to {self._host} ({verdict.error}): "
                    "nothing was sent over it"
                ),
            )
        elif self._answers == 0 and isinstance(fault, ConnectFailedError):
            self._stop.request(
                StoppedError(
                    f"{fault.message}: check the instance name, the address and the network"
                ),
                cut=True,
            )
        elif self._answers == 0 and reply is not None and 300 <= reply.http_status < 400:
            self._stop.request(
                StoppedError(
                    f"{self._host} answers with a redirect (HTTP {reply.http_status}), which is "
                    "never followed: check the instance name or the base URL"
                )
            )
        elif reply is not None and 200 <= reply.http_status < 300 and reply.instance is None:
            self._unreadable += 1
            if self._successes == 0 and self._unreadable >= _UNREADABLE_FROM_START:
                self._stop.request(
                    StoppedError(
                        f"{self._host} does not answer as Domo's Workflow API does "
                        f"({verdict.error}): check the instance name or the base URL"
                    )
                )
        if reply is not None:
            self._answers += 1
        self._note_trouble(verdict)

    def on_success(self) -> None:
        """Take note of an answer that names an instance; the only call on the plain path."""
        self._answers += 1
        self._successes += 1
        self._trouble_since = None

    def on_result(self, result: CancelResult) -> None:
        """Take note of one finished ID."""
        if result.outcome in SUCCESSES or result.outcome is Outcome.INVALID:
            return
        self._failures += 1
        # In an outage no ID fails: they wait. And after this one there may be none for a while.
        self._trouble_since = None
        if result.outcome is Outcome.FORBIDDEN:
            self._forbidden += 1
            if self._successes == 0 and self._forbidden >= _FORBIDDEN_FROM_START:
                self._stop.request(
                    TokenRefusedError(
                        f"{self._host} forbade the first {self._forbidden} cancels and allowed "
                        "none: the token's owner lacks the Manage Workflows grant, or the rights "
                        "on these workflows"
                    )
                )
        if self._too_many_failures():
            self._stop.request(
                StoppedError(f"{self._failures} IDs have failed, the limit of --max-failures")
            )

    def _too_many_failures(self) -> bool:
        count, share = self._limits.max_failures, self._limits.max_failure_share
        if count is not None and self._failures >= count:
            return True
        finished = self._failures + self._successes
        return share is not None and finished >= 100 and self._failures >= share * finished

    async def watch(self) -> None:
        """Stop the run at its deadline, or when trouble lasts too long; runs until cancelled."""
        began = now = time.monotonic()
        while not self._stop.requested:
            slept_from = now
            await anyio.sleep(_TICK_S)
            now = time.monotonic()
            stood_still = now - slept_from > 1 + _TICK_S  # SIGSTOP, a suspended laptop
            if self._trouble_since is not None and (stood_still or now < self._paused_until):
                self._trouble_since += now - slept_from
            deadline_s = self._limits.deadline_s
            if deadline_s is not None and now - began >= deadline_s:
                self._stop.request(StoppedError(f"the deadline of {deadline_s:g} s has passed"))
            if self._trouble_since is None:
                continue
            trouble_s = now - self._trouble_since
            if self._answers == 0 and trouble_s >= self._never_answered_s:
                self._stop.request(
                    StoppedError(f"{self._host} has never answered ({self._last_trouble})"),
                    cut=True,
                )
            elif trouble_s >= self._limits.max_outage_s:
                self._stop.request(
                    StoppedError(
                        f"an outage of {trouble_s:.0f} s, the limit of --max-outage "
                        f"({self._last_trouble})"
                    )
                )

    def on_pause(self, seconds: float) -> None:
        """Take note that the server asks to be left alone so long: that is no outage."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def on_first_request(self) -> None:
        """Start the clock of a host that never answers."""
        if self._trouble_since is None and self._answers == 0:
            self._trouble_since = time.monotonic()
            self._last_trouble = "the first request is still unanswered"

    def _note_trouble(self, verdict: Verdict) -> None:
        if verdict.next in _CONCLUSIVE:
            self._trouble_since = None
            return
        self._last_trouble = verdict.error
        if self._trouble_since is None:
            self._trouble_since = time.monotonic()
