"""What one answer after another does to the adaptive pace, without a server."""

from __future__ import annotations

from itertools import pairwise
from statistics import mean

import pytest

from bulkcancel.pacing.adaptive import FLOOR_PER_S
from tests.support.adaptive_by_hand import Hand

NO_CEILING = 1e5


def _after_a_failed_probe(hold_per_s: float, ceiling_per_s: float = NO_CEILING) -> Hand:
    """Return one whose pace was doubled from a quarter up and was refused at twice the hold."""
    hand = Hand(hold_per_s / 4, ceiling_per_s)
    assert hand.paces(3) == [hold_per_s / 2, hold_per_s, 2 * hold_per_s]
    hand.throttled()
    assert hand.per_s == hold_per_s
    return hand


def _after_a_storm(ceiling_per_s: float = NO_CEILING) -> Hand:
    """Return one that has measured 97 % of 33.3 a second in a storm that began at 100."""
    hand = Hand(100, ceiling_per_s)
    hand.throttled()
    hand.accepted(12, every_s=0.03)
    hand.throttled()
    assert hand.per_s == pytest.approx(0.97 * 12 / 0.36)
    return hand


# The warm-up


def test_a_high_rate_doubles_every_eight_answers_until_it_is_reached() -> None:
    """From 400 a second on, without a word about it; 400 itself needs no warm-up."""
    hand = Hand(1500, 1500)
    paces = [hand.per_s]
    for _ in range(17):
        hand.accepted()
        paces.append(hand.per_s)
    assert paces == [400] * 8 + [800] * 8 + [1500] * 2
    assert hand.told == []
    assert Hand(400).per_s == 400


def test_stages_begin_when_the_warm_up_is_over() -> None:
    """From then on a cut starts from what was answered."""
    hand = Hand(800, 800)
    hand.accepted(9)
    hand.accepted(4, every_s=0.05)
    hand.throttled(sent_s_ago=0.001)
    assert hand.per_s == pytest.approx(1.25 * 5 / 0.2 / 2)


@pytest.mark.parametrize(("outage", "per_s"), [(False, 200), (True, 400)])
def test_a_429_ends_the_warm_up(outage: bool, per_s: float) -> None:
    """After the first one, also in an outage, the pace goes up in stages only."""
    hand = Hand(1000, 1000)
    hand.throttled(outage=outage)
    hand.accepted(20)
    assert hand.per_s == per_s


# Outages


def test_a_429_in_an_outage_pauses_but_does_not_cut() -> None:
    """What a probe is answered says nothing of the pace, but its `Retry-After` holds for all."""
    hand = Hand(100)
    hand.throttled(retry_after_s=10, outage=True)
    assert hand.per_s == 100
    assert hand.told == []
    hand.now += 9.999
    assert not hand.pacer.try_acquire()
    hand.now += 1.001
    assert hand.pacer.try_acquire()


def test_a_429_in_an_outage_is_no_part_of_a_storm() -> None:
    """The next 429 outside is the first one, whatever was accepted since."""
    hand = Hand(100)
    hand.throttled(outage=True)
    hand.accepted(12, every_s=0.01)
    hand.throttled()
    assert hand.per_s == 50


# Retry-After


@pytest.mark.parametrize("retry_after_s", [2, 7, 300])
def test_retry_after_pauses_everyone_and_never_less_than_said(retry_after_s: int) -> None:
    """Nothing goes before the said time; jitter only adds to it, a second at most."""
    hand = Hand(1000)
    began = hand.now
    hand.throttled(retry_after_s=retry_after_s)
    hand.now = began + retry_after_s - 0.001
    assert not hand.pacer.try_acquire()
    hand.now = began + retry_after_s + 1.001
    assert hand.pacer.try_acquire()
    assert hand.told[0][1] == f"the server asks for {retry_after_s} s of quiet"


