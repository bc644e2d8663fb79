"""What the core needs of the client, and whom it tells what happens on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bulkcancel.domo import Answer
    from bulkcancel.models import Target


class Client(Protocol):
    """What the canceller needs of a client: one attempt, an answer or an `AttemptError`."""

    @property
    def host(self) -> str:
        """The server as the results call it: `host[:port][/path]`."""

    @property
    def timeout_s(self) -> float:
        """The longest time one attempt may take, in seconds."""

    async def cancel(
        self,
        instance_id: str,
        *,
        fresh: bool = False,
        pace: Callable[[float], Awaitable[None]] | None = None,
    ) -> Answer:
        """Send one cancel; on a new connection if `fresh`; not before `pace` if that took long."""


class Reporter(Protocol):
    """Where the canceller tells what happened to an attempt that was not a plain success."""

    def retry_scheduled(self, target: Target, error: str, attempt: int, wait_s: float) -> None:
        """Tell that the ID is sent again in `wait_s` seconds."""

    def out_of_descriptors(self) -> None:
        """Tell that this process may open no more connections."""

    def bug(self, target: Target, error: Exception) -> None:
        """Tell of a fault of bulkcancel itself, inside the handling of one ID."""


class Observer(Reporter, Protocol):
    """Who is told what happens on the way; a person's or a log's side of a run."""

    def pace_changed(self, rate_per_s: float, reason: str) -> None:
        """Tell that the pace is another one from now on."""

    def breaker_changed(self, *, opened: bool) -> None:
        """Tell that the circuit breaker has opened or closed."""
