"""What the plan says of the runs to be cancelled: their workflows, statuses and starts."""

from __future__ import annotations

from itertools import islice
from shlex import quote
from typing import TYPE_CHECKING

from bulkcancel.quantities import count_of
from bulkcancel.text import shorten, visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from bulkcancel.models import Breakdown

_MOST_COUNTED = 5
_LONGEST_WORD = 60


def breakdown_event(told: Breakdown) -> dict[str, object]:
    """Return the keys of the log event; words that are not among the first five are left out."""
    return {
        "by_workflow": dict(islice(told.workflows.items(), _MOST_COUNTED)),
        "by_status": dict(islice(told.statuses.items(), _MOST_COUNTED)),
        "ended_already": sum(told.ended.values()),
        "oldest_start": told.oldest and _time(told.oldest, "Z", "T"),
        "newest_start": told.newest and _time(told.newest, "Z", "T"),
    }


def breakdown_rows(told: Breakdown) -> Iterator[tuple[str, str, str]]:
    """Yield name, text and style of each row of the plan; none about what the inputs do not say."""
    for name, counts, others in (
        ("workflows", told.workflows, told.other_workflows),
        ("statuses", told.statuses, told.other_statuses),
    ):
        for at, text in enumerate(_most_frequent(counts)):
            yield "" if at else name, text, ""
        if others:
            yield "", f"{others:,} of other {name}", ""
    if told.ended:
        yield "", _ended_already(told), "yellow"
    if told.oldest is not None and told.newest is not None:
        text = f"{_time(told.oldest)} to {_time(told.newest, ' UTC')}"
        if told.without_start:
            text += f", {told.without_start:,} without a readable start"
        yield "started", text, ""


def _most_frequent(counts: Mapping[str, int]) -> Iterator[str]:
    shown = list(counts.items())[:_MOST_COUNTED]
    more = len(counts) - len(shown)
    rest = sum(counts.values()) - sum(n for _, n in shown)
    width = max(len(f"{n:,}") for n in (rest, *counts.values()))
    for word, n in shown:
        yield f"{n:>{width},} {shorten(word, _LONGEST_WORD)}"
    if more:
        yield f"{rest:>{width},} of {count_of(more, 'other')}"


def _ended_already(told: Breakdown) -> str:
    """Return how many runs are over by their status, and how to leave these out."""
    count = sum(told.ended.values())
    are, them = ("is", "it") if count == 1 else ("are", "them")
    text = f"{count:,} {are} over already"
    conditions = [f"{told.status_column}!={word}" for word in told.ended]
    if not told.status_column or any(visible(each) != each for each in conditions):
        return text  # what is shown would not be what is meant
    options = [f"--where {quote(each)}" for each in conditions]
    leave = "leaves" if len(options) == 1 else "leave"
    return f"{text}: {' '.join(options)} {leave} {them} out"


def _time(time: datetime, zone: str = "", between: str = " ") -> str:
    return f"{time:%Y-%m-%d{between}%H:%M:%S}{zone if time.tzinfo else ''}"
