"""One call out, a checked answer or a named fault back: of a run, it alone knows HTTP's library."""

from bulkcancel.domo.address import SANDBOX, base_url_of, host_of
from bulkcancel.domo.answers import Answer
from bulkcancel.domo.client import DomoClient
from bulkcancel.domo.dialer import Connection
from bulkcancel.domo.faults import AttemptError, NoDescriptorsError
from bulkcancel.domo.verdict import Next, Verdict, judge_answer, judge_fault, outcome_of

__all__ = [
    "SANDBOX",
    "Answer",
    "AttemptError",
    "Connection",
    "DomoClient",
    "Next",
    "NoDescriptorsError",
    "Verdict",
    "base_url_of",
    "host_of",
    "judge_answer",
    "judge_fault",
    "outcome_of",
]
