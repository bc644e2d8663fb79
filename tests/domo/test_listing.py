"""Lists of executions in every form, from hostile servers, and while they change; no sockets."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from bulkcancel.domo.client import EXECUTIONS, MODELS
from bulkcancel.domo.executions import Wanted, execution_of, parse_start
from bulkcancel.domo.listing import Listing
from bulkcancel.domo.reads import ForbiddenReadError, RejectedReadError
from bulkcancel.errors import StoppedError
from bulkcancel.http import Reply

BASE_URL = "https://acme.domo.com"
ALL = Wanted()
NOW = "Sun, 29 Nov 2026 12:00:00 GMT"
Query = dict[str, str]


def _ids(count: int, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(count)]


def _rows(ids: list[str], **fields: object) -> list[dict[str, object]]:
    return [{"id": each, "status": "IN_PROGRESS", **fields} for each in ids]


def _cut(rows: list[dict[str, object]], query: Query, most: int = 1000) -> list[dict[str, object]]:
    """The page that an honest server gives."""
    offset = int(query.get("offset", "0"))
    return rows[offset : offset + min(int(query["limit"]), most)]


class Server:
    """Answers each query by a function; remembers them."""

    def __init__(
        self, answer: Callable[[Query], object], headers: Mapping[str, str] | None = None
    ) -> None:
        self.answer = answer
        self.headers = {"Date": NOW} if headers is None else headers
        self.asked: list[tuple[str, Query]] = []
        self.notes: list[str] = []
        self.listing: Listing

    async def get(self, target: str) -> Reply:
        url = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        self.asked.append((url.path, query))
        body = self.answer(query)
        if isinstance(body, tuple):
            body, headers = body
            return 200, {**self.headers, **headers}, json.dumps(body).encode(), 0.0
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return 200, self.headers, data, 0.0

    def found(self, wanted: Wanted = ALL, base_url: str = BASE_URL, **more: Any) -> list[str]:
        """List to the end; return the instance IDs in order."""

        async def work() -> list[str]:
            self.listing = Listing(
                self.get, wanted, base_url=base_url, note=self.notes.append,
                not_a_list=lambda _: StoppedError("no list"), **more,
            )  # fmt: skip
            rows = [row async for page in self.listing.pages() for row in page]
            return [str(row.instance_id) for row in rows]

        return asyncio.run(work())

    @property
    def queries(self) -> list[Query]:
        return [query for _, query in self.asked]


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda rows: rows,
        lambda rows: {"executions": rows, "total": 7},
        lambda rows: {"items": rows, "labels": ["a"], "errors": [{"code": 1}], "n": [1]},
        lambda rows: {"items": rows, "others": []},
        lambda rows: {"data": {"content": rows, "page": 0}},
        lambda rows: b"\xef\xbb\xbf" + json.dumps(rows).encode(),
    ],
)
@pytest.mark.parametrize("count", [0, 1, 250])
def test_the_list_is_found_in_its_envelope(wrapped: Callable[[Any], object], count: int) -> None:
    """Bare, in an object, one level further in: the one list of objects, and none but that."""
    ids = _ids(count)
    server = Server(lambda query: wrapped(_cut(_rows(ids), query)))
    assert server.found() == ids
    assert server.notes == []


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Sign in</html>", b"", b"null", b"7", b'"x"', b"{}", b'{"status": "error"}',
        b'[{"id": 1}, 7]', b'["a"]', b'{"a": [{"x": 1}], "b": [{"y": 1}]}', b'{"errors": []}',
        b"[" * 100_000, b'[{"id": ' + b"9" * 5000 + b"}]", b'{"a": [1, 2]}', b'[{"id": "x"]',
        b'[{"a": ' + b"[" * 900 + b"]" * 900,
    ],
)  # fmt: skip
def test_what_is_no_list_ends_it(body: bytes) -> None:
    """An error object, a page of HTML, two lists: none of them is taken for an empty list."""
    with pytest.raises(StoppedError, match="no list"):
        Server(lambda _: body).found()


def test_pages_by_offset_overlap_and_end_with_the_list() -> None:
    """Each page begins with the last item of the one before; one more says that it has ended."""
    ids = _ids(25)
    server = Server(lambda query: _cut(_rows(ids), query))
    assert server.found(page_size=10) == ids
    assert [query["offset"] for query in server.queries] == ["0", "9", "18", "24"]
    assert {path for path, _ in server.asked} == {EXECUTIONS}


def test_a_server_that_gives_less_than_was_asked_for_is_read_to_the_end() -> None:
    """Its own most is seven a page."""
    ids = _ids(40)
    server = Server(lambda query: _cut(_rows(ids), query, most=7))
    assert server.found(page_size=10) == ids
    assert server.notes == []


@pytest.mark.parametrize(
    ("key", "parameter"),
    [
        ("nextToken", "nextToken"), ("nextPageToken", "pageToken"), ("nextCursor", "cursor"),
        ("cursor", "cursor"), ("next", "next"), ("next_cursor", "cursor"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("further_in", [False, True])
def test_a_token_in_the_body_leads_on(key: str, parameter: str, further_in: bool) -> None:
    """It comes back under the parameter that takes it, percent-encoded, with the filters."""
    ids = _ids(25)

    def answer(query: Query) -> object:
        at = int(query.get(parameter, "+&=0").partition("=")[2])
        token = f"+&={at + 10}" if at + 10 < len(ids) else None
        token = f"/{token}" if token and key != "next" else token
        rows = _rows(ids[at : at + 10], modelId="m&1")
        return {"items": rows, **({"paging": {key: token}} if further_in else {key: token})}

    server = Server(answer)
    assert server.found(Wanted(model_ids=("m&1",))) == ids
    assert {query["modelId"] for query in server.queries} == {"m&1"}
    assert "offset" not in server.queries[1]
    assert server.notes == []


@pytest.mark.parametrize("base_url", [BASE_URL, "https://gateway.example:8443/domo/"])
@pytest.mark.parametrize(
    "shape",
    [
        "{path}?at={at}&limit=10",
        "?at={at}&limit=10",
        "{base}{path}?limit=10&at={at}",
    ],
)
@pytest.mark.parametrize("place", ["body", "links", "header"])
def test_an_address_of_the_next_page_leads_on(base_url: str, shape: str, place: str) -> None:
    """In the body or a `Link` header, whole or in part, of the same call of the same server."""
    ids = _ids(25)
    base = base_url.rstrip("/")

    def answer(query: Query) -> object:
        at = int(query.get("at", "0"))
        rows = _rows(ids[at : at + 10])
        path = urlsplit(base).path + EXECUTIONS
        host = base.removesuffix(urlsplit(base).path)
        address = shape.format(base=host, path=path, at=at + 10)
        if at + 10 >= len(ids):
            return {"items": rows}
        if place == "header":
            link = f'<https://acme.domo.com/>; rel="first", <{address}>; title="a, b"; rel="next x"'
            return {"items": rows}, {"Link": link}
        linked = {"next": address} if place == "body" else {"_links": {"next": {"href": address}}}
        return {"items": rows, **linked}

    server = Server(answer)
    assert server.found(base_url=base_url) == ids
    assert {path for path, _ in server.asked} == {EXECUTIONS}
    assert server.notes == []


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/api/workflow/v2/executions?at=1",
        "//evil.example/api/workflow/v2/executions?at=1",
        "http://acme.domo.com/api/workflow/v2/executions?at=1",
        "https://acme.domo.com:444/api/workflow/v2/executions?at=1",
        "https://acme.domo.com@evil.example/api/workflow/v2/executions?at=1",
        "https://acme.domo.com/api/workflow/v2/executions/../../v1/users?at=1",
        "/api/workflow/v2/executions/%2e%2e/x?at=1",
        "/api/data/v1/users?at=1",
        "https://[bad/x",
        "https://acme.domo.com:bad/api/workflow/v2/executions",
    ],
)
def test_no_address_leads_elsewhere(address: str) -> None:
    """Another host, port, scheme or call is never asked; the pages go on by offset."""
    ids = _ids(150)
    server = Server(lambda query: {"items": _cut(_rows(ids), query), "next": address})
    assert server.found() == ids
    assert {path for path, _ in server.asked} == {EXECUTIONS}
    assert all("at" not in query for query in server.queries)
    assert server.notes == ["the server names a next page in another place, which is not asked"]


def test_what_a_server_puts_into_an_address_or_a_token_stays_in_the_query() -> None:
    """Line ends, spaces and half characters cannot make another request of it."""
    targets: list[str] = []

    async def get(target: str) -> Reply:
        targets.append(target)
        token = ["?a=b c\r\nX: y\u2028#f", "\ud800 \r\n&x"][len(targets) - 1 :][:1]
        rows = _rows(_ids(2, len(targets))) if token else []
        body = {"items": rows, "next": token[0] if token else None}
        return 200, {}, json.dumps(body).encode(), 0.0

    async def work() -> None:
        listing = Listing(
            get, ALL, base_url=BASE_URL, note=lambda _: None, not_a_list=lambda _: StoppedError("")
        )
        async for _ in listing.pages():
            pass

    asyncio.run(work())
    assert len(targets) > 2
    assert all(each.isascii() and each.isprintable() and " " not in each for each in targets)
    assert all("#" not in each for each in targets)


def test_an_offset_that_the_server_names_is_asked_with_an_overlap() -> None:
    """A link that only adds the page's length would skip what moves up."""
    ids = _ids(25)

    def answer(query: Query) -> object:
        rows = _cut(_rows(ids), query)
        at = int(query["offset"]) + len(rows)
        return {"items": rows, "next": f"{EXECUTIONS}?limit=10&offset={at}"}

    server = Server(answer)
    assert server.found(page_size=10) == ids
    assert [query["offset"] for query in server.queries] == ["0", "9", "18", "24"]


