"""A list read to its end, although it changes meanwhile.

What is cancelled leaves a list of running executions while its pages are read, and all that
follows moves up: the next offset would skip some. So pages overlap. If a page does not begin
with something seen, the list has moved up, and an earlier page is asked for until one does. In a
list that keeps its order, this misses nothing that stays in it throughout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from bulkcancel.domo.pages import read_page
from bulkcancel.errors import StoppedError
from bulkcancel.ids import IdSet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bulkcancel.domo.pages import Call, Item, Page
    from bulkcancel.http import Reply

    Get = Callable[[str], Awaitable[Reply]]
    """Makes one GET of a path and query. Returns a 2xx; raises a `BulkcancelError` for others."""

MOST_PAGES = 10_000
"""After so many a list is taken for one that never ends: a million executions."""
_MOST_PASSES = 5
_MOST_IDLE = 3
_LIKELY_FULL = frozenset({10, 20, 25, 30, 40, 50})
"""Lengths at which servers cut a page on their own account."""


class Walk:
    """Reads one list call page by page; `next` gives what no page had before.

    `told` holds the keys of what was given, and is added to. Raises `StoppedError` for an answer
    that is no list, and after `most_pages`.
    """

    def __init__(
        self,
        get: Get,
        call: Call,
        *,
        page_size: int,
        told: IdSet,
        not_a_list: Callable[[Reply], StoppedError],
        note: Callable[[str], None],
        most_pages: int = MOST_PAGES,
    ) -> None:
        self.page_size = page_size
        self.note = note
        self._get = get
        self._call = call
        self._told = told
        self._not_a_list = not_a_list
        self._most_pages = most_pages
        self._read = 0
        self._passes = 0
        self._pass: _Pass | None = _Pass(self)
        self._pass_is_new = False
        """Whether this pass has brought anything."""

    async def next(self) -> tuple[Page, list[Item]] | None:
        """Return the next page with something new in it, and that; `None` at the end."""
        while self._pass is not None:
            page = await self._pass.next()
            if page is None:
                self._pass = self._another_pass(self._pass)
                continue
            pairs = zip(page.items, page.keys, strict=True)
            fresh = [item for item, key in pairs if self._told.add(key)]
            if fresh:
                self._pass_is_new = True
                return page, fresh
        return None

    def _another_pass(self, ended: _Pass) -> _Pass | None:
        """Return one from the start if the list may have changed under the one that has ended."""
        self._passes += 1
        if not ended.moved or not self._pass_is_new:
            return None
        if self._passes == _MOST_PASSES:
            self.note(
                f"the list kept changing while it was read {_MOST_PASSES} times: it may hold more "
                "by now"
            )
            return None
        self._pass_is_new = False
        return _Pass(self)

    async def fetch(self, query: str) -> Page:
        """Return one page."""
        if self._read == self._most_pages:
            raise StoppedError(
                f"the list does not end: {self._most_pages:,} pages of it were read; ask for less, "
                "with --model-id or --limit"
            )
        self._read += 1
        reply = await self._get(f"{self._call.path}?{query}")
        page = read_page(reply, self._call, query)
        if page is None:
            raise self._not_a_list(reply)
        if page.strays:
            self.note("the server names a next page in another place, which is not asked")
        return page

    def query_at(self, offset: int) -> str:
        """Return the query of the page that begins there."""
        return self._call.query(limit=str(self.page_size), offset=str(offset))


class _Pass:
    """One reading of the list from its start.

    All that is seen and stays in the list stands before its unseen rest, as only pages that
    begin with something seen (or with the list) count as read.
    """

    def __init__(self, walk: Walk) -> None:
        self.moved = False
        """Whether the list may have changed since this pass began."""
        self._walk = walk
        self._seen = IdSet()
        self._ended = False
        self._next_query: str | None = None
        self._offset = 0
        self._expected: bytes | None = None
        """What the page at `_offset` begins with if nothing has moved."""
        self._overlap = 1
        self._longest = 0
        self._idle = 0

    async def next(self) -> Page | None:
        """Return the next page that counts, `None` at the end."""
        if self._ended:
            return None
        by_token = self._next_query is not None
        if self._next_query is not None:
            page = await self._walk.fetch(self._next_query)
        else:
            page = await self._page_that_fits()
        new = sum(self._seen.add(key) for key in page.keys)
        self._longest = max(self._longest, len(page.items))
        self._idle = 0 if new else self._idle + 1
        if self._idle == _MOST_IDLE:
            self._end_in_doubt(page)
        elif page.next_query is not None and not self._is_plain_offset(page):
            self._next_query = page.next_query
            self.moved = True  # nothing overlaps: whether it has moved cannot be seen
        elif by_token or len(page.items) <= 1 or (not new and len(page.items) < self._longest):
            self._ended = True
        else:
            # Without anything new it is the end, or something was added before it: look further.
            overlap = min(self._overlap, len(page.items) // 2) if new else 1
            self._offset += len(page.items) - overlap
            self._expected = page.keys[-overlap]
        return page

    async def _page_that_fits(self) -> Page:
        """Return the page at the offset, or the nearest before it that leaves no gap."""
        most_back = max(self._longest - 1, 1)
        back = min(max(self._overlap, self._longest // 8), most_back)
        while True:
            page = await self._walk.fetch(self._walk.query_at(self._offset))
            first = page.keys[0] if page.keys else None
            if self._expected is not None and first != self._expected:
                self.moved = True
            if self._offset == 0 or (first is not None and first in self._seen):
                return page
            # It goes on moving, most likely: a bigger overlap saves asking twice for each page.
            self._overlap = min(self._overlap + back, max(self._longest // 2, 1))
            self._offset = max(self._offset - back, 0)
            back = min(2 * back, most_back)

    def _is_plain_offset(self, page: Page) -> bool:
        """Return whether the next page is one by offset, which is asked with an overlap instead."""
        asked = parse_qs(page.next_query or "").get("offset", [])
        return asked == [str(self._offset + len(page.items))]

    def _end_in_doubt(self, page: Page) -> None:
        """End the pass: page after page brings nothing new."""
        self._ended = True
        full = len(page.items) >= self._walk.page_size or len(page.items) in _LIKELY_FULL
        if page.next_query is not None or (full and not page.says_end):
            self._walk.note(
                "the server gives the same page again where another was asked for: the list may "
                "be longer than what was read"
            )