def test_a_late_429_can_still_pause() -> None:
    """A 429 of a request from before the cut does not cut, but its `Retry-After` counts."""
    hand = Hand(100)
    hand.throttled()
    rate_per_s = hand.pacer.rate_per_s
    hand.throttled(sent_s_ago=1, retry_after_s=60)
    assert hand.pacer.rate_per_s == rate_per_s
    hand.now += 59
    assert not hand.pacer.try_acquire()


@pytest.mark.parametrize(("retry_after_s", "most_s"), [(2, 0.2), (8, 0.8), (100, 1.0)])
def test_a_pause_is_spread_over_a_tenth_and_a_second_at_most(
    retry_after_s: float, most_s: float
) -> None:
    """Several clients told the same do not come back in the same moment."""
    later_s = []
    for seed in range(50):
        hand = Hand(100, seed=seed)
        hand.throttled(retry_after_s=retry_after_s)
        said = hand.now + retry_after_s
        hand.now = said - 0.001
        while not hand.pacer.try_acquire():
            hand.now += 0.001
        later_s.append(hand.now - said)
    assert 0 <= min(later_s) <= max(later_s) <= most_s + 0.001
    assert mean(later_s) == pytest.approx(most_s / 2, rel=0.25)


@pytest.mark.parametrize("retry_after_s", [None, 0])
def test_without_a_time_to_come_back_there_is_no_pause(retry_after_s: float | None) -> None:
    """A 429 that does not say when, or says now, only slows down."""
    hand = Hand(100)
    hand.throttled(retry_after_s=retry_after_s)
    hand.now += 0.03
    assert hand.pacer.try_acquire()
    assert hand.told == [(50, "the server throttles")]


@pytest.mark.parametrize(("retry_after_s", "stage_s"), [(1, 2), (3, 6), (10, 15)])
@pytest.mark.parametrize("waiting", [0, 1])
def test_a_stage_after_a_pause_is_as_long_again(
    retry_after_s: float, stage_s: float, waiting: int
) -> None:
    """It begins when the pause ends, and takes five seconds more at most."""
    hand = Hand(100, waiting=waiting)
    hand.throttled(retry_after_s=retry_after_s)
    hand.now += retry_after_s
    assert hand.busy() == pytest.approx(stage_s - retry_after_s, abs=0.05)
    assert hand.per_s == 75


@pytest.mark.parametrize(("retry_after_s", "hold_s"), [(1, 30), (10, 300), (50, 600)])
def test_a_hold_is_as_long_as_thirty_pauses(retry_after_s: float, hold_s: float) -> None:
    """Where a probe costs a pause, there is one in thirty times as long, or in ten minutes."""
    hand = Hand(100, NO_CEILING)
    began = hand.now
    hand.throttled(retry_after_s=retry_after_s)
    hand.now += retry_after_s
    assert hand.paces(2) == [75, 87.5]
    assert hand.paces(1) == [pytest.approx(1.05 * 87.5)]
    assert hold_s <= hand.now - began <= hold_s + 5.1


def test_a_second_pause_in_a_storm_is_a_first_cut_again() -> None:
    """Between pauses nothing was measured."""
    hand = Hand(100)
    hand.throttled(retry_after_s=1)
    hand.accepted(20, every_s=0.02)
    hand.throttled(retry_after_s=1)
    assert hand.per_s == 25


def test_a_pause_that_is_over_is_forgotten() -> None:
    """A later 429 that asks for no quiet says so."""
    hand = Hand(100)
    hand.throttled(retry_after_s=7)
    hand.now += 8
    hand.throttled()
    assert [reason for _, reason in hand.told] == [
        "the server asks for 7 s of quiet",
        "the server throttles",
    ]


# Cuts


def test_only_requests_sent_after_a_cut_cut_again() -> None:
    """A whole flight of 429s that were under way together is one cut."""
    hand = Hand(100)
    for _ in range(20):
        hand.throttled(sent_s_ago=0.05)
        hand.now += 0.001
    assert hand.pacer.rate_per_s == 50
    hand.now += 0.1
    hand.throttled()
    assert hand.pacer.rate_per_s == 25


