"""The server's answers, checked where they enter."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bulkcancel.ids import parse_instance_id
from bulkcancel.text import redact

_SECONDS = re.compile("[0-9]{1,20}")
_DAYS = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = re.compile(
    rf"{_DAYS}, ([0-9]{{2}}) ({'|'.join(_MONTHS)}) ([0-9]{{4}})"
    " ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
)
_LEAST_READABLE = 10  # characters for each unreadable one; with fewer it is not text


class InstanceBody(BaseModel):
    """The documented answer to a cancel, as far as bulkcancel uses it.

    Missing and new fields are tolerated, numbers stand for their text; what is of another type is
    left out.
    """

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    id: str | None = Field(default=None, coerce_numbers_to_str=False)
    status: str | None = Field(default=None, coerce_numbers_to_str=False)
    modelId: str | None = None  # noqa: N815
    modelName: str | None = None  # noqa: N815
    modelVersion: str | None = None  # noqa: N815


_validate_json = InstanceBody.model_validate_json


def parse_instance(body: bytes, instance_id: str) -> InstanceBody | None:
    """Return the object about `instance_id` (lower case) that `body` holds, or `None`.

    Only its `id` tells: a gateway's own `{"status": "error"}` with a 200, or the answer about
    another instance that a cache gives, does not say that this one was cancelled.
    """
    try:
        instance = _validate_json(body)
    except ValidationError:
        instance = _what_is_readable(body)
    return instance if instance.id is not None and instance.id.lower() == instance_id else None


def _what_is_readable(body: bytes) -> InstanceBody:
    """Return the fields of an object that are text, whatever is wrong with the others."""
    try:
        parsed = json.loads(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        parsed = None
    fields = parsed if isinstance(parsed, dict) else {}
    values = ((name, fields.get(name)) for name in InstanceBody.model_fields)
    known: dict[str, Any] = {name: v if isinstance(v, str) else None for name, v in values}
    return InstanceBody.model_construct(**known)


def redacted(instance: InstanceBody, secret: str) -> InstanceBody:
    """Return `instance` without `secret` in any of its texts."""
    texts = instance.model_dump(exclude_none=True)
    return instance.model_copy(update={key: redact(text, secret) for key, text in texts.items()})


def read_other(body: bytes, instance_id: str) -> tuple[str, bool]:
    """Return what a person would read in an answer, and whether it is a JSON object.

    What reads best is its message, else the other instance that it is about, else the start of
    its text.
    """
    text = body.decode("utf-8", "replace").strip()
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, dict):
        for key in ("message", "statusReason", "error", "detail", "title"):
            value = parsed.get(key)
            if isinstance(value, str) and value:
                return value, True
        other = parsed.get("id")
        if isinstance(other, str) and parse_instance_id(other) not in {None, instance_id}:
            return f"an answer about another instance, {other}", True
        return json.dumps(parsed, ensure_ascii=False), True  # no secret is hidden by escapes
    if text[:1] == "<":
        return "an HTML page", False
    if "\0" in text or text.count("\ufffd") > len(text) // _LEAST_READABLE:
        return f"{len(body)} bytes that are no text", False
    return text, False


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


class Answer(NamedTuple):
    """One answer of the server to one attempt."""

    http_status: int
    instance: InstanceBody | None
    """The object about the instance asked for of a 2xx, `None` for every other answer."""
    is_object: bool
    """Whether the body is a JSON object, as all that the API itself says is."""
    message: str
    """What the server said where it did not name the instance, safe to show; else empty."""
    retry_after_s: float | None
    """For how long it asks to be left alone."""
    latency_s: float
