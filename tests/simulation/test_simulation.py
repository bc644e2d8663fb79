"""Worlds by the hundred: whatever goes wrong, the invariants hold."""

from __future__ import annotations

import pytest

from tests.simulation.draw import draw
from tests.simulation.invariants import CHECKS, violations
from tests.simulation.play import play

_CHUNK = 20
_SEEDS = 300


@pytest.mark.parametrize("first", range(1, _SEEDS + 1, _CHUNK))
def test_every_world_ends_well(first: int) -> None:
    """One row for each ID, nothing sent twice, no outage blamed on IDs: see the invariants."""
    wrong = {
        seed: found
        for seed in range(first, first + _CHUNK)
        if (found := violations(play(draw(seed))))
    }
    assert not wrong, "\n".join(f"{draw(seed)}\n{found}" for seed, found in wrong.items())


def test_a_world_is_played_alike_each_time() -> None:
    """A seed that fails can be replayed: every request and answer comes at the same time."""
    for seed in (3, 14, 17):
        assert play(draw(seed)).events == play(draw(seed)).events


def test_every_check_says_what_it_is_about() -> None:
    """The checks are what a newcomer reads first."""
    assert {number for number, _ in CHECKS} == set(range(1, 10))
    assert all(check.__doc__ for _, check in CHECKS)
