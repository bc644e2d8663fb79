"""Whether what was accepted has stopped."""

from bulkcancel.engine.verification.checks import Check, Checks, Findings
from bulkcancel.engine.verification.confirmer import Confirmer, Verification

__all__ = ["Check", "Checks", "Confirmer", "Findings", "Verification"]
