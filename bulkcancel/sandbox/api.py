"""The calls of Domo's Workflow API as the sandbox answers them, without any socket."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from bulkcancel.ids import IdSet, pack, parse_instance_id
from bulkcancel.sandbox.rules import (
    Fate,
    execution,
    fate_of,
    instance_body,
    listed_ids,
    status_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_INSTANCES: Final = "/api/workflow/v1/instances/"
_EXECUTIONS: Final = "/api/workflow/v2/executions"
# The v2 list's parameters and the fields they filter.
_FILTERS: Final = {
    "modelId": "modelId",
    "version": "modelVersion",
    "status": "status",
    "triggerTypes": "triggerType",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the API, not yet on the wire."""

    status: int
    body: bytes
    content_type: str = "application/json"
    retry_after: str | None = None


def problem(status: int, message: str, retry_after: str | None = None) -> Answer:
    """Return an error answer in the form Domo's services give theirs."""
    reason = HTTPStatus(status).phrase
    body = {"status": status, "statusReason": reason, "message": message}
    return Answer(status, json.dumps(body).encode(), retry_after=retry_after)


def server_error(status: int) -> Answer:
    """Return what stands for it in the field: a gateway's HTML page, or the service's JSON."""
    if status in {502, 504}:
        title = f"{status} {HTTPStatus(status).phrase}"
        page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
        return Answer(status, page.encode(), "text/html")
    return problem(status, "the sandbox was asked to fail now and then")


class _Cancelled:
    """Which instances were cancelled here, and which of them have stopped since.

    Those still settling are held with their time, the settled ones in about 30 bytes an ID.
    """

    def __init__(self, settle_s: float, clock: Callable[[], float]) -> None:
        self._settle_s = settle_s
        self._clock = clock
        self._settling: set[bytes] = set()
        self._queue: deque[tuple[float, bytes]] = deque()
        self._settled = IdSet()

    def add(self, packed: bytes) -> None:
        """Cancel a running instance; once more makes no difference."""
        if packed not in self._settling and packed not in self._settled:
            self._settling.add(packed)
            self._queue.append((self._clock() + self._settle_s, packed))

    def has_stopped(self, packed: bytes) -> bool:
        now = self._clock()
        while self._queue and self._queue[0][0] <= now:
            done = self._queue.popleft()[1]
            self._settling.remove(done)
            self._settled.add(done)
        return packed in self._settled


class WorkflowApi:
    """The instances and what has become of them; `clock` counts seconds and times the settling."""

    def __init__(self, settle_s: float, clock: Callable[[], float]) -> None:
        self._cancelled = _Cancelled(settle_s, clock)
        self._listed = listed_ids()

    def answer(self, method: str, target: str) -> Answer:
        """Do what a request asks for; `target` is its path and query as on the wire."""
        path, _, query = target.partition("?")
        if path.startswith(_INSTANCES):
            name, _, call = path.removeprefix(_INSTANCES).partition("/")
            if (method, call) == ("POST", "cancel"):
                return self._instance(name, cancel=True)
            if (method, call) == ("GET", ""):
                return self._instance(name, cancel=False)
        elif method == "GET" and path == _EXECUTIONS:
            return self._list(query)
        elif method == "GET" and path.startswith(_EXECUTIONS + "/"):
            return self._execution(path.removeprefix(_EXECUTIONS + "/"))
        return problem(404, "the sandbox has no such call")

    def _instance(self, name: str, *, cancel: bool) -> Answer:
        instance_id = parse_instance_id(name)
        if instance_id is None:
            return problem(400, "the instance ID is not a UUID")
        fate = fate_of(instance_id)
        if fate is Fate.UNKNOWN:
            return problem(404, "there is no such workflow instance")
        if cancel and fate is Fate.FORBIDDEN:
            return problem(403, "this token's user may not edit this workflow's executions")
        status = self._status(instance_id)
        if cancel and fate is Fate.RUNNING:
            self._cancelled.add(pack(instance_id))
        return Answer(200, instance_body(instance_id, status))

    def _status(self, instance_id: str) -> str | None:
        if self._cancelled.has_stopped(pack(instance_id)):
            return "CANCELED"
        return status_of(instance_id)

    def _execution(self, name: str) -> Answer:
        instance_id = parse_instance_id(name)
        if instance_id is None:
            return problem(400, "the execution ID is not a UUID")
        if fate_of(instance_id) is Fate.UNKNOWN:
            return problem(404, "there is no such execution")
        return _json(execution(instance_id, self._status(instance_id)))

    def _list(self, query: str) -> Answer:
        wanted = {
            _FILTERS[name]: values[-1].split(",")
            for name, values in parse_qs(query).items()
            if name in _FILTERS
        }
        rows = [execution(each, self._status(each)) for each in self._listed]
        return _json([r for r in rows if all(r[k] in w for k, w in wanted.items())])


def _json(value: object) -> Answer:
    return Answer(200, json.dumps(value, ensure_ascii=False).encode())