@pytest.mark.parametrize(
    ("count", "doubtful"), [(300, True), (100, True), (50, True), (37, False), (2, False)]
)
def test_a_server_that_does_not_page_is_told_of(count: int, doubtful: bool) -> None:
    """The same page again and again ends the list; if it looks cut, there may be more."""
    ids = _ids(count)
    server = Server(lambda _: _rows(ids))
    assert server.found() == ids
    assert len(server.asked) < 10
    assert [("may be longer" in note) for note in server.notes] == [True] * doubtful


def test_a_token_that_leads_in_a_circle_ends() -> None:
    """Each page names the other one as its next."""
    ids = _ids(20)
    pages = {"a": _rows(ids[:10]), "b": _rows(ids[10:])}

    def answer(query: Query) -> object:
        here = query.get("cursor", "a")
        return {"items": pages[here], "nextCursor": "b" if here == "a" else "a"}

    server = Server(answer)
    assert server.found() == ids
    assert "may be longer" in server.notes[0]


def test_empty_pages_on_the_way_do_not_end_a_list_with_tokens() -> None:
    """A server that filters after it has cut its pages has some."""
    ids = _ids(2)
    parts = [_rows(ids[:1]), [], _rows(ids[1:])]

    def answer(query: Query) -> object:
        at = int(query.get("cursor", "0"))
        return {"items": parts[at], "cursor": at + 1 if at < 2 else ""}

    server = Server(answer)
    assert server.found() == ids
    assert server.notes == []


