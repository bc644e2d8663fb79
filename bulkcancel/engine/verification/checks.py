"""The IDs that wait to be looked at, and what was found of them: a million fit in memory."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from bulkcancel.ids import IdSet

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulkcancel.models import Finding, Outcome

_MOST_KINDS = 200
_ITEM = Struct(">QIB16s")
"""When it is due and when it was first answered (ms since the beginning, the latter plus one, 0 if
it was not), how many looks it had, its ID. In this order items sort by when they are due."""


class Check(NamedTuple):
    """One ID whose turn it is to be looked at."""

    packed: bytes
    looks: int
    first_at: float | None
    """When a look was answered first."""


class Checks:
    """The IDs that wait for a look, in about 75 bytes each. Times are in the clock's seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._epoch = clock()
        self._heap: list[bytes] = []
        self.held_until = -math.inf
        """Before that none is due."""
        self.in_doubt = False
        """Whether there is to be one look at a time, as there is trouble with them."""
        self.alone = False
        """Whether no cancel is left, as far as the queue knows."""
        self.most_beside_cancels = 1
        """How many may be in hand while cancels are left."""
        self.on_change: Callable[[], None] = _nothing
        """Called when one was added or is done, or all were dropped."""
        self._taken = 0

    def __len__(self) -> int:
        """Count those in hand as well: they may have to wait again."""
        return len(self._heap) + self._taken

    def add(
        self, packed: bytes, due: float, *, looks: int = 0, first_at: float | None = None
    ) -> None:
        """Let an ID wait until it is due."""
        first_ms = 0 if first_at is None else self._ms(first_at) + 1
        item = _ITEM.pack(self._ms(due), first_ms, min(looks, 255), packed)
        heapq.heappush(self._heap, item)
        self.on_change()

    def next_due(self) -> float:
        """Return when `take` may give one; infinity if that is not known."""
        most = len(self) if self.alone else self.most_beside_cancels
        if not self._heap or self._taken >= (1 if self.in_doubt else most):
            return math.inf
        due_ms: int = _ITEM.unpack(self._heap[0])[0]
        return max(self._epoch + due_ms / 1000, self.held_until)

    def take(self) -> Check:
        """Take the one that is due first. Its look must end with `done`."""
        _, first_ms, looks, packed = _ITEM.unpack(heapq.heappop(self._heap))
        self._taken += 1
        first_at = self._epoch + (first_ms - 1) / 1000 if first_ms else None
        return Check(packed, looks, first_at)

    def held(self) -> bool:
        """Return whether one that was taken must not be looked at after all."""
        return self._clock() < self.held_until or (self.in_doubt and self._taken > 1)

    def done(self) -> None:
        """Say that a look has ended."""
        self._taken -= 1
        self.on_change()

    def drop(self) -> None:
        """Forget them all."""
        self._heap.clear()
        self.on_change()

    def _ms(self, when: float) -> int:
        return max(0, math.ceil((when - self._epoch) * 1000))


class Findings:
    """What the looks have found, in about 30 bytes an ID."""

    def __init__(self) -> None:
        self._ids: dict[Finding, IdSet] = {}
        self.outcomes: Counter[Outcome] = Counter()
        self.on_found: Callable[[bytes, Finding], None] = _nothing
        """Told of each ID once."""

    def add(self, packed: bytes, finding: Finding) -> None:
        """Keep what was found of an ID."""
        if finding not in self._ids and len(self._ids) >= _MOST_KINDS:
            finding = finding._replace(status=None, error=finding.error.partition(":")[0])
        if self._ids.setdefault(finding, IdSet()).add(packed):
            self.outcomes[finding.outcome] += 1
            self.on_found(packed, finding)

    def of(self, packed: bytes) -> Finding | None:
        """Return what was found of an ID, if anything."""
        return next((each for each, ids in self._ids.items() if packed in ids), None)


def _nothing(*_: object) -> None:
    """Do nothing."""
