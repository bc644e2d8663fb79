"""Answers that are not the API's own: no success, no final failure, and no reason to despair."""

from __future__ import annotations

import pytest

from bulkcancel.engine import limits
from bulkcancel.engine.engine import Policy
from bulkcancel.engine.limits import Limits
from bulkcancel.errors import StoppedError, TokenRefusedError
from bulkcancel.models import Outcome
from bulkcancel.pacing import breaker
from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.runs import make_ids
from tests.support.virtual_server import VirtualRun, VirtualServer

IDS = make_ids(400)
ID = IDS[0]
FAST = Policy(rate_per_s=100_000, concurrency=16)

STRANGERS = {
    "404 text": answers.not_found_page(),
    "404 html": answers.page(404),
    "404 list": answers.http(404, b"[]"),
    "404 nothing": answers.http(404),
    "410": answers.page(410),
    "403": answers.page(403),
    "407": answers.page(407),
    "407 json": answers.problem(407),
    "400": answers.page(400),
    "422": answers.http(422, b'"unprocessable"'),
    "501": answers.page(501),
    "302": answers.redirect(302, "http://127.0.0.1:9/login"),
    "304": answers.http(304),
    "200 html": answers.page(),
    "200 error": answers.http(200, b'{"status": "error"}'),
    "200 no success": answers.http(200, b'{"id": null, "success": false}'),
    "200 no id": answers.http(200, b'{"modelName": "x"}'),
    "200 other": answers.ok(IDS[-1]),
    "204": answers.http(204),
}


def _run(server: VirtualServer, ids: list[str], policy: Policy = FAST) -> VirtualRun:
    return server.run(ids, policy)


@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS)
def test_a_strangers_answer_is_trouble_on_the_way(stranger: Answer) -> None:
    """One that passes costs an attempt; one that stays fails its ID, to be sent again some day."""
    passing, staying = IDS[1:3]

    def plan(instance_id: str, nth: int) -> Answer:
        trouble = instance_id == staying or (instance_id == passing and nth == 1)
        return stranger if trouble else answers.ok(instance_id)

    server = VirtualServer(plan)
    run = _run(server, IDS[:4], Policy(rate_per_s=1000, concurrency=1))
    assert run.of(passing).outcome is Outcome.ACCEPTED
    assert run.of(passing).attempts == 2
    failed = run.of(staying)
    assert failed.outcome is Outcome.FAILED
    assert failed.attempts == server.times_seen[staying] == 5
    assert (failed.status, failed.model_name) == (None, None)
    assert failed.error.split(":")[0] in {"bad_response", "unexpected_redirect"}
    assert f"HTTP {failed.http_status}" in failed.error


def test_an_answer_about_another_instance_says_so() -> None:
    """A cache that mixes runs up is found out from the error alone."""
    server = VirtualServer(lambda i, _n: answers.ok(IDS[-1] if i == ID else i))
    error = _run(server, IDS[:20], Policy(rate_per_s=1000, concurrency=1)).of(ID).error
    assert error.startswith("bad_response: HTTP 200: an answer about another instance, ")
    assert IDS[-1] in error


