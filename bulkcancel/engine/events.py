"""Who is told what happens on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bulkcancel.models import Target


class Observer(Protocol):
    """Is told what happens on the way: a person's or a log's side of a run."""

    def retry_scheduled(self, target: Target, error: str, attempt: int, wait_s: float) -> None:
        """Tell that the ID is sent again in `wait_s` seconds."""

    def out_of_descriptors(self) -> None:
        """Tell that this process may open no more connections."""

    def pace_changed(self, rate_per_s: float, reason: str) -> None:
        """Tell that the pace is another one from now on."""

    def breaker_changed(self, *, opened: bool) -> None:
        """Tell that the circuit breaker has opened or closed."""

    def bug(self, target: Target, error: Exception) -> None:
        """Tell of a fault of bulkcancel itself, inside the handling of one ID."""


class SilentObserver:
    """Tells nobody: a library prints nothing."""

    def _ignore(self, *_: object, **__: object) -> None:
        """Do nothing."""

    retry_scheduled = out_of_descriptors = pace_changed = breaker_changed = bug = _ignore
