"""What must hold in every world; each check yields what it finds wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation import breaker, endings, looks, requests, rows, turns, verification

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.simulation.story import Story

    Check = Callable[[Story], Iterator[str]]

CHECKS: tuple[tuple[int, Check], ...] = (
    (1, rows.one_row_for_each_id),
    (1, rows.no_row_is_lost),
    (1, rows.figures_add_up),
    (2, rows.said_by_domo),
    (2, rows.attempts_used_up_are_told),
    (2, rows.no_outage_is_left_behind),
    (2, rows.failed_only_after_its_attempts),
    (3, requests.within_the_rate),
    (3, requests.pauses_as_long_as_asked),
    (4, endings.no_good_id_fails_by_an_outage),
    (4, breaker.breaker_opens_only_for_ten_ids),
    (4, endings.good_ids_are_not_held_up),
    (4, turns.retries_do_not_starve),
    (4, turns.new_ones_do_not_starve),
    (4, endings.runs_stop_only_for_what_happened),
    (5, requests.few_in_an_outage),
    (5, requests.few_for_one_id),
    (5, turns.retries_wait_their_time),
    (5, breaker.probes_are_few),
    (5, breaker.probes_go_on),
    (5, breaker.probes_are_of_new_ids),
    (5, breaker.two_refusals_stop),
    (6, rows.sent_twice_only_if_unanswered),
    (7, endings.limits_are_kept),
    (7, endings.ends_in_time),
    (7, endings.stops_at_once),
    (7, endings.in_flight_get_the_grace),
    (8, verification.stopped_only_if_domo_said_so),
    (8, verification.stopped_is_told),
    (8, verification.unconfirmed_only_after_its_time),
    (8, verification.rows_outlast_verification),
    (8, verification.verified_to_the_end),
    (8, verification.gives_up_once),
    (8, verification.gives_up_only_for_what_happened),
    (8, verification.no_call_costs_little),
    (8, verification.looks_are_of_accepted),
    (9, looks.cancels_come_first),
    (9, looks.looks_do_not_starve),
    (9, looks.looks_hold_up_no_cancel),
    (9, looks.few_looks_in_an_outage),
    (9, looks.looks_wait_as_long_as_asked),
)
"""With the number of the invariant that each is a part of."""
_OF_LOOKS = 8
"""From this number on they are about worlds with verification."""


def violations(story: Story) -> list[str]:
    """Return all that is wrong with what happened, each as a sentence."""
    if broken := [
        f"0 crash: {run.crash or run.bugs[0]}" for run in story.runs if run.crash or run.bugs
    ]:
        return broken
    checks = [(n, each) for n, each in CHECKS if n < _OF_LOOKS or story.world.looks is not None]
    return [f"{n} {check.__name__}: {said}" for n, check in checks for said in check(story)]
