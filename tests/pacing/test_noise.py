"""When 429s are taken for noise that slowing down does not help against, and when no longer."""

from __future__ import annotations

import pytest

from bulkcancel.pacing.noise import Noise


class _Cuts:
    """Noise behind a pace that is cut again and again, with answers in between."""

    def __init__(self) -> None:
        self.noise = Noise()
        self.now = 100.0

    def answers(self, refused: int, accepted: int) -> None:
        """The refusals come first: the answers of a window count from its first 429 on."""
        self.now += 1
        for _ in range(refused):
            self.refused()
        for _ in range(accepted):
            self.accepted()

    def accepted(self, *, sent_s_ago: float = 0.1) -> None:
        self.noise.on_accepted(self.now - sent_s_ago)

    def refused(self, *, sent_s_ago: float = 0.1) -> bool:
        return self.noise.on_refused(self.now - sent_s_ago)

    def cut(self, from_per_s: float, to_per_s: float) -> float | None:
        self.now += 1
        back_to = self.noise.on_cut(self.now, from_per_s, to_per_s)
        self.now += 1
        return back_to

    def halved_twice(self, at_half: tuple[int, int], at_a_quarter: tuple[int, int]) -> float | None:
        """From 100 a second to 50 to 25 to 12.5, with such answers; return what the last cut does.

        Each pair is refusals and accepted ones.
        """
        assert self.cut(100, 50) is None
        self.answers(*at_half)
        assert self.cut(50, 25) is None
        self.answers(*at_a_quarter)
        return self.cut(25, 12.5)


def _noisy(refused: int = 5, accepted: int = 45) -> _Cuts:
    """Return one that has noticed noise of a tenth, unless told otherwise."""
    cuts = _Cuts()
    assert cuts.halved_twice((refused, accepted), (refused, accepted)) == 100
    return cuts


def test_the_same_share_refused_at_half_and_at_a_quarter_of_the_pace_is_noise() -> None:
    """The pace goes back to where the cuts began, and further 429s do not slow it."""
    cuts = _noisy()
    assert cuts.refused()


def test_nothing_is_noise_before_the_pace_was_halved_twice() -> None:
    """However many answers there are, one halving shows nothing, and every 429 counts."""
    cuts = _Cuts()
    assert not cuts.refused()
    assert cuts.cut(100, 50) is None
    cuts.answers(10, 90)
    assert cuts.cut(50, 25) is None
    assert not cuts.refused()


@pytest.mark.parametrize(
    ("at_half", "at_a_quarter"),
    [
        ((5, 43), (5, 43)),
        ((3, 45), (3, 45)),
        ((20, 80), (11, 89)),
        ((12, 37), (12, 37)),
    ],
    ids=["just enough answers", "just enough refusals", "over a half of it", "nearly a quarter"],
)
def test_what_is_just_noise(at_half: tuple[int, int], at_a_quarter: tuple[int, int]) -> None:
    """48 answers and three refusals at each pace are enough to tell noise from a limit."""
    assert _Cuts().halved_twice(at_half, at_a_quarter) == 100


@pytest.mark.parametrize(
    ("at_half", "at_a_quarter"),
    [
        ((5, 42), (5, 43)),
        ((5, 43), (5, 42)),
        ((3, 45), (2, 46)),
        ((0, 0), (5, 43)),
        ((20, 80), (10, 90)),
        ((25, 75), (24, 76)),
        ((24, 76), (25, 75)),
    ],
    ids=[
        "too few answers at half the pace",
        "too few answers at a quarter",
        "too few refusals",
        "none at half the pace",
        "half of the share at half the pace",
        "a quarter refused",
        "then a quarter refused",
    ],
)
def test_what_may_be_a_limit_is_no_noise(
    at_half: tuple[int, int], at_a_quarter: tuple[int, int]
) -> None:
    """Where slowing down helps, or too little is known, the pace stays cut."""
    cuts = _Cuts()
    assert cuts.halved_twice(at_half, at_a_quarter) is None
    assert not cuts.refused()


