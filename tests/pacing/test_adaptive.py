"""How the pace follows what a server allows, against simulated limiters on virtual time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.simulated_server import FixedWindow, Nginx, Noisy, Outage, Run, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

NEAR = (0.001, 0.002)
FAR = (0.045, 0.055)


def _limit_changes(
    limiter: Nginx, *changes: tuple[float, float]
) -> list[tuple[float, Callable[[], None]]]:
    return [
        (at_s, partial(setattr, limiter, "rate_per_s", rate_per_s)) for at_s, rate_per_s in changes
    ]


@pytest.mark.parametrize("rtt_s", [NEAR, FAR])
@pytest.mark.parametrize("consumers", [16, 64])
@pytest.mark.parametrize("seed", range(5))
def test_an_unknown_limit_is_found_and_kept(
    rtt_s: tuple[float, float], consumers: int, seed: int
) -> None:
    """With 100 a second allowed and 1,000 asked for: 95 accepted from 5 s on, under 2 % 429s."""
    seen = Scenario(Nginx(100), rtt_s=rtt_s, consumers=consumers, seed=seed).run()
    assert len(seen.accepted) == 3000
    assert seen.accepted_per_s(5, 29) >= 95
    assert seen.throttled_share <= 0.02


@pytest.mark.parametrize(("rtt_s", "share"), [(NEAR, 0.02), (FAR, 0.025)])
@pytest.mark.parametrize("consumers", [16, 64])
@pytest.mark.parametrize("seed", range(5))
def test_a_limit_that_drops_and_returns_is_followed(
    rtt_s: tuple[float, float], share: float, consumers: int, seed: int
) -> None:
    """When 100 a second become 20 and 100 again, 95 % of each is reached 5 s later."""
    limiter = Nginx(100)
    seen = Scenario(
        limiter,
        rtt_s=rtt_s,
        consumers=consumers,
        seed=seed,
        at=_limit_changes(limiter, (10, 20), (25, 100)),
    ).run()
    assert len(seen.accepted) == 3000
    assert seen.accepted_per_s(5, 10) >= 95
    assert seen.accepted_per_s(15, 25) >= 19
    assert seen.accepted_per_s(31, 41) >= 95
    assert seen.throttled_share <= share


@pytest.mark.parametrize("seed", range(5))
def test_a_limit_that_falls_to_a_tenth_and_returns_stops_nobody(seed: int) -> None:
    """Four seconds at 10 instead of 100 a second: few 429s, and every request is accepted."""
    limiter = Nginx(100)
    changes = _limit_changes(limiter, (4, 10), (8, 100))
    seen = Scenario(limiter, ids=850, at=changes, seed=seed).run()
    assert len(seen.accepted) == 850
    assert 10 <= sum(5 <= at < 8 for at in seen.accepted) <= 40  # the limit had fallen
    assert seen.accepted[-1] < 30  # and has returned: at 10 a second it would have taken 45
    assert seen.throttled_share <= 0.03


@pytest.mark.parametrize("share", [0.03, 0.06, 0.12])
def test_refusals_that_slowing_down_does_not_help_are_lived_with(share: float) -> None:
    """A few 429s in a hundred at any pace whatever do not bring the run to a standstill."""
    seen = Scenario(Noisy(share), ids=20_000, consumers=64).run()
    assert seen.accepted[-1] < 200
    assert seen.throttled_share == pytest.approx(share, rel=0.2)


def test_a_limit_is_kept_even_where_some_are_refused_at_any_pace() -> None:
    """Beneath the noise a real limit still shows."""
    seen = Scenario(Noisy(0.04, Nginx(100)), ids=5000, consumers=64).run()
    assert seen.accepted[-1] < 300
    assert seen.throttled_share <= 0.1


@pytest.mark.parametrize("limit_per_s", [2, 5, 10, 30, 50, 200, 500])
@pytest.mark.parametrize("burst", [10, 50])
@pytest.mark.parametrize("rtt_s", [NEAR, FAR])
def test_any_limit_is_used_well(limit_per_s: float, burst: int, rtt_s: tuple[float, float]) -> None:
    """From 2 to 500 a second at least nine tenths of the limit are used, for few 429s."""
    seen = Scenario(
        Nginx(limit_per_s, burst), rtt_s=rtt_s, consumers=32, until_s=60, ids=50_000
    ).run()
    assert seen.accepted_per_s(10, 60) >= 0.9 * limit_per_s
    assert sum(at > 10 for at in seen.throttled) <= 10 + 0.02 * len(seen.accepted)


@pytest.mark.parametrize("limit_per_s", [20, 100, 400])
@pytest.mark.parametrize("rtt_s", [NEAR, FAR])
def test_a_search_from_below_finds_the_limit(
    limit_per_s: float, rtt_s: tuple[float, float]
) -> None:
    """Started at 5 a second, the pace is at nine tenths of the limit after 10 s."""
    seen = Scenario(
        Nginx(limit_per_s), start_per_s=5, rtt_s=rtt_s, consumers=32, until_s=30, ids=50_000
    ).run()
    assert seen.accepted_per_s(10, 30) >= 0.9 * limit_per_s


@pytest.mark.parametrize("limit_per_s", [20, 100])
def test_a_server_that_says_when_to_come_back_is_not_asked_often(limit_per_s: float) -> None:
    """Where each 429 costs a pause of a second, probes are rare and the limit is used well."""
    seen = Scenario(Nginx(limit_per_s, retry_after_s=1), until_s=90, ids=50_000).run()
    assert seen.accepted_per_s(15, 90) >= 0.85 * limit_per_s
    assert len(seen.throttled) <= 15


@pytest.mark.parametrize("ceiling_per_s", [10, 1000])
def test_a_window_a_minute_long_is_used_up(ceiling_per_s: float) -> None:
    """120 a minute, with `Retry-After`: each window is used, for a handful of 429s."""
    seen = Scenario(FixedWindow(120, 60), ceiling_per_s=ceiling_per_s, ids=480).run()
    assert seen.accepted_per_s(0) >= 0.9 * 2
    assert seen.throttled_share <= 0.02


def test_nothing_but_429_ends_well() -> None:
    """After half a minute of 429 for everything the pace comes back."""
    seen = Scenario(Outage(10, 40), ceiling_per_s=100, ids=100_000, until_s=75, rtt_s=FAR).run()
    assert len([at for at in seen.throttled if at < 41]) < 50
    assert seen.accepted_per_s(65, 75) >= 95


def test_without_a_limit_the_pace_is_the_ceiling() -> None:
    """A server that never throttles gets the ceiling, evenly, from the first second on."""
    seen = Scenario(Nginx(1e6, 100), ceiling_per_s=100, ids=1000).run()
    assert seen.changes == []
    assert seen.accepted_per_s(0, 9) == pytest.approx(99.5, abs=0.5)


@pytest.mark.parametrize("rtt_s", [NEAR, FAR])
def test_a_high_ceiling_is_reached_soon(rtt_s: tuple[float, float]) -> None:
    """The warm-up of a high rate costs less than a tenth of the first second."""
    seen = Scenario(Nginx(1e6, 1000), ceiling_per_s=900, ids=4000, consumers=64, rtt_s=rtt_s).run()
    assert seen.accepted_per_s(0, 1) >= 0.9 * 900


def test_changes_of_the_pace_are_told_with_their_reason() -> None:
    """A person can follow why the pace is what it is; changes below a tenth are not told."""
    seen = Scenario(Nginx(100)).run()
    reasons = {reason for _, _, reason in seen.changes}
    assert reasons == {"the server throttles", "no 429 for a while"}
    assert len(seen.changes) < 30


def test_probes_that_always_fail_become_rare() -> None:
    """After some minutes at one limit there is a 429 in a thousand requests at most."""
    seen = Scenario(Nginx(100), until_s=300, ids=50_000).run()
    assert 0 < sum(at > 200 for at in seen.throttled) <= 10
    assert seen.accepted_per_s(200, 300) >= 95


def test_consumers_that_never_reach_the_pace_are_no_measure_of_it() -> None:
    """Far from a server, a cut starts from what was sent, not from a pace nobody reached."""
    seen = Scenario(Nginx(50), rtt_s=(0.19, 0.21), consumers=16, until_s=30, ids=50_000).run()
    assert seen.accepted_per_s(5, 30) >= 45
    assert seen.throttled_share <= 0.03


def test_simulations_repeat() -> None:
    """The same seed gives the same run: a failure here can be reproduced."""

    def once() -> Run:
        return Scenario(Nginx(100), ids=500).run()

    assert once().throttled == once().throttled