@pytest.mark.parametrize(
    ("sent_s_ago", "per_s"), [(0.01, 50), (0.08, 50), (0.2, 20), (0.32, 12.5), (1, 12.5)]
)
def test_the_more_are_under_way_the_deeper_the_first_cut(sent_s_ago: float, per_s: float) -> None:
    """To a half, or by a quarter of those under way, to an eighth at most."""
    hand = Hand(100)
    hand.throttled(sent_s_ago=sent_s_ago)
    assert hand.per_s == pytest.approx(per_s)


@pytest.mark.parametrize(
    ("stage_s", "retry_after_s", "per_s"),
    [(0.05, None, 50), (0.2, None, 15.625), (0.2, 1, 50), (0.04, None, 50)],
)
def test_a_first_cut_starts_from_what_was_answered(
    stage_s: float, retry_after_s: float | None, per_s: float
) -> None:
    """5 answers in 0.2 s were about 25 a second and a quarter, once a stage tells; halved."""
    hand = Hand(100, 100)
    hand.accepted()
    hand.accepted(4, every_s=stage_s / 4)
    hand.throttled(sent_s_ago=0.001, retry_after_s=retry_after_s)
    assert hand.per_s == pytest.approx(per_s)


def test_a_measured_pace_is_what_the_climb_leads_back_to() -> None:
    """Not the pace nobody reached."""
    hand = Hand(100, 100)
    hand.accepted()
    hand.accepted(4, every_s=0.05)
    hand.throttled(sent_s_ago=0.001)
    assert hand.paces(1) == [pytest.approx((31.25 + 15.625) / 2)]


def test_a_measured_pace_is_never_above_the_pace() -> None:
    """Many answers at once do not raise what the cut starts from."""
    hand = Hand(100, 100)
    hand.accepted()
    hand.accepted(40, every_s=0.005)
    hand.throttled(sent_s_ago=0.001)
    assert hand.per_s == 50


@pytest.mark.parametrize(
    ("accepted", "per_s"),
    [(0, 25), (7, 25), (10, 0.97 * 10 / 0.3), (13, 0.97 * 13 / 0.3), (15, 45), (30, 45)],
)
def test_a_further_cut_goes_to_what_was_accepted_in_the_storm(accepted: int, per_s: float) -> None:
    """To 97 % of it, at least to a half and at most to nine tenths of the pace."""
    hand = Hand(100, 100)
    hand.accepted(50)
    hand.throttled()
    began = hand.now
    hand.accepted(accepted, every_s=0.01)
    hand.now = began + 0.3
    hand.throttled()
    assert hand.per_s == pytest.approx(per_s)


@pytest.mark.parametrize(("accepted", "next_per_s"), [(7, (77.6 + 200) / 2), (8, 1.05 * 77.6)])
def test_a_storm_is_a_measurement_from_eight_accepted_on(accepted: int, next_per_s: float) -> None:
    """With fewer the pace climbs towards where it was cut; with eight it holds and probes."""
    hand = Hand(200, NO_CEILING)
    hand.throttled()
    hand.accepted(accepted, every_s=1 / 80)
    hand.throttled()
    assert hand.per_s == pytest.approx(0.97 * 80)
    assert hand.paces(1) == [pytest.approx(next_per_s)]


@pytest.mark.parametrize(
    ("per_s", "after_s", "same_storm"),
    [(100, 0.79, True), (100, 0.81, False), (400, 0.29, True), (400, 0.31, False)],
)
def test_a_storm_ends_after_a_gap(per_s: float, after_s: float, same_storm: bool) -> None:
    """Forty requests' time without a 429, and 0.3 s at least, and the next one is a new storm."""
    hand = Hand(per_s)
    hand.throttled()
    hand.now += after_s
    hand.throttled()
    measured_per_s = 1.25 / after_s
    assert hand.per_s == pytest.approx(per_s / 4 if same_storm else measured_per_s / 2)


