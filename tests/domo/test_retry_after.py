"""What a `Retry-After` header is taken to mean."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulkcancel.domo.answers import parse_retry_after

NOW = datetime(2024, 11, 6, 8, 49, 30, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 7\t", 7),
        ("007", 7),
        ("300", 300),
        ("301", 301),
        ("1209600", 1_209_600),
        ("Wed, 06 Nov 2024 08:49:37 GMT", 6.75),
        ("Wed, 06 Nov 2024 08:49:30 GMT", 0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("Fri, 06 Nov 2026 08:49:30 GMT", 2 * 365 * 86_400 - 0.25),
        ("Fri, 31 Dec 9999 23:59:60 GMT", None),
        ("Wed, 06 Nov 2024 08:49:60 GMT", 29.75),
    ],
)
def test_seconds_and_fixed_dates_are_read(value: str, seconds: float | None) -> None:
    """ASCII seconds and IMF-fixdate give the wait that was asked for, however long."""
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        "nan",
        "inf",
        "-5",
        "+5",
        "1e9",
        "1.5",
        "1_000",
        "７",
        "٧",
        "²",
        "9" * 400,
        "7 s",
        "7\n",
        "7, 8",
        "X7",
        "7X",
        "2024-11-06T08:49:37",
        "2024-11-06T08:49:37Z",
        "Wed, 06 Nov 2024 08:49:37",
        "Wed, 06 Nov 2024 08:49:37 +0000",
        "Wed, 06 Nov 2024 08:49:37 EST",
        "Wed, 6 Nov 2024 08:49:37 GMT",
        "wed, 06 nov 2024 08:49:37 gmt",
        "Wednesday, 06-Nov-24 08:49:37 GMT",
        "Wed Nov  6 08:49:37 2024",
        "XWed, 06 Nov 2024 08:49:37 GMT",
        "Wed, 06 Nov 2024 08:49:37 GMTX",
        "Wed, 06 Nov 2024 08:49:37 GMT\n",
        "Wed, 31 Feb 2024 08:49:37 GMT",
        "Wed, 06 Nov 0000 08:49:37 GMT",
        "Wed, 06 Nov 2024 24:49:37 GMT",
        "Wed, 06 Nov 2024 08:49:61 GMT",
    ],
)
def test_anything_else_is_ignored(value: str) -> None:
    """A value that is neither form says nothing, rather than something wrong."""
    assert parse_retry_after(value, NOW) is None


_moments = st.datetimes(
    min_value=datetime(1990, 1, 1),  # noqa: DTZ001 - the strategy adds the time zone
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
_texts = (
    st.text(max_size=50)
    | st.text(alphabet="0123456789+-.eE_ naif", max_size=30)
    | st.integers().map(str)
    | st.from_regex(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT")
)


@pytest.mark.slow
@settings(max_examples=500)
@given(value=_texts, now=_moments)
@example(value="Wed, 06 Nov 2024 99:99:99 GMT", now=NOW)
def test_no_value_crashes_or_is_negative(value: str, now: datetime) -> None:
    """Whatever a server sends, the wait is absent, or finite and not negative."""
    seconds = parse_retry_after(value, now)
    assert seconds is None or 0 <= seconds < math.inf


@settings(max_examples=500)
@given(said=st.integers(0, 10**12))
def test_seconds_are_never_cut_short(said: int) -> None:
    """Seconds are waited out in full."""
    assert parse_retry_after(str(said), NOW) == said


@settings(max_examples=500)
@given(now=_moments, ahead_s=st.integers(-1000, 1000))
def test_a_date_is_never_early(now: datetime, ahead_s: int) -> None:
    """After the wait the said second has begun."""
    said = now.replace(microsecond=0) + timedelta(seconds=ahead_s)
    seconds = parse_retry_after(format_datetime(said, usegmt=True), now)
    assert seconds is not None
    assert now + timedelta(seconds=seconds) >= said
    assert seconds <= max(ahead_s, 0)
