"""What is known of an ID that comes again; a turn is such an ID's or a new target's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bulkcancel.models import Target

if TYPE_CHECKING:
    from bulkcancel.models import CancelResult


@dataclass(slots=True)
class Retry:
    """One ID between two of its attempts, and what is known of those it had."""

    target: Target
    due: float = 0.0
    """When it may be sent again, in the clock's seconds."""
    needs_new_connection: bool = False
    requests: int = 0
    failed: bool = False
    """Whether one of its attempts has failed, at whosever cost."""
    counted: int = 0
    """Failures that use up attempts."""
    throttled: int = 0
    unauthorized: int = 0
    """Answers of 401 that opened the breaker or were the probe's."""
    ambiguous: bool = False
    """Whether one of its attempts may have been carried out without an answer."""
    ended_at: float = 0.0
    """When the last one ended."""
    outages: int = 0
    """How many the breaker had seen by then."""
    exhausted: bool = False
    """Whether it has used up its attempts."""
    untried: bool = False
    """Whether it is counted among the new targets that have told nothing of the server yet."""
    result: CancelResult | None = None
    """Its row if the run ended now: its attempts are used up, it had failed in an earlier run as
    well, or its last answer was a 401. `None`: it would have none for reasons of its own."""
    failure: CancelResult | None = None
    """Its row if the run ended now with many like it (`WorkQueue.results`); `None` if its last
    attempt did not fail."""
    failed_at: float = math.inf
    """When the first of those in `counted` ended; a success since shows that it is its own."""

    @property
    def has_told(self) -> bool:
        """Whether an attempt has told something of the server: it failed, or was throttled."""
        return self.failed or self.throttled > 0

    def begin_anew_after(self, outages: int) -> None:
        """Begin the attempts anew if there have been more `outages` than when it was last seen."""
        if self.outages != outages:
            self.outages = outages
            self.counted = self.unauthorized = 0
            self.failed_at = math.inf
            if self.exhausted:
                self.exhausted, self.result = False, None


Turn = Target | Retry


def can_tell(turn: Turn) -> bool:
    """Return whether an attempt at it tells of an outage, and not perhaps of its ID alone."""
    return turn.untried if isinstance(turn, Retry) else not turn.failed_before
