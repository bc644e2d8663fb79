"""When the next request may go: numbers and clocks, no HTTP, no IDs."""

from bulkcancel.pacing.adaptive import AdaptiveRate
from bulkcancel.pacing.backoff import Again, equal_jitter, paced_attempts
from bulkcancel.pacing.breaker import THRESHOLD, Breaker
from bulkcancel.pacing.pacer import Pacer

__all__ = [
    "THRESHOLD",
    "AdaptiveRate",
    "Again",
    "Breaker",
    "Pacer",
    "equal_jitter",
    "paced_attempts",
]
