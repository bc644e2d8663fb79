"""The calls of Domo's Workflow API as the sandbox answers them, without any socket."""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from bulkcancel.ids import IdSet, pack, parse_instance_id
from bulkcancel.sandbox.executions import Executions
from bulkcancel.sandbox.rules import (
    Fate,
    execution,
    fate_of,
    instance_body,
    models,
    never_settles,
    status_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bulkcancel.sandbox.options import Options

_INSTANCES: Final = "/api/workflow/v1/instances/"
_MODELS: Final = "/api/workflow/v1/models"
_EXECUTIONS: Final = "/api/workflow/v2/executions"
# The v2 list's parameters and the fields they filter.
_FILTERS: Final = {
    "modelId": "modelId",
    "version": "modelVersion",
    "status": "status",
    "triggerTypes": "triggerType",
}
_PAGE: Final = 50
_LONGEST_PAGE: Final = 100
_whole_number = re.compile("[0-9]{1,9}").fullmatch


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

    def settle(self) -> Iterator[tuple[float, bytes]]:
        """Stop those whose time has come; yield the time, by the clock, and the ID of each."""
        now = self._clock()
        while self._queue and self._queue[0][0] <= now:
            at, done = self._queue.popleft()
            self._settling.remove(done)
            self._settled.add(done)
            yield at, done

    def has_stopped(self, packed: bytes) -> bool:
        """Return whether it had stopped when `settle` was last called."""
        return packed in self._settled


class WorkflowApi:
    """The instances and what has become of them.

    `clock` counts seconds and times the settling; `started_at` is the time (UTC) at which it
    stands now: the ages of the listed executions count from there.
    """

    def __init__(self, options: Options, clock: Callable[[], float], started_at: datetime) -> None:
        self._options = options
        self._cancelled = _Cancelled(options.settle_s, clock)
        self._executions = Executions(options.executions, started_at)
        self._clock_zero = started_at - timedelta(seconds=clock())

    def answer(self, method: str, target: str) -> Answer:
        """Do what a request asks for; `target` is its path and query as on the wire."""
        for at, packed in self._cancelled.settle():
            self._executions.stop(packed, self._clock_zero + timedelta(seconds=at))
        path, _, query = target.partition("?")
        if path.startswith(_INSTANCES):
            name, _, call = path.removeprefix(_INSTANCES).partition("/")
            if (method, call) == ("POST", "cancel"):
                return self._instance(name, cancel=True)
            if (method, call) == ("GET", "") and not self._options.no_readback:
                return self._instance(name, cancel=False)
        elif method == "GET" and path == _MODELS:
            return _models(query)
        elif method == "GET" and path.startswith(_EXECUTIONS) and not self._options.no_v2:
            return self._v2(path, query)
        return _no_such_call()

    def _v2(self, path: str, query: str) -> Answer:
        if path == _EXECUTIONS:
            return self._list(query)
        if path.startswith(_EXECUTIONS + "/") and not self._options.no_readback:
            return self._execution(path.removeprefix(_EXECUTIONS + "/"))
        return _no_such_call()

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
        if cancel and fate is Fate.FAILED:
            status = "IN_PROGRESS"  # no word of a cancel's documented answer says that it failed
        if cancel and fate is Fate.RUNNING:
            self._request_stop(instance_id)
        return Answer(200, instance_body(instance_id, status))

    def _request_stop(self, instance_id: str) -> None:
        share = self._options.never_settle
        if not (share and never_settles(instance_id, share)):
            self._cancelled.add(pack(instance_id))

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
        listed = self._executions.get(pack(instance_id))
        return _json(listed or execution(instance_id, self._status(instance_id)))

    def _list(self, query: str) -> Answer:
        asked = parse_qs(query)
        if self._options.list_needs_model and "modelId" not in asked:
            return problem(400, "modelId is required")
        try:
            page = _page(asked)
        except ValueError as error:
            return problem(400, str(error))
        wanted = {
            field: frozenset(asked[name][-1].split(","))
            for name, field in _FILTERS.items()
            if name in asked
        }
        return _json(self._executions.page(wanted, page))


def _models(query: str) -> Answer:
    try:
        return _json(models()[_page(parse_qs(query))])
    except ValueError as error:
        return problem(400, str(error))


def _page(asked: dict[str, list[str]]) -> slice:
    """Return which part of a list is asked for; raises `ValueError` for what is no number.

    A larger limit than the longest page is no mistake: fewer come than were asked for.
    """
    numbers = {"limit": _PAGE, "offset": 0}
    for name in numbers:
        for text in asked.get(name, ())[-1:]:
            if not _whole_number(text):
                raise ValueError(f"{name} must be a whole number")
            numbers[name] = int(text)
    if not numbers["limit"]:
        raise ValueError("limit must be at least 1")
    start = numbers["offset"]
    return slice(start, start + min(numbers["limit"], _LONGEST_PAGE))


def _no_such_call() -> Answer:
    return problem(404, "the sandbox has no such call")


def _json(value: object) -> Answer:
    return Answer(200, json.dumps(value, ensure_ascii=False).encode())
