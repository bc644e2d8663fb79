"""What the sandbox says of an instance, read from nothing but the text of its ID."""

from __future__ import annotations

import enum
import hashlib
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Final


class Fate(enum.Enum):
    """What the instance of an ID is like in the sandbox."""

    RUNNING = "running"
    COMPLETED = "completed"
    CANCELED = "canceled"
    FAILED = "failed"
    UNKNOWN = "unknown"
    FORBIDDEN = "forbidden"


_FATES: Final = {
    "d0e": Fate.COMPLETED,
    "ca0": Fate.CANCELED,
    "fa1": Fate.FAILED,
    "404": Fate.UNKNOWN,
    "403": Fate.FORBIDDEN,
}

RULES: Final = """\
Every well-formed instance ID exists and is running, except by its last three digits:
  ...d0e  it has completed by itself        200, COMPLETED
  ...ca0  it was cancelled before           200, CANCELED
  ...fa1  it failed; only reading says so   200, IN_PROGRESS
  ...404  there is no such instance         404
  ...403  this token may not cancel it      403"""
"""The rule for `sandbox --help` and the README; one random UUID in a thousand falls under it."""

_MODELS: Final = (
    ("Invoice Approval", "7d0a4b2e-61f3-4c58-9e27-0b8f3a5c91d4"),
    ("New Hire Onboarding", "c1f5e3a8-2b94-4d07-8a6e-5f92d7b0346c"),
    ("Vendor Risk Review", "3e86d1c9-f05a-47b2-b6d8-94a1c72e5f03"),
    ("Dataset Refresh Alert", "90b2f7d6-8c4e-4a19-a3f5-e7d068b1c25a"),
    ("Purchase Request", "5af91e04-d7b8-4362-9c0d-28e6b4f7a1d9"),
    ("Quote to Cash", "e4c03d7b-15a6-4f8e-8d92-b3f6a0587c1e"),
    ("Réclamation client", "1b7e95f2-a3d0-4c64-b958-6d0c2e8f4a37"),
    ("Monthly Close Checklist", "a8afdc89-9491-4ee4-b7c3-b9e9b86c0138"),
)
_VERSIONS: Final = ("1.0.0", "1.1.0", "1.4.2", "2.0.1")
_TRIGGERS: Final = ("API", "MANUAL", "SCHEDULED", "ALERT")
_FIRST_START: Final = datetime(2026, 1, 12, 6, 0, tzinfo=UTC)
RUN_TIME: Final = timedelta(minutes=7)
"""How long those ran that have ended by themselves or were cancelled before."""
_SPELLED_IN_V2: Final = {None: "NOT_STARTED", "CANCELED": "CANCELLED"}


def fate_of(instance_id: str) -> Fate:
    """Return that of a lower-case ID: its last three digits decide."""
    return _FATES.get(instance_id[-3:], Fate.RUNNING)


def status_of(instance_id: str) -> str | None:
    """Return the status, in v1's spelling, that is read of an ID nobody has cancelled here.

    One running instance in sixteen has not reported back as started: its status is `None`.
    """
    fate = fate_of(instance_id)
    if fate is Fate.COMPLETED:
        return "COMPLETED"
    if fate is Fate.CANCELED:
        return "CANCELED"
    if fate is Fate.FAILED:
        return "FAILED"
    return None if instance_id[4] == "0" else "IN_PROGRESS"


def never_settles(instance_id: str, share: float) -> bool:
    """Return whether a cancel never stops this running instance, as `share` (0 to 1) of all.

    The ID alone decides, by SHA-256, and whoever is in a share is in every larger one. A part of
    the hash that `--shard` does not use: each shard meets its share of them.
    """
    digest = hashlib.sha256(instance_id.encode()).digest()
    return int.from_bytes(digest[8:16], "big") < share * 2**64


def timestamp(moment: datetime) -> str:
    """Return a UTC moment as the API writes it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _model_of(instance_id: str) -> int:
    """Return the place of its model in the catalogue."""
    return int(instance_id[0], 16) % len(_MODELS)


def _version_of(instance_id: str) -> str:
    return _VERSIONS[int(instance_id[1], 16) % len(_VERSIONS)]


def _fragments() -> tuple[str, ...]:
    """Return all of a v1 object but `id`, `modelVersion` and `status`, ready for each model."""
    fragments = []
    for place, (name, model_id) in enumerate(_MODELS):
        created = timestamp(_FIRST_START - timedelta(days=place))
        rest = {
            "modelId": model_id,
            "modelName": name,
            "createdBy": "8811501",
            "createdOn": created,
            "updatedBy": "8811501",
            "updatedOn": created,
            "deploymentId": str(uuid.UUID(int=uuid.UUID(model_id).int ^ 0xD)),
            "bpmnProcessId": f"Process_{model_id[:8]}",
            "bpmnProcessName": name,
            "isTestRun": False,
        }
        fragments.append(json.dumps(rest, ensure_ascii=False)[1:])
    return tuple(fragments)


_FRAGMENTS: Final = _fragments()


def instance_body(instance_id: str, status: str | None) -> bytes:
    """Return the documented v1 object, serialised; no JSON encoder runs for a request."""
    said = "null" if status is None else f'"{status}"'
    version, fragment = _version_of(instance_id), _FRAGMENTS[_model_of(instance_id)]
    return (
        f'{{"id": "{instance_id}", "modelVersion": "{version}", "status": {said}, {fragment}'
    ).encode()


def execution(
    instance_id: str, status: str | None, started: datetime | None = None
) -> dict[str, str | None]:
    """Return the v2 object of an ID whose v1 status is `status`, in v2's spelling.

    `started` is when it was started, if the ID is not to say that as well.
    """
    name, model_id = _MODELS[_model_of(instance_id)]
    if started is None:
        started = _FIRST_START + timedelta(seconds=int(instance_id[9:13], 16) * 11)
    ended = status in {"COMPLETED", "CANCELED", "FAILED"}
    return {
        "id": instance_id,
        "modelId": model_id,
        "modelName": name,
        "modelVersion": _version_of(instance_id),
        "status": _SPELLED_IN_V2.get(status, status),
        "startedAt": timestamp(started) if status else None,
        "finishedAt": timestamp(started + RUN_TIME) if ended else None,
        "triggerType": _TRIGGERS[int(instance_id[2], 16) % len(_TRIGGERS)],
    }


def models() -> list[dict[str, str]]:
    """Return the workflows as the list of models names them."""
    return [{"id": model_id, "name": name} for name, model_id in _MODELS]
