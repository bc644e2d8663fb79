"""Quantiles of latencies are within 0.4 % of the exact ones, whatever they are."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkcancel.analysis.latency import Latencies

LATENCIES = st.lists(st.floats(0, 1e9).map(lambda ms: round(ms, 1)), min_size=1, max_size=60)


def _counted(values: list[float]) -> Latencies:
    latencies = Latencies()
    for value in values:
        latencies.add(value)
    return latencies


@given(values=LATENCIES, share=st.floats(0.01, 1))
def test_a_quantile_is_within_four_in_a_thousand(values: list[float], share: float) -> None:
    """Of the nearest rank's value."""
    exact = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    found = _counted(values).quantile_ms(share)
    assert found == pytest.approx(exact, rel=0.004, abs=0.001)


@given(values=LATENCIES)
def test_bars_hold_every_latency(values: list[float]) -> None:
    """One after another, without gaps, few enough to be drawn."""
    bars = _counted(values).bars()
    assert sum(bar.rows for bar in bars) == len(values)
    assert len(bars) <= 48
    for before, after in pairwise(bars):
        assert before.to_ms == after.from_ms
    assert bars[-1].rows
    assert bars[0].rows


def test_maximum_and_mean_are_exact() -> None:
    """And of nothing there is none."""
    latencies = _counted([1.0, 2.5, 99_999.9])
    assert latencies.max_ms == 99_999.9
    assert latencies.mean_ms == pytest.approx(100_003.4 / 3)
    assert Latencies().quantile_ms(0.5) is None
    assert Latencies().bars() == []


def test_memory_is_bounded() -> None:
    """However many different latencies there are, also beyond all measure."""
    latencies = Latencies()
    for n in range(100_000):
        latencies.add(n * n / 3)
    latencies.add(1e300)
    assert len(latencies._counts) < 4_000
    assert latencies.count == 100_001