@pytest.mark.parametrize("status", [404, 403])
def test_a_proxy_that_redeploys_fails_nobody(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows no such page for a while in mid-run: the breaker waits, all IDs are cancelled."""
    monkeypatch.setattr(breaker, "_FIRST_WAIT_S", 0.1)
    state = {"left": 40}

    def plan(instance_id: str, _nth: int) -> Answer:
        if len(server.requests) > 100 and state["left"]:
            state["left"] -= 1
            return answers.page(status)
        return answers.ok(instance_id)

    server = VirtualServer(plan)
    run = _run(server, IDS)
    assert run.outcomes() == {Outcome.ACCEPTED: len(IDS)}
    assert run.observed.breaker == [True, False]


def test_nothing_but_strangers_from_the_start_stops_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The base URL is wrong or something is in the way: no ID is failed for it."""
    monkeypatch.setattr(limits, "_STRANGERS_FROM_START_S", 0.4)
    monkeypatch.setattr(breaker, "_FIRST_WAIT_S", 0.1)
    kinds = [answers.page(404), answers.page(), answers.page(407), answers.http(200, b"{}")]
    server = VirtualServer(lambda _i, _n: kinds[len(server.requests) % len(kinds)])
    run = _run(server, IDS)
    assert isinstance(run.stop.reason, StoppedError)
    assert "has not answered once as Domo's Workflow API does" in str(run.stop.reason)
    assert run.results == []
    assert run.stats.unanswered > 0


@pytest.mark.parametrize("word", [answers.problem(404), answers.problem(503), answers.ok(ID)])
def test_one_word_of_the_api_shows_that_it_is_there(
    word: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it the same answers are an outage, with all its patience."""
    monkeypatch.setattr(limits, "_STRANGERS_FROM_START_S", 0.3)
    monkeypatch.setattr(breaker, "_FIRST_WAIT_S", 0.1)
    server = VirtualServer(lambda i, n: word if i == ID and n == 1 else answers.page(404))
    policy = Policy(rate_per_s=200, concurrency=1, limits=Limits(max_outage_s=1))
    run = _run(server, IDS[:60], policy)
    assert isinstance(run.stop.reason, StoppedError)
    assert "an outage of 1 s" in str(run.stop.reason)


# ------------------------------------------------------------------ 401 in the middle


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_passing_401_is_survived(concurrency: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the sending, a probe shows that the token is fine, and no ID fails."""
    monkeypatch.setattr(breaker, "_FIRST_WAIT_S", 0.1)
    server = VirtualServer(
        lambda i, _n: answers.problem(401) if len(server.requests) == 100 else answers.ok(i)
    )
    run = _run(server, IDS, Policy(rate_per_s=100_000, concurrency=concurrency))
    assert run.stop.reason is None
    assert run.outcomes() == {Outcome.ACCEPTED: len(IDS)}
    assert len(server.requests) == len(IDS) + 1
    assert run.observed.breaker == [True, False]


@pytest.mark.parametrize("late_s", [0.4, 1.6])
def test_a_401_to_a_request_that_was_out_already_does_not_count(late_s: float) -> None:
    """Late ones end neither the run during the hold nor hold it again after it."""
    first, late = IDS[3:5]

    def plan(instance_id: str, nth: int) -> Answer:
        if nth == 1 and instance_id in {first, late}:
            delay_s = 0.1 if instance_id == first else late_s
            return Answer(answers.problem(401).data, delay_s=delay_s)
        return answers.ok(instance_id)

    server = VirtualServer(plan)
    run = _run(server, IDS[:16], Policy(rate_per_s=400, concurrency=4))
    assert run.stop.reason is None
    assert run.outcomes() == {Outcome.ACCEPTED: 16}
    assert run.observed.breaker == [True, False]


def test_an_outage_that_turns_into_a_refused_token_takes_one_more_probe() -> None:
    """The probe of an outage that is answered 401 proves nothing yet; the next one does."""
    server = VirtualServer(
        lambda i, _n: (
            answers.ok(i)
            if len(server.requests) <= 20
            else answers.problem(503 if len(server.requests) <= 40 else 401)
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(breaker, "_FIRST_WAIT_S", 0.05)
        patch.setattr(breaker, "_LONGEST_WAIT_S", 0.05)
        run = _run(server, IDS, Policy(rate_per_s=100_000, concurrency=4))
    assert isinstance(run.stop.reason, TokenRefusedError)
    assert len(server.requests) == 42


def test_an_id_that_is_always_refused_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the token serves all others, a 401 for one ID is that ID's trouble."""
    monkeypatch.setattr(breaker, "_FIRST_WAIT_S", 0.02)
    server = VirtualServer(
        lambda i, _n: answers.problem(401, "no such user") if i == ID else answers.ok(i)
    )
    run = _run(server, [*IDS[1:50], ID, *IDS[50:]], Policy(rate_per_s=2000, concurrency=2))
    assert run.stop.reason is None
    assert run.of(ID).outcome is Outcome.FAILED
    assert run.of(ID).error == "unauthorized: HTTP 401: no such user"
    assert server.times_seen[ID] == 5


def test_a_401_as_the_first_word_stops_at_once() -> None:
    """Nothing has shown that the token is good: there is nothing to ask again."""
    server = VirtualServer(lambda _i, _n: answers.problem(401))
    run = _run(server, IDS, Policy(rate_per_s=1000, concurrency=1))
    assert isinstance(run.stop.reason, TokenRefusedError)
    assert len(server.requests) == 1
    assert [r.error for r in run.results] == ["unauthorized: HTTP 401: no"]
    assert run.observed.breaker == []


def test_a_refusal_that_was_not_the_last_word_fails_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 401, then an outage until the run stops: that ID has attempts left, and no row."""
    monkeypatch.setattr(breaker, "_FIRST_WAIT_S", 0.05)

    def plan(instance_id: str, nth: int) -> Answer:
        if instance_id == ID:
            return answers.problem(401 if nth == 1 else 503)
        return answers.ok(instance_id) if len(server.requests) < 30 else answers.problem(503)

    server = VirtualServer(plan)
    policy = Policy(
        rate_per_s=200, concurrency=2, attempts=50, limits=Limits(max_outage_s=90), grace_s=1
    )
    run = _run(server, [*IDS[1:20], ID, *IDS[20:29]], policy)
    assert isinstance(run.stop.reason, StoppedError)
    assert server.times_seen[ID] > 1
    assert ID not in {result.instance_id for result in run.results}
    assert run.stats.unanswered > 0