def test_a_cut_to_more_than_half_goes_on_counting() -> None:
    """A window lasts until the pace is at most a half of what it began with."""
    cuts = _Cuts()
    assert cuts.cut(100, 50.1) is None
    cuts.answers(5, 43)
    assert cuts.cut(50.1, 50.01) is None
    cuts.answers(5, 43)
    assert cuts.cut(50.01, 50) is None
    cuts.answers(5, 43)
    assert cuts.cut(50, 25.1) is None
    assert cuts.cut(25.1, 25) == 100


def test_too_few_answers_are_added_to_those_at_the_next_pace() -> None:
    """Where cuts follow each other quickly, the answers between them count together."""
    cuts = _Cuts()
    assert cuts.cut(100, 50) is None
    cuts.answers(2, 20)
    assert cuts.cut(50, 40) is None
    cuts.answers(3, 23)
    assert cuts.cut(40, 30) is None
    cuts.answers(5, 43)
    assert cuts.cut(30, 15) == 100


def test_three_halvings_compare_the_last_two() -> None:
    """A share that first fell with the pace and then no longer does is noise from there on."""
    cuts = _Cuts()
    assert cuts.halved_twice((20, 80), (5, 95)) is None
    cuts.answers(5, 95)
    assert cuts.cut(12.5, 6.25) == 25


def test_a_pace_that_was_higher_meanwhile_begins_anew() -> None:
    """What was refused before the pace rose again is compared with nothing."""
    cuts = _Cuts()
    assert cuts.cut(100, 50) is None
    cuts.answers(5, 43)
    assert cuts.cut(50, 25) is None
    assert cuts.cut(200, 100) is None
    cuts.answers(5, 43)
    assert cuts.cut(100, 50) is None
    cuts.answers(5, 43)
    assert cuts.cut(50, 25) == 200


def test_a_cut_from_the_same_pace_goes_on() -> None:
    """Only a pace above that of the window begins a new one."""
    cuts = _Cuts()
    assert cuts.cut(100, 50) is None
    cuts.answers(5, 43)
    assert cuts.cut(100, 50) is None
    cuts.answers(5, 43)
    assert cuts.cut(50, 25) == 100


def test_accepted_requests_count_from_the_first_429_of_a_window_on() -> None:
    """The time until a 429 comes says nothing about the share at this pace."""
    cuts = _Cuts()
    assert cuts.cut(100, 50) is None
    cuts.answers(0, 90)
    cuts.answers(5, 42)
    assert cuts.cut(50, 25) is None
    cuts.answers(5, 43)
    assert cuts.cut(25, 12.5) is None


@pytest.mark.parametrize("sent_s_before_the_cut", [0, 0.5])
def test_429s_of_requests_from_before_a_cut_do_not_count(sent_s_before_the_cut: float) -> None:
    """They were sent at the pace before."""
    cuts = _Cuts()
    assert cuts.cut(100, 50) is None
    cuts.answers(5, 43)
    assert cuts.cut(50, 25) is None
    for _ in range(10):
        cuts.refused(sent_s_ago=1 + sent_s_before_the_cut)
    cuts.answers(2, 46)
    assert cuts.cut(25, 12.5) is None


@pytest.mark.parametrize("sent_s_before_the_cut", [0, 0.5])
def test_accepted_ones_from_before_a_cut_do_not_count(sent_s_before_the_cut: float) -> None:
    """They were sent at the pace before."""
    cuts = _Cuts()
    assert cuts.cut(100, 50) is None
    cuts.answers(5, 43)
    assert cuts.cut(50, 25) is None
    cuts.answers(5, 42)
    cuts.accepted(sent_s_ago=2 + sent_s_before_the_cut)
    assert cuts.cut(25, 12.5) is None


