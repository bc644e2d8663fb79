"""The whole of the files, read and checked, in about 62 bytes an ID."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bulkcancel.ids import IdSet, split_hex
from bulkcancel.inputs.facts import Facts
from bulkcancel.models import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bulkcancel.models import InvalidRow

_ID_BYTES = 16
_BLOCK = 256  # made into text together: one at a time takes twice as long


@dataclass(slots=True)
class InputCounts:
    """Where the data rows went; a pipe's may still be counted by its thread."""

    targets: int = 0
    """Distinct IDs, of this shard where there are shards."""
    duplicates: int = 0
    invalid: int = 0
    filtered: int = 0
    """Left out by `--where` or `--shard`."""
    other_shards: int = 0
    """Of `filtered`, the rows that other shards tell of: distinct IDs and invalid rows."""

    @property
    def rows(self) -> int:
        """All of them."""
        return self.targets + self.duplicates + self.invalid + self.filtered

    @property
    def left_out_by_where(self) -> int:
        """Those of `filtered` that are of no shard."""
        return self.filtered - self.other_shards

    def add_of_other_shard(self) -> None:
        """Count a row that another shard tells of."""
        self.filtered += 1
        self.other_shards += 1


class CheckedInput:
    """The targets of all files in order of first appearance, and what else was found.

    `facts` takes what the row of each says besides, in the same order. `seen` holds their IDs and
    those of other shards: a pipe read after the files adds to it, to `counts` and to `notes`.
    """

    __slots__ = ("_ids", "_lines", "_starts", "counts", "facts", "invalid", "notes", "seen")

    def __init__(self) -> None:
        self.counts = InputCounts()
        self.invalid: list[InvalidRow] = []
        self.notes: list[str] = []
        self.seen = IdSet()
        self.facts = Facts()
        self._ids = bytearray()
        self._lines = array("I")
        self._starts: list[tuple[int, str]] = []

    def begin(self, name: str) -> None:
        """Let what is added from now on come from the input `name`."""
        self._starts.append((len(self), name))
        self.facts.begin()

    def add(self, packed: bytes, line: int) -> None:
        """Add a target by its 16 bytes and the line it stands in."""
        self._ids += packed
        self._lines.append(line)

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[Target]:
        if not self._starts:
            return
        ends = [start for start, _ in self._starts[1:]] + [len(self)]
        for (start, name), end in zip(self._starts, ends, strict=True):
            for at in range(start, end, _BLOCK):
                until = min(at + _BLOCK, end)
                ids = split_hex(self._ids[_ID_BYTES * at : _ID_BYTES * until].hex())
                for each, line in zip(ids, self._lines[at:until], strict=True):
                    yield Target(each, f"{name}:{line}")