@pytest.mark.parametrize("with_tokens", [False, True])
def test_a_list_without_an_end_is_ended(with_tokens: bool) -> None:
    """Always new IDs: after so many pages a sentence says so; what came before was told."""
    made = iter(range(10**9))

    def answer(_: Query) -> object:
        at = next(made)
        return {"items": _rows(_ids(5, at)), "cursor": at if with_tokens else None}

    server = Server(answer)
    with pytest.raises(StoppedError, match="the list does not end: 200 pages"):
        server.found(most_pages=200)
    assert len(server.asked) == 200


class Changing:
    """A list from which items go, and to whose front others come, between any two requests."""

    def __init__(self, rng: random.Random, *, most: int, way: str) -> None:
        self.rng, self.most, self.way = rng, most, way
        self.fresh = iter(_ids(400, rng.randrange(10**9)))
        self.now = [next(self.fresh) for _ in range(rng.randrange(1, 120))]
        self.stayed = set(self.now)
        self.given: set[str] = set()
        self.busy = rng.choice([0.1, 0.5, 1.0])

    def answer(self, query: Query) -> object:
        page = _cut(_rows(self.now), query, self.most)
        self.given.update(str(row["id"]) for row in page)
        if self.rng.random() < self.busy:
            self.change()
        return page

    def change(self) -> None:
        rng = self.rng
        gone = rng.sample(self.now, min(len(self.now), rng.randrange(self.most)))
        if self.way == "as run does":  # what was given first is cancelled first
            gone = [each for each in self.now if each in self.given][: rng.randrange(self.most)]
        if self.way == "all at once" and rng.random() < 0.2:
            gone = self.now[: rng.randrange(len(self.now) + 1)]
        self.now = [each for each in self.now if each not in gone]
        self.stayed -= set(gone)
        if rng.random() < 0.3:
            self.now[:0] = [next(self.fresh) for _ in range(rng.randrange(3))]