def test_many_accepted_in_a_row_end_the_trouble() -> None:
    """After 100 without a 429 the next one is a new trouble, compared with nothing before it."""

    def after(in_a_row: int) -> float | None:
        cuts = _Cuts()
        assert cuts.cut(100, 50) is None
        cuts.answers(20, 80)
        assert cuts.cut(50, 25) is None
        cuts.answers(20, in_a_row)
        return cuts.cut(25, 12.5)

    assert after(100) == 100
    assert after(101) is None


def test_a_row_of_accepted_ones_ends_with_a_429() -> None:
    """Many accepted, but never 100 of them without a 429 between, are the same trouble."""
    cuts = _Cuts()
    assert cuts.cut(100, 50) is None
    for _ in range(3):
        cuts.answers(10, 90)
    assert cuts.cut(50, 25) is None
    for _ in range(3):
        cuts.answers(10, 90)
    assert cuts.cut(25, 12.5) == 100


def test_after_a_row_of_accepted_ones_the_next_cut_begins_a_window() -> None:
    """What comes after the end of a trouble can be noise again, judged by itself."""
    cuts = _Cuts()
    assert cuts.cut(100, 50) is None
    cuts.answers(20, 80)
    assert cuts.cut(50, 25) is None
    cuts.answers(20, 101)
    assert cuts.cut(0.8, 0.4) is None
    cuts.answers(5, 43)
    assert cuts.cut(0.4, 0.2) is None
    cuts.answers(5, 43)
    assert cuts.cut(0.2, 0.1) == 0.8


@pytest.mark.parametrize(("accepted", "noise"), [(132, True), (133, False)])
def test_noise_fades_when_nothing_is_refused(accepted: int, noise: bool) -> None:
    """When the share has fallen to an eighth, the next 429 slows the pace again."""
    cuts = _noisy()
    for _ in range(accepted):
        cuts.accepted()
    assert cuts.refused() is noise


def test_noise_that_goes_on_does_not_fade() -> None:
    """As long as about the same share is refused, 429s do not slow the pace."""
    cuts = _noisy()
    for _ in range(200):
        for _ in range(9):
            cuts.accepted()
        assert cuts.refused()


def test_noise_that_has_faded_stays_so() -> None:
    """The share it once had is forgotten: even as many 429s as then slow the pace."""
    cuts = _noisy()
    for _ in range(133):
        cuts.accepted()
    for _ in range(200):
        for _ in range(9):
            cuts.accepted()
        assert not cuts.refused()


@pytest.mark.parametrize(
    ("at_half", "at_a_quarter", "more"),
    [((5, 45), (5, 45), 9), ((5, 45), (10, 40), 20), ((10, 40), (6, 44), 20)],
)
def test_more_refusals_than_the_noise_slow_the_pace(
    at_half: tuple[int, int], at_a_quarter: tuple[int, int], more: int
) -> None:
    """Above twice the greater one of the two shares and a margin, a 429 is about the pace."""
    cuts = _Cuts()
    assert cuts.halved_twice(at_half, at_a_quarter) == 100
    assert all(cuts.refused() for _ in range(more))
    assert not cuts.refused()
    for _ in range(30):
        cuts.accepted()
    assert not cuts.refused()


def test_noise_noticed_again_is_judged_from_the_start() -> None:
    """After going back, windows of before are compared with nothing."""
    cuts = _noisy()
    for _ in range(133):
        cuts.accepted()
    assert cuts.cut(0.8, 0.4) is None
    cuts.answers(5, 43)
    assert cuts.cut(0.4, 0.2) is None
    cuts.answers(5, 43)
    assert cuts.cut(0.2, 0.1) == 0.8


def test_a_slow_pace_is_judged_like_a_fast_one() -> None:
    """Below one a second too, two halvings show noise."""
    cuts = _Cuts()
    assert cuts.cut(0.8, 0.4) is None
    cuts.answers(5, 43)
    assert cuts.cut(0.4, 0.2) is None
    cuts.answers(5, 43)
    assert cuts.cut(0.2, 0.1) == 0.8
