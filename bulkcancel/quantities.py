"""Durations, times, rates, numbers of failures, shards, lists of outcomes as people write them."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bulkcancel.errors import UsageError
from bulkcancel.ids import shard_of
from bulkcancel.models import Outcome

if TYPE_CHECKING:
    from collections.abc import Collection

_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,6})?"
_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, None: 1.0}
# Each unit once, the bigger before the smaller; a number alone is seconds.
_DURATION = re.compile(
    "".join(f"(?:({_NUMBER}){unit})?" for unit in _UNITS_S if unit) + f"|({_NUMBER})"
)
_RATE = re.compile(rf"({_NUMBER})(?:/(s|m|h))?")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)%")
_SHARD = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_MOST_SHARDS = 10_000
_EPOCH = re.compile(r"[0-9]{9,13}(?:\.[0-9]{1,9})?")
_LEAST_MS = 1e11  # in seconds, this is the year 5138


def parse_duration(text: str) -> float:
    """Return the seconds that `30`, `30s`, `50ms`, `5m` or `1h30m` stand for; else `ValueError`."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or not match[0]:
        raise ValueError(f"{text!r} is not a duration such as 30, 30s, 500ms, 5m, 2h or 1h30m")
    parts = zip(match.groups(), _UNITS_S.values(), strict=True)
    return sum(float(number) * unit_s for number, unit_s in parts if number)


def parse_time(text: str) -> datetime | None:
    """Return the time of an ISO 8601 text, or of seconds or milliseconds since 1970.

    `None` for what is no time; without a time zone where the text names none.
    """
    try:
        if _EPOCH.fullmatch(text):
            seconds = float(text)
            return datetime.fromtimestamp(seconds / 1000 if seconds >= _LEAST_MS else seconds, UTC)
        return datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None


def parse_rate(text: str) -> float | None:
    """Return requests a second for `10`, `0.5` or `600/m`; `None` for `auto`; else `ValueError`."""
    if text.strip() == "auto":
        return None
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"{text!r} is not a rate such as 10 (a second), 0.5, 600/m, 1000/h or auto"
        )
    rate = float(match[1]) / _UNITS_S[match[2]]
    if rate <= 0:
        raise ValueError("the rate must be above 0: to send nothing, use --dry-run")
    return rate


@dataclass(frozen=True, slots=True)
class MaxFailures:
    """How many failures are too many: a count, or a share of all that are listed."""

    count: int | None = None
    share: float | None = None

    def of(self, total: int | None) -> MaxFailures:
        """Return a share as the count that it is of `total`: rounded up, at least 1."""
        if self.share is None or total is None:
            return self
        # 7 % of 100 is 7, although 0.07 * 100 is a little more.
        return MaxFailures(max(1, math.ceil(round(self.share * total, 6))))


def parse_failures(text: str) -> MaxFailures:
    """Return the count that `50` is, or the share that `5%` is; else `ValueError`."""
    text = text.strip()
    percent = _PERCENT.fullmatch(text)
    if percent and 0 < float(percent[1]) <= 100:
        return MaxFailures(share=float(percent[1]) / 100)
    if text.isascii() and text.isdigit() and 0 < int(text) <= 10**9:
        return MaxFailures(int(text))
    raise ValueError(f"{text!r} is not a number of failures such as 50, or a share such as 5%")


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` shares of the IDs, told apart by hash; `index` counts from 0."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def holds(self, text: str) -> bool:
        """Return whether an ID, or what stood in the place of one, belongs to it."""
        return shard_of(text, self.count) == self.index


def parse_shard(text: str) -> Shard:
    """Return the shard that `3/8` is, the fourth of eight; else `ValueError`."""
    match = _SHARD.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a shard such as 3/8: I/N, where I counts from 0")
    index, count = int(match[1]), int(match[2])
    if not 1 <= count <= _MOST_SHARDS:
        raise ValueError(f"{text!r}: give a number of shards from 1 to {_MOST_SHARDS:,}")
    if index >= count:
        last = Shard(count - 1, count)
        raise ValueError(f"{text!r}: I counts from 0, so the last of {count} is {last}")
    return Shard(index, count)


def parse_outcomes(text: str) -> frozenset[Outcome]:
    """Return the outcomes that `not_found` or `forbidden,failed` names; else `ValueError`."""
    words, known = [word.strip() for word in text.split(",")], [str(each) for each in Outcome]
    for word in words:
        if word not in known:
            close = difflib.get_close_matches(word.lower().replace("-", "_"), known, 1)
            hint = f"did you mean {close[0]}?" if close else f"the outcomes are {', '.join(known)}"
            raise ValueError(f"{word!r} is no outcome: {hint}")
    return frozenset(map(Outcome, words))


def checked_outcomes(given: Collection[str], name: str) -> frozenset[Outcome]:
    """Return the outcomes that an argument called `name` holds. Raises `UsageError`.

    A single text would be taken apart into letters, and a word that is none would match nothing.
    """
    if isinstance(given, str):
        raise UsageError(f"{name} must be a collection of outcomes: pass [{given!r}]")
    try:
        return frozenset().union(*map(parse_outcomes, given))
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def count_of(count: int, noun: str) -> str:
    """Return a number of things as people write it: `1 request`, `1,200 retries`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun.removesuffix('y')}ies" if noun[-1:] == "y" else f"{count:,} {noun}s"


def show_duration(seconds: float) -> str:
    """Return seconds as a person reads them: `0.4 s`, `12 s`, `3 min 20 s`, `2 h`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"
