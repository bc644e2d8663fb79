"""The server's answers, checked where they enter."""

from __future__ import annotations

import json
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bulkcancel.text import redact


class InstanceBody(BaseModel):
    """The documented answer to a cancel, as far as bulkcancel uses it.

    Missing and new fields are tolerated, numbers stand for their text; a status that is neither
    text nor null is refused.
    """

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    id: str | None = None
    status: str | None = Field(default=None, coerce_numbers_to_str=False)
    modelId: str | None = None  # noqa: N815
    modelName: str | None = None  # noqa: N815
    modelVersion: str | None = None  # noqa: N815


_validate_json = InstanceBody.model_validate_json


def parse_instance(body: bytes) -> InstanceBody | None:
    """Return the instance object that `body` holds, or `None` if it holds none.

    An object counts if at least one documented field is in it: `{}` and `{"error": …}` with a
    200 are no word that anything was cancelled.
    """
    try:
        instance = _validate_json(body)
    except ValidationError:
        return None
    return instance if instance.model_fields_set else None


def redacted(instance: InstanceBody, secret: str) -> InstanceBody:
    """Return `instance` without `secret` in any of its texts."""
    texts = instance.model_dump(exclude_none=True)
    return instance.model_copy(update={key: redact(text, secret) for key, text in texts.items()})


def server_message(body: bytes) -> str:
    """Return what a person would read in an error answer: its message, or the start of its text."""
    text = body.decode("utf-8", "replace").strip()
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, dict):
        for key in ("message", "statusReason", "error", "detail", "title"):
            value = parsed.get(key)
            if isinstance(value, str) and value:
                return value
    if text[:1] == "<":
        return "an HTML page"
    return text


class Reply(NamedTuple):
    """One answer of the server to one attempt."""

    http_status: int
    instance: InstanceBody | None
    """The instance object of a 2xx, `None` for every other answer."""
    message: str
    """What the server said where it named no instance, safe to show; else empty."""
    retry_after: str | None
    """The raw `Retry-After` header."""
    latency_s: float