@pytest.mark.parametrize("way", ["anywhere", "as run does", "all at once"])
def test_what_stays_in_a_changing_list_is_never_missed(way: str) -> None:
    """Whatever goes and comes between the pages, each that is there throughout is told once."""
    plain_offsets_miss = 0
    for seed in range(40):
        changing = Changing(random.Random(seed), most=5 + seed % 8, way=way)
        server = Server(changing.answer)
        found = server.found(page_size=5 + seed % 8)
        assert not changing.stayed - set(found), seed
        assert len(found) == len(set(found)), seed
        naive = Changing(random.Random(seed), most=5 + seed % 8, way=way)
        told: set[str] = set()
        while page := naive.answer({"limit": "100", "offset": str(len(told))}):
            told.update(str(row["id"]) for row in page)  # type: ignore[attr-defined]
        plain_offsets_miss += bool(naive.stayed - told)
    assert plain_offsets_miss > 5  # else nothing that matters has changed


def test_a_list_that_moved_is_read_again() -> None:
    """What comes into the middle meanwhile is found by another pass."""
    ids = _ids(41)
    late = ids.pop()

    def answer(query: Query) -> object:
        page = _cut(_rows(ids), query)
        if len(server.asked) == 3:
            del ids[0]
            ids.insert(5, late)
            del ids[1]
        return page

    server = Server(answer)
    assert late in server.found(page_size=10)
    assert sum(query["offset"] == "0" for query in server.queries) > 1


def test_a_list_with_tokens_is_read_again_as_it_may_have_moved() -> None:
    """A token may stand for a place, and what moved up past it is found from the start."""
    ids = _ids(25)
    stayed = ids[10:]

    def answer(query: Query) -> object:
        at = int(query.get("cursor", "0"))
        rows = _rows(ids[at : at + 10])
        if len(server.asked) == 1:
            del ids[:10]
        return {"items": rows, "cursor": at + 10 if rows else None}

    server = Server(answer)
    assert set(server.found()) >= set(stayed)


def test_a_list_that_never_rests_is_told_of() -> None:
    """It is not read for ever: after some passes a note says that it kept changing."""
    made = iter(_ids(10_000))
    ids = [next(made) for _ in range(30)]

    def answer(query: Query) -> object:
        page = _cut(_rows(ids), query)
        ids.insert(0, next(made))
        del ids[-1]
        return page

    server = Server(answer)
    assert len(server.found(page_size=10)) > 30
    assert len(server.asked) < 100
    assert ["kept changing" in note for note in server.notes] == [True]