def test_a_storm_lasts_while_429s_follow_each_other() -> None:
    """The gap counts from the last 429; what was accepted counts from the first."""
    hand = Hand(100)
    hand.throttled()
    hand.accepted(20, every_s=0.025)
    hand.throttled()
    assert hand.per_s == pytest.approx(0.97 * 40)
    hand.accepted(4, every_s=0.125)
    hand.throttled()
    assert hand.per_s == pytest.approx(0.97 * 24)


def test_a_429_soon_after_the_pace_was_raised_is_no_further_one() -> None:
    """It says that the raise was too much: the pace goes back to where it was."""
    hand = Hand(100)
    hand.throttled()
    assert hand.paces(1) == [75]
    hand.now += 0.01
    hand.throttled()
    assert hand.per_s == 50


@pytest.mark.parametrize("accepted", [15, 18, 30])
def test_a_fall_in_the_middle_of_a_storm_is_noticed(accepted: int) -> None:
    """Successes from before the limit fell do not keep the pace up after it."""
    hand = Hand(100)
    hand.throttled()
    hand.accepted(accepted, every_s=0.3 / accepted)
    for _ in range(5):
        hand.now += 0.02
        hand.throttled()
    assert hand.per_s < 10


def test_after_a_fall_only_what_comes_from_then_on_is_measured() -> None:
    """Neither the requests nor the time from before it."""
    hand = Hand(100)
    hand.throttled()
    hand.accepted(30, every_s=0.01)
    hand.throttled()
    assert hand.per_s == 45
    hand.accepted(6, every_s=1 / 30)
    hand.throttled()
    assert hand.per_s == pytest.approx(0.97 * 30)


def test_a_request_sent_in_the_moment_of_a_cut_does_not_cut() -> None:
    """Only one sent after it does."""
    hand = Hand(100)
    hand.throttled()
    hand.now += 0.1
    hand.throttled(sent_s_ago=0.1)
    assert hand.per_s == 50
    hand.throttled(sent_s_ago=0.09)
    assert hand.per_s == 25


def test_after_a_refused_raise_a_further_429_is_one_of_the_same_storm() -> None:
    """It cuts to what was accepted since, not by a fixed part."""
    hand = Hand(100)
    hand.throttled()
    assert hand.paces(1) == [75]
    hand.throttled()
    assert hand.per_s == 50
    hand.accepted(10, every_s=0.025)
    hand.throttled()
    assert hand.per_s == pytest.approx(0.97 * 40)


@pytest.mark.parametrize(("accepted", "share"), [(7, 0.5), (8, 0.85)])
def test_a_storm_of_few_accepted_ones_leaves_no_hold(accepted: int, share: float) -> None:
    """Seven are no measurement: the next storm halves the pace again."""
    hand = Hand(200)
    hand.throttled()
    hand.accepted(accepted, every_s=1 / 80)
    hand.throttled()
    cut_per_s = hand.per_s
    hand.throttled(sent_s_ago=-0.001, retry_after_s=1)
    assert hand.per_s == pytest.approx(share * cut_per_s)


def test_a_hold_follows_a_storm_down_whatever_is_accepted() -> None:
    """Once there is one, the next storm begins from where the last one ended."""
    hand = _after_a_storm()
    for _ in range(3):
        hand.now += 0.1
        hand.throttled()
    cut_per_s = hand.per_s
    hand.throttled(sent_s_ago=-0.001, retry_after_s=1)
    assert hand.per_s == pytest.approx(0.85 * cut_per_s)


@pytest.mark.parametrize(("accepted", "soon"), [(13, True), (15, False)])
def test_a_storm_far_below_the_hold_ends_the_patience(accepted: int, soon: bool) -> None:
    """Below 70 % of it the limit that probes have found is no longer the one there is."""
    hand = _after_a_failed_probe(20)
    for _ in range(11):
        hand.busy()
        hand.throttled()
    hand.accepted(accepted, every_s=0.97 / accepted)
    hand.throttled()
    assert hand.per_s == pytest.approx(accepted)
    assert (hand.busy() < 2) is soon


