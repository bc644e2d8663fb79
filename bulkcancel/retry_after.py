"""The `Retry-After` header: how many seconds a server asks to be left alone."""

from __future__ import annotations

import re
from datetime import UTC, datetime

CAP_S = 300.0
"""No server stops a run for longer than this with one header."""

_SECONDS = re.compile("[0-9]{1,20}")
_DAYS = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = re.compile(
    rf"{_DAYS}, ([0-9]{{2}}) ({'|'.join(_MONTHS)}) ([0-9]{{4}})"
    " ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
)


def parse_retry_after(value: str, now: datetime) -> float | None:
    """Return the seconds to wait, 0 to `CAP_S`, or `None` if `value` does not say.

    Only ASCII digits and the one date form a server may still send, IMF-fixdate (RFC 9110,
    sections 5.6.7 and 10.2.3), are read; `now` is an aware time. A date that has passed is 0.
    """
    value = value.strip(" \t")
    if _SECONDS.fullmatch(value):
        return min(float(value), CAP_S)
    match = _DATE.fullmatch(value)
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
    except ValueError:
        return None
    return min(max((when - now).total_seconds() + leap_s, 0.0), CAP_S)
