"""How far a run is and what holds it up, told to a Python caller."""

from __future__ import annotations

from asyncio import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from bulkcancel.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulkcancel.engine.stats import Stats
    from bulkcancel.engine.stop import Stop
    from bulkcancel.models import CancelResult, Target
    from bulkcancel.pacing import Pacer

Event: TypeAlias = Literal[
    "cancel.finished",
    "cancel.retry_scheduled",
    "pace.changed",
    "breaker.opened",
    "breaker.closed",
    "verification.ended",
    "concurrency.limited",
    "bug",
]


@dataclass(frozen=True, slots=True)
class Progress:
    """One thing that has happened, and how far the run is after it."""

    event: Event
    """As the command's log calls it; `cancel.finished` where an ID has its result."""
    message: str
    """What happened, in words; empty for a result that is a success."""
    instance_id: str
    """Whose result, retry or fault it is; empty where it is about no one ID."""
    done: int
    """Results so far."""
    failed: int
    """Those of them that are no success."""
    requests: int
    retries: int
    in_flight: int
    rate_per_s: float
    """The pace now, in requests a second."""


class ProgressObserver:
    """Tells one function of everything; what it raises ends the run and is what the run raises."""

    def __init__(
        self, on_progress: Callable[[Progress], None] | None, stats: Stats, stop: Stop
    ) -> None:
        self.pacer: Pacer | None = None
        self._on_progress = on_progress
        self._stats = stats
        self._stop = stop

    def finished(self, result: CancelResult) -> None:
        """Tell that an ID has its result."""
        self._tell("cancel.finished", result.error, result.instance_id)

    def retry_scheduled(self, target: Target, error: str, attempt: int, wait_s: float) -> None:
        """Tell that the ID is sent again in `wait_s` seconds."""
        message = f"{error}: sent again in {wait_s:.1f} s, after {attempt} requests"
        self._tell("cancel.retry_scheduled", message, target.instance_id)

    def out_of_descriptors(self) -> None:
        """Tell that this process may open no more connections."""
        self._tell(
            "concurrency.limited",
            "this process may open no more connections: raise ulimit -n or lower concurrency",
        )

    def pace_changed(self, rate_per_s: float, reason: str) -> None:
        """Tell that the pace is another one from now on."""
        self._tell("pace.changed", reason)

    def breaker_changed(self, *, opened: bool) -> None:
        """Tell that the circuit breaker has opened or closed."""
        if opened:
            self._tell("breaker.opened", "nothing but trouble or refusals: probing the server")
        else:
            self._tell("breaker.closed", "requests go on")

    def verification_ended(self, reason: str) -> None:
        """Tell that accepted IDs are no longer looked at, although some have not stopped."""
        self._tell("verification.ended", reason)

    def bug(self, target: Target, error: Exception) -> None:
        """Tell of a fault of bulkcancel itself, inside the handling of one ID."""
        self._tell("bug", type(error).__name__, target.instance_id)

    def _tell(self, event: Event, message: str, instance_id: str = "") -> None:
        if self._on_progress is None:
            return
        stats = self._stats
        told = Progress(
            event=event,
            message=message,
            instance_id=instance_id,
            done=stats.done,
            failed=stats.failed,
            requests=stats.requests,
            retries=stats.retries,
            in_flight=stats.in_flight,
            rate_per_s=self.pacer.rate_per_s if self.pacer else 0.0,
        )
        try:
            self._on_progress(told)
        except Exception as error:  # noqa: BLE001 - the caller's own: no ID has failed by it
            self._on_progress = None
            self._stop.request(error)
        except CancelledError:  # nobody has cancelled us: no task waits in it
            self._on_progress = None
            self._stop.request(StoppedError("on_progress raised CancelledError"))
