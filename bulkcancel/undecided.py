"""IDs whose attempts ran out before anybody knew whether the server was down."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bulkcancel.breaker import Breaker
    from bulkcancel.models import CancelResult, Target


@dataclass(slots=True)
class _Case:
    result: CancelResult
    """What the ID comes to if the trouble was its own."""
    openings: int
    """Of the breaker, when its attempts ran out."""


class Undecided:
    """Keeps back the failures that may turn out to be the server's.

    With a consumer or two an ID can use up its attempts before enough failures in a row have
    opened the breaker. It is kept back until something succeeds: if the breaker has opened by
    then, its attempts were made in an outage and count no more; otherwise the trouble was its
    own, and it has failed.
    """

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._line: deque[Target] = deque()
        self._cases: dict[str, _Case] = {}

    def __bool__(self) -> bool:
        return bool(self._cases)

    def keep_back(self, target: Target, result: CancelResult, failures: int) -> bool:
        """Keep back a failed ID unless something succeeded since the first of its `failures`."""
        if self._breaker.streak < failures:
            return False
        self._cases[target.instance_id] = _Case(result, self._breaker.openings)
        self._line.append(target)
        return True

    def next(self, *, ended: bool) -> Target | None:
        """Return an ID that was kept back if it can be decided now, or all others have `ended`."""
        if self._line and (ended or not self._breaker.streak):
            return self._line.popleft()
        return None

    def decide(self, target: Target) -> tuple[CancelResult | None, int]:
        """Return the result of an ID whose turn has come again, or `None` if it starts anew.

        And how many requests have been sent for it; 0 if it was never kept back.
        """
        case = self._cases.pop(target.instance_id, None)
        if case is None:
            return None, 0
        outage = self._breaker.openings > case.openings
        return None if outage else case.result, case.result.attempts
