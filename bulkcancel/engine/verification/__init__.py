"""Whether what was accepted has stopped."""

from bulkcancel.engine.verification.checks import Check, Checks, Findings
from bulkcancel.engine.verification.confirmer import (
    DEFAULT_VERIFY_TIMEOUT_S,
    Confirmer,
    Verification,
)

__all__ = ["DEFAULT_VERIFY_TIMEOUT_S", "Check", "Checks", "Confirmer", "Findings", "Verification"]