def test_removals_as_fast_as_pages_cost_few_requests_more() -> None:
    """One cancel for each page read: the overlap grows, so pages are not asked for twice."""
    ids = _ids(1500)
    stayed = set(ids[1000:])

    def answer(query: Query) -> object:
        page = _cut(_rows(ids), query)
        if ids[0] not in stayed:
            del ids[0]
        return page

    server = Server(answer)
    assert stayed <= set(server.found())
    first_pass = [query["offset"] for query in server.queries[1:]].index("0")
    assert first_pass < 15 * 1.6


def test_only_what_was_asked_for_is_listed() -> None:
    """A server that ignores its parameters is not believed; each reason is counted."""
    (good, *others) = _ids(9)
    asked_for = {
        "status": "in_progress", "modelId": "m-1", "modelVersion": 2, "triggerType": "API",
        "startedAt": "2026-11-29T05:00:00Z",
    }  # fmt: skip
    rows = [
        {"id": good.upper(), **asked_for},
        {"id": others[0], **asked_for, "status": "COMPLETED"},
        {"id": others[1], **asked_for, "modelId": "m-2"},
        {"id": others[2], **asked_for, "modelVersion": "2.0"},
        {"id": others[3], **asked_for, "triggerType": None},
        {"id": others[4], **asked_for, "startedAt": "2026-11-29T06:00:01Z"},
        {"id": others[5], **asked_for, "startedAt": "2026-11-29T05:00:00"},
        {"id": others[6], **asked_for, "status": ["IN_PROGRESS"]},
        {"id": f"{{{others[7]}}}", **asked_for},
        {**asked_for},
        {"id": 7, **asked_for},
    ]  # fmt: skip
    wanted = Wanted(("IN_PROGRESS", "CANCELED"), ("m-1",), "2", ("API", "MANUAL"), 6 * 3600)
    server = Server(lambda query: _cut(rows, query))
    assert server.found(wanted) == [good]
    assert server.listing.left_out == {
        "another status": 1, "another model ID": 1, "another model version": 1, "no trigger": 1,
        "too young": 1, "no readable start time": 1, "no status": 1, "no valid instance ID": 3,
    }  # fmt: skip
    assert server.queries[0] == {
        "modelId": "m-1", "version": "2", "status": "IN_PROGRESS,CANCELLED",
        "triggerTypes": "API,MANUAL", "limit": "100", "offset": "0",
    }  # fmt: skip


@pytest.mark.parametrize("said", ["CANCELED", "CANCELLED", "cancelled"])
@pytest.mark.parametrize("asked", ["CANCELED", "CANCELLED", "canceled"])
def test_both_spellings_of_a_status_are_one(said: str, asked: str) -> None:
    """v1's and v2's, in any case of letters."""
    ids = _ids(3)
    server = Server(lambda query: _cut(_rows(ids, status=said), query))
    assert server.found(Wanted((asked,))) == ids


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2026-11-29T06:00:00Z", "2026-11-29T06:00:00+00:00"),
        ("2026-11-29T06:00:00.123Z", "2026-11-29T06:00:00.123+00:00"),
        ("2026-11-29T08:00:00+02:00", "2026-11-29T06:00:00+00:00"),
        ("2026-11-29 08:00:00+0200", "2026-11-29T06:00:00+00:00"),
        ("1795932000", "2026-11-29T06:00:00+00:00"),
        ("1795932000000", "2026-11-29T06:00:00+00:00"),
        ("1795932000.5", "2026-11-29T06:00:00.5+00:00"),
        ("2026-11-29T06:00:00", None),
        ("2026-11-29", None),
        ("yesterday", None),
        ("", None),
        ("nan", None),
        ("99999999999999999999", None),
        ("７７７７７７７７７７", None),
        (None, None),
    ],
)
def test_times_are_read_that_mean_one_moment(text: str | None, iso: str | None) -> None:
    """ISO 8601 with its offset, seconds or milliseconds; what could be another hour is none."""
    assert parse_start(text) == (None if iso is None else datetime.fromisoformat(iso))


