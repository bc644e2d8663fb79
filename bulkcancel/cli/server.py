"""The server that a command talks to: named by its settings, or a sandbox started for it."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from bulkcancel.cli.token import SANDBOX_TOKEN, read_token
from bulkcancel.domo import (
    SANDBOX,
    AttemptError,
    DomoClient,
    base_url_of,
    host_of,
    trouble_of_answer,
    trouble_of_fault,
)
from bulkcancel.engine import DEFAULT_ATTEMPTS
from bulkcancel.errors import UsageError
from bulkcancel.pacing import Again, paced_attempts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from bulkcancel.cli.settings import ServerSettings
    from bulkcancel.domo import Reply
    from bulkcancel.pacing import Pacer

_MOST_ASKED_S = 600.0
_MOST_PAGE_BYTES = 16 * 1024 * 1024


class Server:
    """Where a command's requests go. Raises `UsageError` for settings that name no one place.

    `host` is what results call it. `timeout_s` bounds one attempt.
    """

    def __init__(self, settings: ServerSettings, *, timeout_s: float = 30.0) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._base_url = "" if settings.sandbox else _base_url(settings)
        self.host = SANDBOX if settings.sandbox else host_of(self._base_url)
        self.token = SANDBOX_TOKEN
        """Also where nothing is to be sent."""
        self._client: DomoClient | None = None
        """`None` for the sandbox, which is not there yet."""

    @property
    def proxy(self) -> str:
        """The proxy that leads there, without its password; empty if there is none."""
        proxy = self._client and self._client.proxy
        return "" if proxy is None else str(proxy)

    def prepare(self, *, needs_token: bool = True, ask: bool = True) -> None:
        """Read the token and check the way there. Raises `UsageError`.

        Where the token is not needed, or would have to be asked for and must not be, a stand-in
        takes its place: the way is checked all the same.
        """
        if self._settings.sandbox:
            return
        if needs_token:
            self.token = read_token(self._settings.token_file, ask=ask)
        self._client = self._client_of(self._base_url, self.token or SANDBOX_TOKEN)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[DomoClient]:
        """Yield the client of what was prepared, ready to send."""
        async with AsyncExitStack() as stack:
            client = self._client
            if client is None:
                # Named by its place, as commands are: no other run pays for loading a server.
                sandbox = import_module("bulkcancel.sandbox")
                box = sandbox.Sandbox(sandbox.SandboxOptions(port=0))
                base_url = (await stack.enter_async_context(box)).base_url
                client = self._client_of(base_url, self.token)
            yield await stack.enter_async_context(client)

    def _client_of(self, base_url: str, token: str) -> DomoClient:
        return DomoClient(
            token=token,
            base_url=base_url,
            timeout_s=self._timeout_s,
            proxy=self._settings.proxy,
            ca_file=self._settings.ca_file,
        )


def _base_url(settings: ServerSettings) -> str:
    instance, base_url = settings.instance, settings.base_url
    if instance and base_url:
        raise UsageError("give --instance or --base-url, not both")
    if not (instance or base_url):
        raise UsageError(
            "no Domo instance given: use --instance acme (for acme.domo.com), or set DOMO_INSTANCE"
        )
    return base_url_of(instance, base_url)


def paced_get(client: DomoClient, pacer: Pacer) -> Callable[[str], Awaitable[Reply]]:
    """Return what makes one GET of an unofficial call: paced, and again where that can help.

    It takes a path and query and returns a 2xx, with a body of any kind; raises a
    `BulkcancelError`.
    """
    answered = False

    async def attempt(target: str) -> Reply | Again:
        nonlocal answered
        try:
            reply = await client.read(target, most_bytes=_MOST_PAGE_BYTES)
        except AttemptError as fault:
            trouble = trouble_of_fault(fault, client.host, first=not answered)
        else:
            answered = True
            bad = trouble_of_answer(reply, client)
            if bad is None:
                return reply
            trouble = bad
        if not trouble.may_pass:
            raise trouble.error
        return Again(trouble.error, trouble.wait_s, trouble.at_once)

    async def get(target: str) -> Reply:
        return await paced_attempts(
            partial(attempt, target),
            pacer=pacer,
            rng=random.Random(),
            attempts=DEFAULT_ATTEMPTS,
            most_asked_s=_MOST_ASKED_S,
        )

    return get
