"""One call out, a checked answer or a named fault back; HTTP is known here only."""

from __future__ import annotations

from bulkcancel.domo.address import SANDBOX, base_url_of, host_of
from bulkcancel.domo.answers import Reply
from bulkcancel.domo.client import DomoClient
from bulkcancel.domo.faults import AttemptError, ConnectFailedError, NotSentError
from bulkcancel.domo.verdict import Next, Verdict, judge_fault, judge_reply, outcome_of

__all__ = [
    "SANDBOX",
    "AttemptError",
    "ConnectFailedError",
    "DomoClient",
    "Next",
    "NotSentError",
    "Reply",
    "Verdict",
    "base_url_of",
    "host_of",
    "judge_fault",
    "judge_reply",
    "outcome_of",
]