def test_the_pace_is_never_below_half_a_request_a_second() -> None:
    """However many are refused, the run goes on asking."""
    hand = Hand(8)
    for _ in range(20):
        hand.now += 1
        hand.throttled()
    assert hand.per_s == 0.5


def test_a_429_at_the_hold_lowers_it() -> None:
    """A rate that was all right no longer is: the hold is 85 % of it, and the climb leads back."""
    hand = _after_a_storm()
    hold_per_s = hand.per_s
    hand.busy(3, share=0.5)
    hand.throttled(retry_after_s=1)
    assert hand.per_s == pytest.approx(0.85 * hold_per_s)
    hand.now += 100
    assert hand.paces(1) == [pytest.approx(1.05 * 0.85 * hold_per_s)]


def test_a_pace_below_its_goal_climbs_by_halving_the_distance() -> None:
    """To 85 % of the pace before the cut; at most twice the pace at a time."""
    hand = Hand(100)
    hand.throttled()
    assert hand.paces(2) == [75, 87.5]
    hand = Hand(100)
    hand.throttled(sent_s_ago=1)
    assert hand.paces(4) == [25, 50, 75, 87.5]


def test_a_refused_first_step_leads_to_the_pace_before_it() -> None:
    """Where the climb had come to is the hold, not where it began."""
    hand = Hand(100)
    hand.throttled()
    assert hand.paces(3) == [75, 87.5, pytest.approx(1.05 * 87.5)]
    hand.throttled()
    assert hand.per_s == 87.5


def test_probes_take_steps_that_double() -> None:
    """From a twentieth to twice the pace, and from there on each time twice."""
    hand = _after_a_failed_probe(20)
    paces = [20, *hand.paces(8)]
    steps = [after / before - 1 for before, after in pairwise(paces)]
    assert steps == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1, 1, 1])


def test_a_search_from_below_doubles_the_pace_each_stage() -> None:
    """A stage lasts 0.4 s, and three requests at least."""
    hand = Hand(2, NO_CEILING)
    hand.accepted()
    took_s = [hand.busy() for _ in range(7)]
    assert hand.per_s == 2 * 2**7
    assert took_s[:3] == pytest.approx([1.5, 0.75, 0.5])
    assert took_s[3:] == pytest.approx([0.4] * 4, abs=0.07)


@pytest.mark.parametrize(
    ("failed_probes", "hold_per_s", "hold_s"),
    [
        (1, 20, 1),
        (1, 100, 1),
        (2, 20, 2),
        (3, 20, 3),
        (6, 20, 3),
        (9, 20, 4.5),
        (12, 20, 6),
        (24, 20, 12),
        (40, 20, 12),
        (3, 5, 4),
        (5, 5, 12),
        (9, 5, 18),
        (40, 100, 12),
    ],
)
def test_holds_grow_with_failed_probes(
    failed_probes: int, hold_per_s: float, hold_s: float
) -> None:
    """From a second doubling to three, or sixty requests; beyond six probes up to four times."""
    hand = _after_a_failed_probe(hold_per_s)
    for _ in range(failed_probes - 1):
        hand.busy()
        hand.throttled()
        assert hand.per_s == hold_per_s
    stage_s = max(0.4, 3 / hold_per_s)
    assert hold_s <= hand.busy() <= hold_s + 1.2 * stage_s


def test_days_of_failed_probes_do_no_harm() -> None:
    """The hold stays at its longest, however often it was doubled."""
    hand = Hand(20, NO_CEILING, waiting=1)
    hand.accepted()
    hand.throttled()
    for _ in range(1100):
        hand.accepted(every_s=13)
        assert hand.per_s > 20
        hand.throttled()
        assert hand.per_s == pytest.approx(20)
    hand.accepted(every_s=11.9)
    assert hand.per_s == pytest.approx(20)


