"""When rows were finished, in few intervals, whatever the times and their order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkcancel.analysis.timeline import Timeline, Times

FIRST, LAST = -62_135_596_800_000, 253_402_300_799_999
TIMES = st.lists(st.integers(FIRST, LAST) | st.integers(0, 100_000), min_size=1, max_size=50)


def _times(finished: list[int]) -> Times:
    timeline = Timeline(2)
    for each in finished:
        timeline.add(each, each % 2, 3)
    times = timeline.times()
    assert times is not None
    return times


@given(finished=TIMES)
def test_every_row_is_in_its_interval(finished: list[int]) -> None:
    """None is lost, whatever the order; there are at most 120 intervals."""
    times = _times(finished)
    assert len(times.intervals) <= 120
    for at, interval in enumerate(times.intervals):
        begins = times.begins_ms + at * times.width_ms
        inside = [each for each in finished if begins <= each < begins + times.width_ms]
        assert sum(interval.counts) == len(inside)
        assert interval.counts[1] == sum(each % 2 for each in inside)
        assert interval.attempts == 3 * len(inside)
    assert (times.first_ms, times.last_ms) == (min(finished), max(finished))
    assert _times(sorted(finished)) == times


@pytest.mark.parametrize(
    ("seconds", "rows", "width_s"),
    [(0, 1, 0.1), (10, 1000, 0.1), (50, 1000, 0.5), (1200, 1000, 15), (10, 20, 1), (7200, 2, 900)],
)
def test_intervals_are_as_wide_as_people_read(seconds: int, rows: int, width_s: float) -> None:
    """The narrowest that show few gaps, and of which there are not too many."""
    times = _times([0, seconds * 1000, *[seconds * 500] * (rows - 2)])
    assert times.width_ms == width_s * 1000
    assert times.seconds == seconds


def test_memory_is_bounded() -> None:
    """However long the run."""
    timeline = Timeline(2)
    for n in range(20_000):
        timeline.add(n * 7_919, 0, 1)
        assert len(timeline._kept) <= 2_000
    assert Timeline(2).times() is None
