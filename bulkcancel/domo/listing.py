"""The executions that were asked for, by the unofficial list calls; changes nothing."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bulkcancel.domo.client import EXECUTIONS, MODELS
from bulkcancel.domo.executions import Execution, execution_of
from bulkcancel.domo.pages import Call
from bulkcancel.domo.reads import ForbiddenReadError, RejectedReadError
from bulkcancel.domo.walk import MOST_PAGES, Walk
from bulkcancel.ids import IdSet

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from bulkcancel.domo.executions import Wanted
    from bulkcancel.domo.pages import Item, Page
    from bulkcancel.domo.walk import Get
    from bulkcancel.errors import StoppedError
    from bulkcancel.http import Reply

_PAGE_SIZE = 100
_MODELS_PAGE_SIZE = 50
_LONGEST_MODEL_ID = 200  # it is sent back, and a million may be kept


class Listing:
    """Lists the executions that are `wanted`, each once, a page at a time.

    `get` makes one GET (see `Get` in `walk`); `not_a_list` is the error of an answer without a
    list; `note` is told, once each, what a person should know; `clock` is ours, for a server that
    does not say what time it is.
    """

    def __init__(
        self,
        get: Get,
        wanted: Wanted,
        *,
        base_url: str,
        not_a_list: Callable[[Reply], StoppedError],
        note: Callable[[str], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        page_size: int = _PAGE_SIZE,
        most_pages: int = MOST_PAGES,
    ) -> None:
        self.left_out: Counter[str] = Counter()
        """How many were left out, by the reason in words."""
        self._get = get
        self._wanted = wanted
        self._base_url = base_url
        self._not_a_list = not_a_list
        self._note_to = note
        self._noted: set[str] = set()
        self._clock = clock
        self._page_size = page_size
        self._most_pages = most_pages
        self._told = IdSet()

    async def pages(self) -> AsyncGenerator[list[Execution], None]:
        """Yield what each page holds of them, at least one. Raises a `BulkcancelError`."""
        for model_id in self._wanted.model_ids or [None]:
            walk = self._walk(model_id)
            try:
                page = await walk.next()
            except RejectedReadError:
                if model_id is not None:
                    raise
                async for rows in self._by_model():
                    yield rows
                return
            while page is not None:
                if rows := self._rows(*page):
                    yield rows
                page = await walk.next()

    async def _by_model(self) -> AsyncGenerator[list[Execution], None]:
        """Yield those of each workflow, for a server that lists no others."""
        self._note("the server lists the executions of one workflow at a time: each is asked for")
        refused, ids = None, await self._model_ids()
        answered = False
        for model_id in ids:
            walk = self._walk(model_id)
            try:
                while (page := await walk.next()) is not None:
                    answered = True
                    if rows := self._rows(*page):
                        yield rows
                answered = True
            except ForbiddenReadError as error:  # one workflow's permissions, not the token's
                refused = error
                self.left_out["a workflow that may not be listed"] += 1
        if refused is not None and not answered:
            raise refused

    async def _model_ids(self) -> list[str]:
        walk = self._new_walk(Call(self._base_url, MODELS, {}), _MODELS_PAGE_SIZE, IdSet())
        ids: dict[str, None] = {}
        while (page := await walk.next()) is not None:
            for item in page[1]:
                model_id = execution_of(item).id
                if model_id and len(model_id) <= _LONGEST_MODEL_ID:
                    ids[model_id] = None
                else:
                    self.left_out["a workflow without an ID"] += 1
        return list(ids)

    def _walk(self, model_id: str | None) -> Walk:
        parameters = {} if model_id is None else {"modelId": model_id}
        call = Call(self._base_url, EXECUTIONS, {**parameters, **self._wanted.parameters()})
        return self._new_walk(call, self._page_size, self._told)

    def _new_walk(self, call: Call, page_size: int, told: IdSet) -> Walk:
        return Walk(
            self._get,
            call,
            page_size=page_size,
            told=told,
            not_a_list=self._not_a_list,
            note=self._note,
            most_pages=self._most_pages,
        )

    def _rows(self, page: Page, items: list[Item]) -> list[Execution]:
        now = page.at
        if now is None:
            now = self._clock()
            if self._wanted.older_than_s is not None:
                self._note("the server does not say what time it is: this machine's clock is used")
        rows = []
        for execution in map(execution_of, items):
            if reason := self._wanted.why_not(execution, now):
                self.left_out[reason] += 1
            else:
                rows.append(execution)
        return rows

    def _note(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._note_to(text)
