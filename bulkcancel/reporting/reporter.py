"""What happens during a run, told to the log and to the bar."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from bulkcancel.quantities import count_of, show_duration
from bulkcancel.text import redact

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from bulkcancel.models import Target
    from bulkcancel.reporting.progress import Gauge


class LogObserver:
    """Turns what the engine reports into log events and into the bar's state."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self.gauge: Gauge | None = None
        self._said_descriptors = False

    def retry_scheduled(self, target: Target, error: str, attempt: int, wait_s: float) -> None:
        """Log that an ID is sent again."""
        self._log.debug(
            "cancel.retry_scheduled",
            instance_id=target.instance_id,
            error=error,
            attempt=attempt,
            wait_s=round(wait_s, 3),
        )

    def out_of_descriptors(self) -> None:
        """Say once that fewer requests than asked for can be in flight."""
        if not self._said_descriptors:
            self._said_descriptors = True
            self._log.warning(
                "concurrency.limited",
                reason="this process may open no more connections: raise ulimit -n "
                "or lower --concurrency",
            )

    def pace_changed(self, rate_per_s: float, reason: str) -> None:
        """Log the new pace and show why it has changed."""
        self._log.info("pace.changed", rate_per_s=round(rate_per_s, 2), reason=reason)
        self._show(reason)

    def breaker_changed(self, *, opened: bool) -> None:
        """Log that requests stop, or go on, because of the server's trouble."""
        if opened:
            self._log.warning(
                "breaker.opened", reason="nothing but trouble or refusals: probing the server"
            )
            self._show("trouble or refusals: probing the server")
        else:
            self._log.warning("breaker.closed", reason="requests go on")
            self._show("")

    def verification_ended(self, reason: str) -> None:
        """Say why accepted IDs are no longer looked at."""
        self._log.warning("verification.ended", reason=reason)

    def bug(self, target: Target, error: Exception) -> None:
        """Log a fault of bulkcancel itself, with where it happened but no values."""
        self._log.error(
            "bug", instance_id=target.instance_id, error=type(error).__name__, at=_where(error)
        )

    def crashed(self, error: Exception, secret: str) -> None:
        """Log a fault of bulkcancel itself that has ended the run, with `secret` redacted."""
        said = redact(f"{type(error).__name__}: {error}", secret)
        self._log.error("bug", error=said, at=_where(error))

    def stopping(self, reason: str, *, in_flight: int, grace_s: float, cut: bool) -> None:
        """Tell that the run is asked to end, and for what it waits, unless that is cut off."""
        if cut:
            self._show("stopping: requests in flight are cut off")
        elif in_flight and grace_s:
            self._show(
                f"stopping: waits up to {show_duration(grace_s)} for "
                f"{count_of(in_flight, 'request')} in flight; Ctrl-C again cuts them off"
            )
        else:
            self._show("stopping")
        self._log.warning("run.stopping", reason=reason, in_flight=in_flight, grace_s=grace_s)

    def summary_lost(self, reason: str) -> None:
        """Log that the summary could not be written."""
        self._log.error("summary.lost", reason=reason)

    def metrics_lost(self, reason: str) -> None:
        """Log that the metrics could not be written."""
        self._log.error("metrics.lost", reason=reason)

    def _show(self, state: str) -> None:
        if self.gauge is not None:
            self.gauge.state = state


def _where(error: Exception) -> list[str]:
    """Return the last calls before the fault, without values, which may be secret."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-5:]]
