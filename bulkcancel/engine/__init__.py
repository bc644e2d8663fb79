"""Exactly one result for every target; knows no file, flag or screen."""

from bulkcancel.engine.engine import (
    DEFAULT_ATTEMPTS,
    DEFAULT_CONCURRENCY,
    DEFAULT_RATE_PER_S,
    Engine,
    Policy,
)
from bulkcancel.engine.library import Progress, cancel_all, cancel_many
from bulkcancel.engine.limits import Limits
from bulkcancel.engine.pipeline import Items
from bulkcancel.engine.stats import Stats
from bulkcancel.engine.stop import Stop
from bulkcancel.engine.verification import Confirmer, Findings, Verification

__all__ = [
    "DEFAULT_ATTEMPTS",
    "DEFAULT_CONCURRENCY",
    "DEFAULT_RATE_PER_S",
    "Confirmer",
    "Engine",
    "Findings",
    "Items",
    "Limits",
    "Policy",
    "Progress",
    "Stats",
    "Stop",
    "Verification",
    "cancel_all",
    "cancel_many",
]
