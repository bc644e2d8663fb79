"""The `Retry-After` header: how many seconds a server asks to be left alone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_SECONDS = re.compile("[0-9]{1,20}")
_DAYS = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = re.compile(
    rf"{_DAYS}, ([0-9]{{2}}) ({'|'.join(_MONTHS)}) ([0-9]{{4}})"
    " ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
)


def parse_retry_after(value: str, now: datetime) -> float | None:
    """Return the seconds to wait, 0 or more, or `None` if `value` does not say.

    Only ASCII digits and the one date form a server may still send, IMF-fixdate (RFC 9110,
    sections 5.6.7 and 10.2.3), are read. A date counts from `now`, an aware time: that of the
    answer's own `Date`, so that it does not matter whose clock is off. One that has passed is 0.
    """
    value = value.strip(" \t")
    if _SECONDS.fullmatch(value):
        return float(value)
    when = parse_http_date(value)
    return None if when is None else max((when - now).total_seconds(), 0.0)


def parse_http_date(text: str) -> datetime | None:
    """Return the time, in UTC, of an IMF-fixdate; `None` for any other text."""
    match = _DATE.fullmatch(text.strip(" \t"))
    if match is None:
        return None
    day, month, year, hour, minute, second = match.groups()
    leap_s = 1 if second == "60" else 0  # a leap second, which `datetime` cannot hold
    try:
        when = datetime(
            int(year),
            _MONTHS.index(month) + 1,
            int(day),
            int(hour),
            int(minute),
            int(second) - leap_s,
            tzinfo=UTC,
        )
        return when + timedelta(seconds=leap_s)
    except (ValueError, OverflowError):
        return None
