"""One page of a list: what is in it, and where the server says that the next one is.

Neither the envelope nor the paging of these calls is documented, so every usual form is read.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from bulkcancel.domo.answers import parse_http_date
from bulkcancel.ids import is_plain_id, pack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from bulkcancel.http import Reply

    Item = dict[str, Any]

_NO_LISTS = frozenset({"errors", "error", "warnings"})
_TOKENS = {
    "nextToken": "nextToken",
    "nextPageToken": "pageToken",
    "nextCursor": "cursor",
    "next_token": "next_token",
    "next_page_token": "page_token",
    "next_cursor": "cursor",
    "continuationToken": "continuationToken",
    "cursor": "cursor",
    "next": "next",
}
"""The keys under which lists give a token for their next page, and the parameter that takes it."""
_ADDRESSES = ("next", "nextLink", "nextPage", "next_page", "nextUrl", "next_url", "href")
_MOST_TOKEN = 4096
_LINK = re.compile(r'<([^<>]*)>((?:\s*;\s*[\w*-]+\s*(?:=\s*(?:"[^"]*"|[^\s",;<>]*))?)*)')
_REL = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s",;<>]*))', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of a list call."""

    items: list[Item]
    keys: list[bytes]
    """16 bytes for each item: equal for what has the same ID."""
    next_query: str | None
    """What to ask the same call for next, as the server said; `None` if it did not."""
    says_end: bool
    """Whether it names the next page, and there is none."""
    strays: bool
    """Whether it gave an address of another place, which is not followed."""
    at: datetime | None
    """When it was, by the server's own clock."""


@dataclass(frozen=True, slots=True)
class Call:
    """A list call: where it is, and with which parameters it is made."""

    base_url: str
    path: str
    parameters: Mapping[str, str]

    def query(self, **more: str) -> str:
        """Return the query, percent-encoded, of these and `more` parameters."""
        # A text from a server may hold half a character, which has no encoding of its own.
        return urlencode({**self.parameters, **more}, errors="surrogatepass")

    def query_of(self, address: str, query: str) -> str | None:
        """Return the query of an address given in answer to `query`; `None` if it leads elsewhere.

        Only the same call of the same origin is asked.
        """
        here = f"{self.base_url.rstrip('/')}{self.path}"
        try:
            target = urlsplit(urljoin(f"{here}?{query}", address))
            if _origin(target) != _origin(urlsplit(here)) or target.path != urlsplit(here).path:
                return None
            pairs = parse_qsl(target.query, keep_blank_values=True, errors="surrogateescape")
            return urlencode(pairs, errors="surrogateescape")
        except ValueError:  # half a character among them
            return None


def read_page(reply: Reply, call: Call, query: str) -> Page | None:
    """Return the page that answered `query`; `None` if what came is no list of objects."""
    _, headers, body, _ = reply
    try:
        parsed = json.loads(body.decode("utf-8-sig", "replace"))
        items = _items_of(parsed)
        keys = [_key_of(item) for item in items or []]
    except (ValueError, RecursionError):
        return None
    if items is None:
        return None
    found = list(_next_queries(parsed, headers, call, query))
    return Page(
        items=items,
        keys=keys,
        next_query=next((each for each in found if each), None),
        says_end="" in found,
        strays=None in found,
        at=parse_http_date(headers.get("Date", "")),
    )


def _items_of(parsed: object) -> list[Item] | None:
    """Return the one list of objects: the whole, or in an object, or one level further in."""
    if isinstance(parsed, list):
        return parsed if _of_objects(parsed) else None
    if not isinstance(parsed, dict):
        return None
    for level in ([parsed], [each for each in parsed.values() if isinstance(each, dict)]):
        lists = [
            value
            for each in level
            for name, value in each.items()
            if isinstance(value, list) and _of_objects(value) and name not in _NO_LISTS
        ]
        full = [each for each in lists if each]
        if len(full) > 1:
            return None
        if lists:
            return (full or lists)[0]
    return None


def _of_objects(values: list[Any]) -> bool:
    return all(isinstance(each, dict) for each in values)


def _key_of(item: Item) -> bytes:
    said = item.get("id")
    if isinstance(said, str) and is_plain_id(said):
        return pack(said.lower())
    text = json.dumps(item if said is None else said, sort_keys=True)
    return blake2b(text.encode(), digest_size=16).digest()


def _next_queries(
    parsed: object, headers: Mapping[str, str], call: Call, query: str
) -> Iterator[str | None]:
    """Yield each next page that is named: its query, `""` for an end, `None` for elsewhere."""
    for address in _links(headers):
        yield call.query_of(address, query)
    if not isinstance(parsed, dict):
        return
    for each in (parsed, *(value for value in parsed.values() if isinstance(value, dict))):
        for name in dict.fromkeys((*_TOKENS, *_ADDRESSES)):
            if name not in each or (name == "href" and each is not parsed.get("next")):
                continue
            value = each[name]
            value = value.get("href") if isinstance(value, dict) else value
            if isinstance(value, str) and _is_address(name, value):
                yield call.query_of(value, query)
            elif name in _TOKENS and (token := _token(value)) is not None:
                yield call.query(**{_TOKENS[name]: token}) if token else ""


def _links(headers: Mapping[str, str]) -> Iterator[str]:
    """Yield the addresses of the `Link` headers that are the next page's (RFC 8288)."""
    for name, value in headers.items():
        if name.lower() == "link":
            for address, parameters in _LINK.findall(value):
                relation = _REL.search(parameters)
                if relation and "next" in (relation[1] or relation[2] or "").lower().split():
                    yield address


def _is_address(name: str, text: str) -> bool:
    """Return whether a text is no token; those in Base64 may begin with a slash as well."""
    return "://" in text or (name in _ADDRESSES and text.startswith(("/", "?")))


def _token(value: object) -> str | None:
    """Return a token, `""` for the end of the list, `None` for what is neither."""
    if value is None or value == "":
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and len(value) <= _MOST_TOKEN else None


def _origin(url: Any) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or {"https": 443, "http": 80}.get(url.scheme)
