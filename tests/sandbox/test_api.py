"""What the sandbox answers to each call, in process: reading back, listing, calls it lacks."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bulkcancel.sandbox import SandboxOptions
from bulkcancel.sandbox.api import WorkflowApi
from bulkcancel.sandbox.executions import listed_ids
from bulkcancel.sandbox.rules import Fate, fate_of, never_settles

RUNNING = "2052e10a-d142-4391-a731-2be1ab1c0188"
NOT_STARTED = "205201aa-0142-4391-a731-2be1ab1c0188"
FAILED = "2052e10a-d142-4391-a731-2be1ab1c0fa1"
UNKNOWN = "2052e10a-d142-4391-a731-2be1ab1c0404"
INSTANCES = "/api/workflow/v1/instances/"
EXECUTIONS = "/api/workflow/v2/executions"
MODELS = "/api/workflow/v1/models"
STARTED_AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CANCELLED_AT_5_S = {"status": "CANCELLED", "finishedAt": "2026-03-01T12:00:05.000Z"}


class Box:
    """A sandbox without a socket, started at `STARTED_AT`; its clock moves when told."""

    def __init__(self, **options: Any) -> None:
        self.now_s = 1000.0
        self._api = WorkflowApi(SandboxOptions(**options), lambda: self.now_s, STARTED_AT)

    def get(self, target: str) -> tuple[int, Any]:
        return self._ask("GET", target)

    def cancel(self, instance_id: str) -> tuple[int, Any]:
        return self._ask("POST", f"{INSTANCES}{instance_id}/cancel")

    def statuses(self, instance_id: str) -> tuple[str | None, str]:
        """What v1 and v2 say of one."""
        return (
            self.get(INSTANCES + instance_id)[1]["status"],
            self.get(f"{EXECUTIONS}/{instance_id}")[1]["status"],
        )

    def listed(self, query: str = "") -> list[Any]:
        """The whole list, page by page of 100."""
        found: list[Any] = []
        for offset in range(0, 5000, 100):
            status, page = self.get(f"{EXECUTIONS}?{query}&limit=100&offset={offset}")
            assert status == 200
            found += page
            if len(page) < 100:
                break
        return found

    def _ask(self, method: str, target: str) -> tuple[int, Any]:
        answer = self._api.answer(method, target)
        return answer.status, json.loads(answer.body)


def running(count: int) -> list[str]:
    ids = [f"{place:08x}-d142-4391-a731-2be1ab1c0188" for place in range(16, count + 16)]
    assert {fate_of(each) for each in ids} == {Fate.RUNNING}
    return ids


def test_some_never_settle() -> None:
    """Cancelled twice and long ago, they still run; all others have stopped."""
    box = Box(never_settle=0.25, settle_s=1.0)
    ids = running(400)
    for _ in range(2):
        said = [box.cancel(each) for each in ids]
        assert {status for status, _ in said} == {200}
        assert {body["status"] for _, body in said} <= {"IN_PROGRESS", None}
    box.now_s += 1e6
    for each in ids:
        if never_settles(each, 0.25):
            assert box.statuses(each) in {("IN_PROGRESS", "IN_PROGRESS"), (None, "NOT_STARTED")}
        else:
            assert box.statuses(each) == ("CANCELED", "CANCELLED")


def test_which_never_settle_is_told_by_the_id_alone() -> None:
    """As many as the share says; a larger share only adds to a smaller one."""
    ids = running(2000)
    few, more = ({each for each in ids if never_settles(each, share)} for share in (0.1, 0.3))
    assert 150 <= len(few) <= 250
    assert 520 <= len(more) <= 680
    assert few < more
    assert not any(never_settles(each, 0.0) for each in ids)
    assert all(never_settles(each, 1.0) for each in ids)
    # By name, so that no later hash moves them: a rehearsal is repeated on another day.
    assert [place for place in range(40) if never_settles(ids[place], 0.1)] == [28, 32]


def test_without_a_share_all_settle() -> None:
    """The default is as before: who is cancelled stops."""
    box = Box(settle_s=1.0)
    ids = [*running(50), NOT_STARTED]
    for each in ids:
        box.cancel(each)
    box.now_s += 1
    assert {box.statuses(each) for each in ids} == {("CANCELED", "CANCELLED")}


def test_a_failed_one_says_so_when_it_is_read() -> None:
    """Its cancel answers a documented word, and changes nothing."""
    box = Box(settle_s=0.0)
    assert box.statuses(FAILED) == ("FAILED", "FAILED")
    assert box.cancel(FAILED)[1]["status"] == "IN_PROGRESS"
    assert box.statuses(FAILED) == ("FAILED", "FAILED")
    assert box.get(f"{EXECUTIONS}/{FAILED}")[1]["finishedAt"] is not None


@pytest.mark.parametrize(
    ("options", "missing", "there"),
    [
        (
            {"no_v2": True},
            [EXECUTIONS, f"{EXECUTIONS}/{RUNNING}"],
            [INSTANCES + RUNNING, MODELS],
        ),
        (
            {"no_readback": True},
            [INSTANCES + RUNNING, f"{EXECUTIONS}/{RUNNING}", INSTANCES + UNKNOWN],
            [EXECUTIONS, MODELS],
        ),
        ({}, ["/api/elsewhere"], [INSTANCES + RUNNING, EXECUTIONS, f"{EXECUTIONS}/{RUNNING}"]),
    ],
)
def test_calls_that_are_switched_off(
    options: dict[str, bool], missing: list[str], there: list[str]
) -> None:
    """They answer as a call that never was; the others and the cancel answer on."""
    box = Box(**options)
    unheard_of = box.get("/api/unheard-of")
    assert unheard_of[0] == 404
    assert {call: box.get(call) for call in missing} == dict.fromkeys(missing, unheard_of)
    assert {call: box.get(call)[0] for call in there} == dict.fromkeys(there, 200)
    assert box.cancel(RUNNING)[0] == 200


def test_the_list_is_paged() -> None:
    """By 50, or up to 100 as asked; page by page nobody twice and nobody left out."""
    box = Box(executions=230)
    whole = box.listed()
    ids = [each["id"] for each in whole]
    assert ids == list(listed_ids(230))
    assert len(set(ids)) == 230
    for query, place in (
        ("", slice(0, 50)),
        ("?limit=&offset=", slice(0, 50)),
        ("?offset=50", slice(50, 100)),
        ("?limit=7&offset=3", slice(3, 10)),
        ("?limit=500", slice(0, 100)),
        ("?limit=100&offset=200", slice(200, 230)),
        ("?offset=230", slice(0, 0)),
        ("?offset=999999999", slice(0, 0)),
    ):
        assert box.get(EXECUTIONS + query) == (200, whole[place]), query
    assert Box(executions=0).get(EXECUTIONS) == (200, [])


@pytest.mark.parametrize("call", [EXECUTIONS, MODELS])
@pytest.mark.parametrize(
    "query", ["limit=0", "limit=-1", "limit=ten", "offset=-1", "offset=1.5", "offset=%C2%B2"]
)
def test_a_bad_number_is_refused(call: str, query: str) -> None:
    """400 with an object that names the parameter."""
    status, body = Box().get(f"{call}?{query}")
    assert (status, body["status"]) == (400, 400)
    assert query.partition("=")[0] in body["message"]


def test_the_list_is_always_the_same() -> None:
    """So many as asked for, and those of a shorter list first."""
    assert Box(executions=120).listed() == Box(executions=120).listed()
    assert Box(executions=120).listed() == Box(executions=300).listed()[:120]
    assert len(Box().listed()) == 300


def test_most_of_the_list_is_stuck() -> None:
    """Every status of v2 is there, and every ID it holds exists."""
    whole = Box(executions=4000).listed()
    statuses = Counter(each["status"] for each in whole)
    assert set(statuses) == {"IN_PROGRESS", "NOT_STARTED", "COMPLETED", "CANCELLED", "FAILED"}
    assert statuses["IN_PROGRESS"] > 2600
    assert min(statuses.values()) > 80
    assert {fate_of(each["id"]) for each in whole} == set(Fate) - {Fate.UNKNOWN}


def test_listed_ages_count_from_the_start_of_the_sandbox() -> None:
    """From minutes to days, around six hours; who has not started has no time of it."""
    whole = Box(executions=1000).listed()
    assert all((each["startedAt"] is None) == (each["status"] == "NOT_STARTED") for each in whole)
    ages = [
        STARTED_AT - datetime.fromisoformat(each["startedAt"])
        for each in whole
        if each["status"] == "IN_PROGRESS"
    ]
    assert timedelta(minutes=7) < min(ages) < timedelta(minutes=30)
    assert timedelta(days=3) < max(ages) <= timedelta(days=5)
    assert 0.3 < sum(age > timedelta(hours=6) for age in ages) / len(ages) < 0.6
    ended = [each for each in whole if each["finishedAt"]]
    assert {each["status"] for each in ended} == {"COMPLETED", "CANCELLED", "FAILED"}
    assert all(each["startedAt"] < each["finishedAt"] for each in ended)
    assert all(datetime.fromisoformat(each["finishedAt"]) < STARTED_AT for each in ended)


def test_the_list_filters() -> None:
    """By model, version, status and trigger, each with one or several values, and together."""
    box = Box(executions=300)
    whole = box.listed()
    one = next(each for each in whole if each["status"] == "IN_PROGRESS")
    wanted = {
        "modelId": one["modelId"],
        "version": one["modelVersion"],
        "status": f"{one['status']},FAILED",
        "triggerTypes": one["triggerType"],
    }
    for name, value in wanted.items():
        assert one in _same_as_filtered(box, {name: value})
    assert one in _same_as_filtered(box, wanted)
    assert box.listed("status=NONE") == []
    assert box.get(f"{EXECUTIONS}/{one['id']}") == (200, one)


def _same_as_filtered(box: Box, wanted: dict[str, str]) -> list[Any]:
    """Return what is listed, seen to be the whole list less what was not asked for."""
    fields = {"version": "modelVersion", "triggerTypes": "triggerType"}
    whole = box.listed()
    some = box.listed("&".join(f"{name}={value}" for name, value in wanted.items()))
    assert some == [
        each
        for each in whole
        if all(each[fields.get(name, name)] in wanted[name].split(",") for name in wanted)
    ]
    assert 0 < len(some) < len(whole)
    return some


def test_who_is_cancelled_leaves_the_list_of_the_running() -> None:
    """Once it has settled, at the time it did; until then it is listed as before."""
    box = Box(executions=200, settle_s=5.0)
    before = box.listed("status=IN_PROGRESS")
    ids = [each["id"] for each in before if fate_of(each["id"]) is Fate.RUNNING]
    for each in ids[:20]:
        assert box.cancel(each)[0] == 200
    assert box.listed("status=IN_PROGRESS") == before
    box.now_s += 60
    after = box.listed("status=IN_PROGRESS")
    assert [each for each in before if each["id"] not in ids[:20]] == after
    stopped = {each["id"]: each for each in box.listed("status=CANCELLED")}
    for row in [each for each in before if each["id"] in ids[:20]]:
        assert stopped[row["id"]] == {**row, **CANCELLED_AT_5_S}
    assert box.get(f"{EXECUTIONS}/{ids[0]}") == (200, stopped[ids[0]])
    assert box.statuses(ids[0]) == ("CANCELED", "CANCELLED")


def test_an_execution_beyond_the_list_has_the_same_fields() -> None:
    """Any well-formed ID can be read as v2 has it, in any case of letters."""
    box = Box()
    status, one = box.get(f"{EXECUTIONS}/{RUNNING.upper()}")
    assert (status, one["id"], one["status"]) == (200, RUNNING, "IN_PROGRESS")
    assert RUNNING not in {each["id"] for each in box.listed()}
    assert list(one) == list(box.listed()[0])
    assert box.get(f"{EXECUTIONS}/{UNKNOWN}")[0] == 404
    assert box.get(f"{EXECUTIONS}/abc")[0] == 400


def test_a_list_that_needs_a_model() -> None:
    """Without one 400; over the listed models everything is found."""
    box = Box(list_needs_model=True)
    for query in ("", "?status=IN_PROGRESS", "?modelId="):
        status, body = box.get(EXECUTIONS + query)
        assert (status, body["status"]) == (400, 400)
        assert "modelId" in body["message"]
    found = [row for one in box.get(MODELS)[1] for row in box.listed(f"modelId={one['id']}")]
    assert sorted(row["id"] for row in found) == sorted(listed_ids(300))


def test_the_models_are_listed() -> None:
    """IDs and names as the executions say them, page by page."""
    box = Box()
    status, models = box.get(f"{MODELS}?limit=50")
    assert status == 200
    named = {(row["modelId"], row["modelName"]) for row in box.listed()}
    assert {(one["id"], one["name"]) for one in models} == named
    assert box.get(f"{MODELS}?limit=3&offset=2") == (200, models[2:5])
    assert box.get(f"{MODELS}?offset=50") == (200, [])
