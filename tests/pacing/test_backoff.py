"""How long a retry waits."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkcancel.pacing.backoff import full_jitter


class _AlmostOne(random.Random):
    """Draws the largest number there is below one."""

    def random(self) -> float:
        return 1 - 2**-53


@pytest.mark.parametrize(
    ("attempt", "longest_s"), [(0, 0.2), (1, 0.4), (2, 0.8), (6, 12.8), (7, 20), (10**9, 20)]
)
def test_the_longest_wait_doubles_up_to_the_cap(attempt: int, longest_s: float) -> None:
    """Each failure doubles the range, up to the cap and never to an overflow."""
    assert full_jitter(attempt, base_s=0.2, rng=_AlmostOne()) == pytest.approx(longest_s)


def test_waits_fill_the_whole_range() -> None:
    """Full jitter: the wait is uniform from zero, not somewhere near the longest one."""
    rng = random.Random(7)
    waits = [full_jitter(0, base_s=1.0, rng=rng) for _ in range(4000)]
    assert [sum(w // 0.25 == q for w in waits) // 100 for q in range(4)] == pytest.approx(
        [10] * 4, abs=1
    )


@given(attempt=st.integers(0, 10_000), base_s=st.floats(0.001, 100), seed=st.integers())
def test_a_wait_is_between_zero_and_the_cap(attempt: int, base_s: float, seed: int) -> None:
    """Whatever the attempt and the base, the wait is within the cap."""
    assert 0 <= full_jitter(attempt, base_s=base_s, rng=random.Random(seed)) <= 20
