"""The running figures of one run, and who is told what happens on the way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from bulkcancel.ids import ANY_ID
from bulkcancel.models import SUCCESSES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bulkcancel.models import CancelResult, Outcome, Target


_MOST_KINDS = 200


@dataclass(slots=True)
class Stats:
    """Counts of one run: written where requests are made and rows kept, read by what shows them."""

    ok: frozenset[Outcome] = frozenset()
    """Outcomes that are no failures in this run, besides the successes."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    """Rows written by this run."""
    errors: Counter[str] = field(default_factory=Counter)
    """Failures by their error text."""
    examples: dict[str, str] = field(default_factory=dict)
    """For each of `errors`, the first ID or input row that had it."""
    sources: dict[str, str] = field(default_factory=dict)
    """Where that was listed, as `FILE:LINE`."""
    requests: int = 0
    retries: int = 0
    throttled: int = 0
    looks: int = 0
    """Requests that asked what has become of an ID that was accepted."""
    unchecked: int = 0
    """Accepted IDs that are still to be looked at."""
    in_flight: int = 0
    open_ids: set[str] = field(default_factory=set)
    """IDs of which a request may have reached the server, and that have no row yet."""

    @property
    def done(self) -> int:
        """IDs and invalid rows with a row written by this run."""
        return self.outcomes.total()

    @property
    def successes(self) -> frozenset[Outcome]:
        """Outcomes that count as success in this run."""
        return SUCCESSES | self.ok

    @property
    def succeeded(self) -> int:
        """Rows of this run that count as success."""
        return sum(self.outcomes[each] for each in self.successes)

    @property
    def failed(self) -> int:
        """Rows of this run that do not."""
        return self.done - self.succeeded

    @property
    def unanswered(self) -> int:
        """IDs sent that have no row: once the run is over, those without a final answer."""
        return len(self.open_ids)

    def count(self, results: Iterable[CancelResult]) -> None:
        """Add a group of results."""
        for result in results:
            self.outcomes[result.outcome] += 1
            self.open_ids.discard(result.instance_id)
            if result.error and result.outcome not in self.ok:
                self._count_errors(result.error, 1, result.instance_id, result.source)

    def recount(self, old: Outcome, new: CancelResult, count: int) -> None:
        """Count rows of this run by another outcome than they had; `new` is one of them."""
        self.outcomes[old] -= count
        self.outcomes[new.outcome] += count
        if new.error and new.outcome not in self.ok:
            self._count_errors(new.error, count, new.instance_id, new.source)

    def grouped_errors(self) -> list[dict[str, object]]:
        """Return this run's failures by error, most frequent first, each with an example."""
        return [
            {
                "error": error,
                "count": count,
                "example": self.examples[error],
                "source": self.sources[error],
            }
            for error, count in self.errors.most_common()
        ]

    def figures(self) -> dict[str, object]:
        """Return the figures of a summary by their names; values are ready for JSON."""
        return {
            "outcomes": {str(word): n for word, n in sorted(self.outcomes.items()) if n},
            "errors": self.grouped_errors(),
            "requests": self.requests,
            "retries": self.retries,
            "throttled": self.throttled,
            "looks": self.looks,
        }

    def _count_errors(self, error: str, count: int, example: str, source: str) -> None:
        kind = ANY_ID.sub("…", error)
        if kind not in self.errors and len(self.errors) >= _MOST_KINDS:
            kind = kind.partition(":")[0]  # a server may say something else to every ID
        self.errors[kind] += count
        self.examples.setdefault(kind, example)
        self.sources.setdefault(kind, source)


class Observer(Protocol):
    """Is told what happens on the way: a person's or a log's side of a run."""

    def retry_scheduled(self, target: Target, error: str, attempt: int, wait_s: float) -> None:
        """Tell that the ID is sent again in `wait_s` seconds."""

    def out_of_descriptors(self) -> None:
        """Tell that this process may open no more connections."""

    def pace_changed(self, rate_per_s: float, reason: str) -> None:
        """Tell that the pace is another one from now on."""

    def breaker_changed(self, *, opened: bool) -> None:
        """Tell that the circuit breaker has opened or closed."""

    def verification_ended(self, reason: str) -> None:
        """Tell that accepted IDs are no longer looked at, although some have not stopped."""

    def bug(self, target: Target, error: Exception) -> None:
        """Tell of a fault of bulkcancel itself, inside the handling of one ID."""