def test_age_is_told_by_the_servers_clock() -> None:
    """Its `Date` counts; without one ours does, which is said once."""
    old, young = _ids(2)
    rows = [
        {"id": old, "startedAt": 1795932000000},  # 06:00
        {"id": young, "startedAt": 1795932001},
    ]
    six_hours = Wanted(older_than_s=6 * 3600)
    assert Server(lambda query: _cut(rows, query)).found(six_hours) == [old]
    server = Server(lambda query: _cut(rows, query), {})
    clock = lambda: datetime(2026, 11, 29, 12, 0, 1, tzinfo=UTC)  # noqa: E731
    assert server.found(six_hours, clock=clock) == [old, young]
    assert ["this machine's clock" in note for note in server.notes] == [True]
    server = Server(lambda query: _cut(rows, query), {})
    assert server.found() == [old, young]
    assert server.notes == []


class Workflows:
    """A server that lists the executions of one workflow at a time."""

    def __init__(self, models: object, forbidden: frozenset[str] = frozenset()) -> None:
        self.models, self.forbidden = models, forbidden

    def answer(self, query: Query) -> object:
        if query["limit"] == "50":
            return self.models
        if "modelId" not in query:
            raise RejectedReadError("modelId is missing")
        if query["modelId"] in self.forbidden:
            raise ForbiddenReadError("not this one")
        return _cut(_rows(_ids(120, int(query["modelId"])), modelId=query["modelId"]), query)


def test_each_workflow_is_asked_where_the_server_wants_one() -> None:
    """They are looked up by the other call, and each list is read to its end."""
    server = Server(Workflows({"models": [{"id": "1", "name": "x"}, {"id": 2}, {}]}).answer)
    assert server.found() == [*_ids(120, 1), *_ids(120, 2)]
    assert server.asked[1] == (MODELS, {"limit": "50", "offset": "0"})
    assert server.listing.left_out == {"a workflow without an ID": 1}


def test_a_workflow_that_may_not_be_listed_does_not_hide_the_others() -> None:
    """It is counted; where all are forbidden it is the token, and the end."""
    models = [{"id": "1"}, {"id": "2"}]
    server = Server(Workflows(models, frozenset("1")).answer)
    assert server.found() == _ids(120, 2)
    assert server.listing.left_out == {"a workflow that may not be listed": 1}
    with pytest.raises(ForbiddenReadError):
        Server(Workflows(models, frozenset("12")).answer).found()


def test_a_workflow_that_was_named_and_is_refused_is_the_end() -> None:
    """No others are looked up in its place."""

    def answer(_: Query) -> object:
        raise RejectedReadError("no such model")

    server = Server(answer)
    with pytest.raises(RejectedReadError):
        server.found(Wanted(model_ids=("1",)))
    assert len(server.asked) == 1


def test_hostile_fields_are_text_or_nothing() -> None:
    """Half characters, numbers, objects and endless names: no fault, one row each."""
    ids = _ids(4)
    values: list[object] = ["\ud800x", {"a": 1}, 1e400, "n" * 100_000]
    rows = [
        {"id": one, "modelName": value, "startedAt": value, "extra": value}
        for one, value in zip(ids, values, strict=True)
    ]
    server = Server(lambda query: _cut(rows, query))
    assert server.found() == ids
    names = [execution_of(row).modelName for row in rows]
    assert names == ["\\ud800x", None, "inf", "n" * 100_000]


def test_no_depth_is_a_fault() -> None:
    """Objects in objects, up to what a parser takes and beyond: a row, or no list."""
    ends = set()
    for depth in range(800, 1000, 2):
        server = Server(lambda _, depth=depth: b'[{"a":' + b"[" * depth + b"]" * depth + b"}]")  # type: ignore[misc]
        try:
            assert server.found() == []
            ends.add("row")
        except StoppedError:
            ends.add("no list")
    assert "row" in ends
