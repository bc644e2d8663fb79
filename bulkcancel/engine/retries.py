"""IDs that have failed before anybody knows whether they or the server are to blame."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bulkcancel.models import CancelResult, Target
    from bulkcancel.pacing import Breaker


@dataclass(slots=True)
class History:
    """What one ID has been through; made only once something went wrong."""

    requests: int = 1
    counted: int = 0
    """Failures that use up attempts."""
    restarted: bool = False
    """Whether an outage has made its first attempts void."""
    refused: int = 0
    """Answers of 401."""
    free: int = 0
    throttles: int = 0
    ambiguous: bool = False


@dataclass(slots=True)
class _Case:
    past: History
    result: CancelResult
    """What the ID comes to if the trouble was its own."""
    openings: int
    """Of the breaker, before the outage that may be to blame."""


class HeldBack:
    """Keeps IDs back whose failures may turn out to be the server's.

    While the breaker is open, an ID that fails makes room for another: the next probe is that of
    an ID not tried yet, so that a few that always fail cannot stand in the way of all others.
    And with a consumer or two an ID can use up its attempts before enough failures in a row have
    opened the breaker. Either is decided when something succeeds: if the breaker has opened
    meanwhile, its attempts were made in an outage and count no more; otherwise the trouble was
    its own, and it has failed. They come one at a time: together they would look like an outage.
    """

    def __init__(self, breaker: Breaker, *, attempts: int) -> None:
        self._breaker = breaker
        self._attempts = attempts
        self._line: deque[Target] = deque()
        self._cases: dict[str, _Case] = {}
        self._in_hand = False

    def __bool__(self) -> bool:
        return bool(self._cases)

    def __contains__(self, target: Target) -> bool:
        return target.instance_id in self._cases

    def keep_back(self, target: Target, result: CancelResult, past: History) -> bool:
        """Keep a failed ID back if it is not clear who is to blame; return whether."""
        breaker = self._breaker
        if not breaker.open and (past.restarted or breaker.streak < past.counted):
            return False  # something has succeeded since its first failure
        openings = breaker.openings - 1 if breaker.open else breaker.openings
        self._cases[target.instance_id] = _Case(past, result, openings)
        self._line.append(target)
        return True

    def next(self, *, ended: bool) -> Target | None:
        """Return an ID that was kept back if it can be decided now, or all others have `ended`."""
        if not self._line or self._in_hand or (self._breaker.streak and not ended):
            return None
        self._in_hand = True
        return self._line.popleft()

    def decide(self, target: Target) -> tuple[CancelResult | None, History | None]:
        """Return the result of an ID whose turn has come again, or its past if it starts anew."""
        case = self._cases.pop(target.instance_id)
        if self._breaker.openings == case.openings:
            self.settle(case.past, failed=True)
            return case.result, None
        case.past.counted, case.past.restarted = 0, True
        return None, case.past

    def settle(self, past: History, *, failed: bool) -> None:
        """Let the next one come; if the one in hand has `failed`, that was its own trouble."""
        self._in_hand = False
        if failed:
            self._breaker.forgive(past.counted)

    def given_up(self) -> Iterator[CancelResult]:
        """Yield the results of those that are known when the run ends.

        They have had all their attempts, or the last word on them was that the token is refused.
        """
        for case in self._cases.values():
            if case.past.requests >= self._attempts or case.result.http_status == 401:
                yield case.result
