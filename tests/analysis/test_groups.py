"""The most frequent of any number of names, in bounded memory; no row is lost."""

from __future__ import annotations

import random

from bulkcancel.analysis.groups import Groups
from tests.support.results import result


def test_groups_come_by_their_size_with_their_first_row() -> None:
    """And what does not fit is summed up."""
    groups = Groups[str](2)
    for n, key in enumerate("abbccc"):
        groups.add(key, n % 2, result(f"id-{n}", source=f"f:{n}"))
    found, others = groups.most_frequent(2)
    assert [(g.key, g.total, g.counts, g.example, g.source) for g in found] == [
        ("c", 3, [1, 2], "id-3", "f:3"),
        ("b", 2, [1, 1], "id-1", "f:1"),
    ]
    assert others == [1, 0]
    assert groups.exact


def test_a_hundred_thousand_names_take_no_room() -> None:
    """What is frequent stays, what is not is summed up; it is known that figures are not exact."""
    rng = random.Random(1)
    groups = Groups[str](1)
    row = result("id")
    often = 0
    for n in range(100_000):
        is_often = rng.random() < 0.05
        often += is_often
        groups.add("often" if is_often else str(n), 0, row)
        assert len(groups._kept) <= 4_000
    found, others = groups.most_frequent(5)
    assert (found[0].key, found[0].total) == ("often", often)
    assert sum(g.total for g in found) + others[0] == 100_000
    assert not groups.exact