def test_the_first_hold_is_short() -> None:
    """Half a second after a storm, while no probe has failed: the second stage's end."""
    assert 0.5 <= _after_a_storm().busy() < 0.9


def test_a_limit_that_has_fallen_is_looked_for_soon() -> None:
    """A 429 at the hold ends the patience that failed probes have taught."""
    hand = _after_a_failed_probe(20, 40)
    for _ in range(11):
        hand.busy()
        hand.throttled()
    hand.busy(5, share=0.5)
    hand.throttled()
    assert hand.per_s < 20
    assert hand.busy() < 2


def test_a_failed_probe_leads_to_what_was_accepted_between_two_refusals() -> None:
    """To 97 % of it, where that is more than the hold; and the next probe is small again."""
    hand = _after_a_failed_probe(20)
    began, before = hand.now, hand.count
    hand.paces(4)
    hand.busy(0.2)
    accepted_per_s = (hand.count - before) / (hand.now - began)
    hand.throttled()
    hold_per_s = hand.per_s
    assert hold_per_s == pytest.approx(0.97 * accepted_per_s)
    assert hold_per_s > 22
    assert hand.paces(1) == [pytest.approx(1.05 * hold_per_s)]


def test_a_failed_probe_never_leads_above_its_pace() -> None:
    """Even if more was accepted than the pace lets go."""
    hand = _after_a_failed_probe(20)
    hand.busy(share=3)
    assert hand.per_s == 21
    hand.throttled()
    assert hand.per_s == pytest.approx(0.97 * 21)


def test_a_probe_refused_soon_is_measured_by_the_time_it_took() -> None:
    """Also where the last 429 was less than a second ago."""
    hand = _after_a_storm()
    hold_per_s = hand.per_s
    assert hand.busy(share=1.1) < 0.9
    hand.throttled()
    assert hand.per_s == pytest.approx(0.97 * 1.05 * hold_per_s)


def test_many_accepted_over_the_hold_show_a_higher_limit() -> None:
    """No burst explains them: a refused step leads to the one before it, not to the hold."""
    hand = _after_a_storm()
    paces = hand.paces(6)
    hand.busy(0.3)
    hand.throttled()
    assert hand.per_s == paces[-2]


@pytest.mark.parametrize(("accepted", "per_s"), [(20, 0.97 * 21), (21, 20)])
def test_twenty_over_the_hold_may_be_a_burst(accepted: int, per_s: float) -> None:
    """One more shows that the limit is higher: then the pace from before the probe was right."""
    hand = _after_a_failed_probe(20)
    assert hand.paces(1) == [21]
    hand.accepted(accepted)
    hand.throttled()
    assert hand.per_s == pytest.approx(per_s)


def test_a_search_refused_after_many_is_no_failed_probe() -> None:
    """Where twenty and more went over the rate before, that rate is held for a moment only."""
    hand = Hand(100, NO_CEILING)
    assert hand.paces(1) == [200]
    hand.busy(0.3)
    hand.throttled()
    assert hand.per_s == 100
    assert hand.busy() < 0.9


# When the pace is raised


def test_the_pace_is_not_raised_while_it_is_not_in_use() -> None:
    """Successes of a run that sends less than it may say nothing about a higher pace."""
    hand = Hand(5)
    for _ in range(1000):
        hand.now += 1
        hand.rate.on_success(hand.now - 0.01, hand.now)
    assert hand.pacer.rate_per_s == 5


def test_slow_answers_do_not_lower_the_pace() -> None:
    """Latency that grows from 20 ms to 10 s changes nothing."""
    hand = Hand(100, ceiling_per_s=100)
    for step in range(1000):
        hand.now += 0.01
        hand.rate.on_success(hand.now - 0.02 - step / 100, hand.now)
    assert hand.pacer.rate_per_s == 100


