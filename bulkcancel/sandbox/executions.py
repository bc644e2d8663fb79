"""The executions that the sandbox lists: which, since when they run, and a page of them."""

from __future__ import annotations

import random
import uuid
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final

from bulkcancel.ids import pack
from bulkcancel.sandbox.rules import (
    RUN_TIME,
    Fate,
    execution,
    fate_of,
    status_of,
    timestamp,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from datetime import datetime

# How the listed IDs end: most at random, some by the rule.
_ENDS: Final = ("",) * 29 + ("fa1",) + ("d0e",) * 6 + ("ca0",) * 3 + ("403",)
# No listed run has ended in the future: each was started longer ago than a run takes.
_YOUNGEST: Final = RUN_TIME + timedelta(minutes=1)
_OLDEST: Final = timedelta(days=5)


def listed_ids(count: int) -> Iterator[str]:
    """Yield so many IDs, always the same; more of them begin with the same."""
    rng = random.Random(2)
    place = 0
    while place < count:
        text = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        end = _ENDS[place % len(_ENDS)]
        instance_id = text[: len(text) - len(end)] + end
        if fate_of(instance_id) is not Fate.UNKNOWN:
            place += 1
            yield instance_id


def age_of(instance_id: str) -> timedelta:
    """Return how long before the sandbox a listed execution was started: minutes to days.

    As many were started in each doubling of the time: two in five more than six hours before.
    """
    share = int(instance_id[9:13], 16) / 0xFFFF
    return _YOUNGEST * float((_OLDEST / _YOUNGEST) ** share)


class Executions:
    """The executions that v2 lists, as v2's objects, in an order that never changes.

    They are made once: `count` of them, started before `started_at`, when the sandbox was.
    """

    def __init__(self, count: int, started_at: datetime) -> None:
        self._objects = {
            pack(each): execution(each, status_of(each), started_at - age_of(each))
            for each in listed_ids(count)
        }

    def get(self, packed: bytes) -> dict[str, str | None] | None:
        """Return the v2 object of an ID, or `None` if the list does not hold it."""
        return self._objects.get(packed)

    def stop(self, packed: bytes, moment: datetime) -> None:
        """Have a cancelled execution stopped at `moment`, if the list holds it."""
        listed = self._objects.get(packed)
        if listed is not None:
            listed |= {"status": "CANCELLED", "finishedAt": timestamp(moment)}

    def page(
        self, wanted: Mapping[str, Collection[str]], page: slice
    ) -> list[dict[str, str | None]]:
        """Return one page of those whose fields are each among the wanted values."""
        rows: Iterable[dict[str, str | None]] = self._objects.values()
        for field, values in wanted.items():
            rows = [each for each in rows if each[field] in values]
        return list(islice(rows, page.start, page.stop))
