"""Attempts at one thing, paced and repeated, on virtual time."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from bulkcancel.pacing import Again, Pacer, paced_attempts
from tests.support.virtual_time import now, on_virtual_time


class Attempts:
    """Comes to one thing after the other, the last one for ever; keeps when."""

    def __init__(self, outcomes: Iterable[Again | str], rate_per_s: float = 100) -> None:
        self.outcomes = list(outcomes)
        self.at: list[float] = []
        self.pacer = Pacer(rate_per_s, clock=now)

    async def attempt(self) -> Again | str:
        self.at.append(now())
        return self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]

    async def made(self, most_asked_s: float = 600) -> str:
        return await paced_attempts(
            self.attempt, pacer=self.pacer, rng=random.Random(1), attempts=5,
            most_asked_s=most_asked_s,
        )  # fmt: skip

    @property
    def waits(self) -> list[float]:
        return [later - one for one, later in zip(self.at, self.at[1:], strict=False)]


BAD = Again(ValueError("bad"))


@on_virtual_time
async def test_what_passes_is_tried_again_after_growing_waits() -> None:
    """Between a half and the whole of 1.5, 3, 6 and 12 seconds."""
    attempts = Attempts([BAD, BAD, BAD, BAD, "good"])
    assert await attempts.made() == "good"
    most = [1.5, 3, 6, 12]
    assert all(w / 2 <= wait <= w + 0.02 for wait, w in zip(attempts.waits, most, strict=True))


@on_virtual_time
async def test_the_last_of_five_attempts_raises_what_it_came_to() -> None:
    """Without a wait after it."""
    attempts = Attempts([BAD, BAD, BAD, BAD, Again(KeyError("worse"))])
    with pytest.raises(KeyError, match="worse"):
        await attempts.made()
    assert len(attempts.at) == 5
    assert now() == attempts.at[-1]


@on_virtual_time
async def test_a_wait_that_was_asked_for_is_kept_and_costs_no_attempt() -> None:
    """Eight times a minute, and the five attempts are all still there."""
    asked = Again(ValueError("busy"), wait_s=60)
    attempts = Attempts([asked] * 8 + [BAD] * 4 + ["good"])
    assert await attempts.made() == "good"
    assert attempts.waits[:8] == pytest.approx([60] * 8, abs=0.02)


@pytest.mark.parametrize("wait_s", [60, 0])
@on_virtual_time
async def test_waits_that_are_asked_for_end(wait_s: float) -> None:
    """After ten minutes of them, also where none is needed each time."""
    attempts = Attempts([Again(ValueError("busy"), wait_s=wait_s)])
    began = now()
    with pytest.raises(ValueError, match="busy"):
        await attempts.made()
    assert 500 < now() - began <= 600
    assert len(attempts.at) < 50


@on_virtual_time
async def test_a_wait_beyond_the_most_is_not_begun() -> None:
    """An hour is told at once."""
    attempts = Attempts([Again(ValueError("an hour"), wait_s=3600)])
    began = now()
    with pytest.raises(ValueError, match="an hour"):
        await attempts.made()
    assert now() - began < 0.1


@on_virtual_time
async def test_what_never_got_there_is_sent_again_at_once() -> None:
    """Some times; then it is like any other trouble."""
    attempts = Attempts([Again(ValueError("idle"), at_once=True)])
    with pytest.raises(ValueError, match="idle"):
        await attempts.made()
    assert len(attempts.at) == 3 + 5
    assert max(attempts.waits[:3]) < 0.02
    assert min(attempts.waits[3:]) > 0.7


@on_virtual_time
async def test_each_attempt_waits_for_its_turn() -> None:
    """Retries included: the rate is a ceiling."""
    attempts = Attempts([Again(ValueError("idle"), at_once=True)] * 3 + ["good"], rate_per_s=0.5)
    assert await attempts.made() == "good"
    assert min(attempts.waits) > 1.99
