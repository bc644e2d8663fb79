"""How long a retry waits."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkcancel.pacing.backoff import equal_jitter


class _AlmostOne(random.Random):
    """Draws the largest number there is below one."""

    def random(self) -> float:
        return 1 - 2**-53


@pytest.mark.parametrize(
    ("failures", "longest_s"),
    [(1, 1.5), (2, 3), (3, 6), (4, 12), (5, 24), (6, 30), (7, 30), (10**9, 30)],
)
def test_the_longest_wait_doubles_up_to_the_cap(failures: int, longest_s: float) -> None:
    """Each failure doubles the range, up to the cap and never to an overflow."""
    assert equal_jitter(failures, _AlmostOne()) == pytest.approx(longest_s)


def test_waits_fill_the_upper_half_of_the_range() -> None:
    """Equal jitter: uniform between a half and the whole of the longest wait."""
    rng = random.Random(7)
    waits = [equal_jitter(1, rng) for _ in range(4000)]
    assert [sum((w - 0.75) // 0.1875 == q for w in waits) // 100 for q in range(4)] == (
        pytest.approx([10] * 4, abs=1)
    )


@given(seed=st.integers())
def test_five_attempts_span_a_restart_of_ten_seconds(seed: int) -> None:
    """The waits between them add up to 11 to 22 seconds."""
    rng = random.Random(seed)
    assert 11.25 <= sum(equal_jitter(n, rng) for n in range(1, 5)) < 22.5


@given(failures=st.integers(1, 10_000), seed=st.integers())
def test_a_wait_is_within_its_bounds(failures: int, seed: int) -> None:
    """However often an ID has failed, it waits a moment and never longer than the cap."""
    assert 0.75 <= equal_jitter(failures, random.Random(seed)) <= 30
