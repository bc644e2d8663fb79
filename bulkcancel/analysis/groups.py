"""The most frequent of any number of names, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from bulkcancel.text import shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from bulkcancel.models import CancelResult

_MOST_KEPT = 4_000

KeyT = TypeVar("KeyT", bound="Hashable")


class Group(NamedTuple, Generic[KeyT]):
    """The rows that have something in common, such as a model."""

    key: KeyT
    counts: Sequence[int]
    """By outcome, in the order of `Outcome`."""
    example: str
    """The ID of the first row."""
    source: str
    """Where that one was listed."""

    @property
    def total(self) -> int:
        """Of all outcomes."""
        return sum(self.counts)


class Groups(Generic[KeyT]):
    """Counts rows by a key and by outcome.

    Where keys are too many, the rarest half is put together as `others` (as in lossy counting,
    Manku and Motwani): what is frequent stays, and its figure may then be a little too low.
    """

    def __init__(self, outcomes: int, cut: Callable[[KeyT], KeyT] = lambda key: key) -> None:
        """`cut` makes a key short enough to be kept."""
        self._cut = cut
        self._nothing = [0] * outcomes
        self._kept: dict[KeyT, tuple[list[int], str, str]] = {}
        self._dropped = [0] * outcomes
        self.exact = True
        """Whether no key was ever put to the others."""

    def add(self, key: KeyT, outcome: int, row: CancelResult) -> None:
        """Count one row by the number of its outcome."""
        group = self._kept.get(key)
        if group is None:
            key = self._cut(key)
            group = self._kept.get(key)
        if group is None:
            if len(self._kept) >= _MOST_KEPT:
                self._drop_the_rarest()
            example, source = shorten(row.instance_id), shorten(row.source)
            group = self._kept[key] = (self._nothing.copy(), example, source)
        group[0][outcome] += 1

    def most_frequent(self, limit: int) -> tuple[list[Group[KeyT]], list[int]]:
        """Return the biggest groups, biggest first, and what all others come to, by outcome."""
        groups = [Group(key, *kept) for key, kept in self._kept.items()]
        groups.sort(key=lambda group: -group.total)
        return groups[:limit], rest_of(groups[limit:], self._dropped)

    def _drop_the_rarest(self) -> None:
        self.exact = False
        ordered = sorted(self._kept, key=lambda key: -sum(self._kept[key][0]))
        for key in ordered[_MOST_KEPT // 2 :]:
            _add(self._dropped, self._kept.pop(key)[0])


def rest_of(groups: Sequence[Group[KeyT]], others: Sequence[int]) -> list[int]:
    """Return what groups that are not shown and all others come to, by outcome."""
    rest = [*others]
    for group in groups:
        _add(rest, group.counts)
    return rest


def _add(into: list[int], counts: Sequence[int]) -> None:
    for at, count in enumerate(counts):
        into[at] += count
