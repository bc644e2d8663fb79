"""Several results files as one: of each ID the latest row counts."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from bulkcancel.ids import pack
from bulkcancel.models import Outcome

if TYPE_CHECKING:
    from bulkcancel.models import CancelResult

_RECORD = struct.Struct(">16sdI")
_SIZE = _RECORD.size
_MASK = 0xFFFF


class Latest:
    """Which rows are superseded, in about 55 bytes an ID and one a row.

    The row finished last counts, of equal ones the one that came later. Rows are known by the order
    they come in. `invalid` rows have no ID: each counts. A hash table as `IdSet`, with records of
    ID, time and row in its buckets.
    """

    def __init__(self) -> None:
        self.superseded = bytearray()
        """A byte for each row: 1 where another row of its ID counts."""
        self.count = 0
        """How many are."""
        self._buckets: dict[int, bytearray] = {}

    def add(self, row: CancelResult, finished_s: float) -> None:
        """Take the next row."""
        number = len(self.superseded)
        self.superseded.append(0)
        if row.outcome is Outcome.INVALID:
            return
        packed = pack(row.instance_id)
        record = _RECORD.pack(packed, finished_s, number)
        key = hash(packed) & _MASK
        bucket = self._buckets.get(key)
        if bucket is None:
            self._buckets[key] = bytearray(record)
            return
        at = bucket.find(packed)
        while at > 0 and at % _SIZE:  # a match across two records is none
            at = bucket.find(packed, at + 1)
        if at < 0:
            bucket += record
            return
        _, other_s, other = _RECORD.unpack_from(bucket, at)
        self.count += 1
        if finished_s < other_s:
            self.superseded[number] = 1
        else:
            self.superseded[other] = 1
            bucket[at : at + _SIZE] = record
