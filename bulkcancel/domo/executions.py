"""One execution of the unofficial list, and whether it is one that was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from bulkcancel.ids import is_plain_id
from bulkcancel.quantities import parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


def _text(value: object) -> str | None:
    if isinstance(value, str):
        # Half a character, which JSON can hold, is none that can be written anywhere.
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


_Text = Annotated[str | None, BeforeValidator(_text)]


class Execution(BaseModel):
    """An execution as the server told it.

    Missing and new fields are tolerated, numbers stand for their text; what is of another type is
    left out.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    id: _Text = None
    status: _Text = None
    modelName: _Text = None  # noqa: N815
    modelVersion: _Text = None  # noqa: N815
    modelId: _Text = None  # noqa: N815
    startedAt: _Text = None  # noqa: N815
    triggerType: _Text = None  # noqa: N815

    @property
    def instance_id(self) -> str | None:
        """The ID in small letters, `None` if there is no valid one."""
        return self.id.lower() if self.id is not None and is_plain_id(self.id) else None


def execution_of(item: Mapping[str, Any]) -> Execution:
    """Return what an object of the list says."""
    return Execution.model_validate(item)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which executions are to be listed; an empty filter takes all."""

    statuses: tuple[str, ...] = ()
    """In any case of letters, in v1's or v2's spelling."""
    model_ids: tuple[str, ...] = ()
    model_version: str | None = None
    triggers: tuple[str, ...] = ()
    older_than_s: float | None = None

    def parameters(self) -> dict[str, str]:
        """Return those of the list call, but for the model."""
        given = {
            "version": self.model_version or "",
            "status": ",".join(dict.fromkeys(map(spelled_in_v2, self.statuses))),
            "triggerTypes": ",".join(self.triggers),
        }
        return {name: value for name, value in given.items() if value}

    def why_not(self, each: Execution, now: datetime) -> str:
        """Return why an execution is left out, in a few words; empty if it is wanted.

        A server may not know a parameter: all that it was asked for is looked at again.
        """
        if each.instance_id is None:
            return "no valid instance ID"
        statuses = {spelled_in_v2(status) for status in self.statuses}
        status = None if each.status is None else spelled_in_v2(each.status)
        version = () if self.model_version is None else (self.model_version,)
        for name, value, wanted in (
            ("status", status, statuses),
            ("model ID", each.modelId, self.model_ids),
            ("model version", each.modelVersion, version),
            ("trigger", each.triggerType, self.triggers),
        ):
            if wanted and value not in wanted:
                return f"no {name}" if value is None else f"another {name}"
        if self.older_than_s is None:
            return ""
        started = parse_start(each.startedAt)
        if started is None:
            return "no readable start time"
        return "" if (now - started).total_seconds() >= self.older_than_s else "too young"


def spelled_in_v2(status: str) -> str:
    """Return a status in capitals and in v2's spelling."""
    status = status.upper()
    return "CANCELLED" if status == "CANCELED" else status


def parse_start(text: str | None) -> datetime | None:
    """Return the aware time of an ISO 8601 text, or of seconds or milliseconds since 1970.

    `None` for what is no time, or could be one in any time zone.
    """
    started = None if text is None else parse_time(text)
    return None if started is None or started.tzinfo is None else started