def test_the_pace_never_leaves_its_bounds() -> None:
    """However many 429s come, the floor is kept; however many successes, the ceiling."""
    hand = Hand(8, ceiling_per_s=8)
    for _ in range(50):
        hand.now += 1
        hand.throttled()
    assert hand.pacer.rate_per_s == FLOOR_PER_S
    for _ in range(20_000):
        hand.now += 0.1
        hand.rate.on_success(hand.now - 0.01, hand.now)
    assert hand.pacer.rate_per_s == 8


@pytest.mark.parametrize(("share", "per_s"), [(0.79, 10), (0.82, 20)])
def test_the_pace_is_raised_when_four_fifths_of_it_are_sent(share: float, per_s: float) -> None:
    """A pace that is not used says nothing about a higher one."""
    hand = Hand(10)
    hand.accepted()
    hand.busy(60, share=share)
    assert hand.per_s == per_s


def test_the_pace_is_raised_when_somebody_waits_for_it() -> None:
    """However few were answered in this stage."""
    hand = Hand(10, waiting=1)
    hand.accepted()
    assert hand.per_s == 20
    hand.busy(60, share=0.1)
    assert hand.per_s == 40


def test_the_pace_stops_at_the_ceiling() -> None:
    """The last step is as long as it may be, and told once."""
    hand = Hand(20, 50)
    assert hand.paces(2) == [40, 50]
    hand.busy(5)
    assert hand.told == [(40, "no 429 for a while"), (50, "no 429 for a while")]


def test_time_at_the_ceiling_shows_no_hold() -> None:
    """Nothing was raised there: the first 429 halves the pace."""
    hand = Hand(100, 100)
    hand.busy(3)
    hand.throttled()
    assert hand.per_s == 50


def test_small_changes_are_told_when_they_have_come_to_a_tenth() -> None:
    """What counts is the distance to what was told last."""
    hand = _after_a_failed_probe(20)
    del hand.told[:]
    assert hand.paces(2) == [21, pytest.approx(23.1)]
    [(per_s, reason)] = hand.told
    assert per_s == pytest.approx(23.1)
    assert reason == "no 429 for a while"


def test_a_change_by_exactly_a_tenth_is_told() -> None:
    """The first report is compared with the pace at the start."""
    hand = Hand(40, 44)
    assert hand.paces(1) == [44]
    assert hand.told == [(44, "no 429 for a while")]


# Noise


def _tenth_refused(hand: Hand, answers: int) -> None:
    for answer in range(1, answers + 1):
        if answer % 10 == 0:
            hand.now += 1 / hand.per_s
            hand.throttled(sent_s_ago=0.001)
        else:
            hand.accepted(every_s=1 / hand.per_s)


def test_refusals_at_any_pace_are_noise_until_they_end() -> None:
    """The pace goes back to where it was and stays; when the noise has ended, a 429 cuts again."""
    hand = Hand(100, 100)
    _tenth_refused(hand, 140)
    paces, reasons = zip(*hand.told, strict=True)
    assert reasons[-1] == "slowing down did not help against the 429s"
    assert (min(paces) < 25, paces[-1]) == (True, 100)
    _tenth_refused(hand, 200)
    assert hand.per_s == 100
    hand.accepted(150, every_s=0.01)
    hand.throttled()
    assert hand.per_s < 90


def test_after_going_back_the_pace_is_a_hold() -> None:
    """From there it is probed in small steps, when nothing more is refused."""
    hand = Hand(100, NO_CEILING)
    _tenth_refused(hand, 140)
    assert hand.per_s == 100
    assert hand.paces(2) == [105, pytest.approx(1.1 * 105)]


def test_noise_that_names_a_time_pauses_without_a_cut() -> None:
    """`Retry-After` is kept whatever the reason for the 429."""
    hand = Hand(100, 100)
    _tenth_refused(hand, 140)
    hand.throttled(sent_s_ago=0.001, retry_after_s=5)
    assert hand.per_s == 100
    hand.now += 4.9
    assert not hand.pacer.try_acquire()
