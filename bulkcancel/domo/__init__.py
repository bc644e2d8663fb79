"""The calls of Domo's Workflow API: one call out, a checked answer or a named fault back."""

from bulkcancel.domo.address import SANDBOX, base_url_of, host_of
from bulkcancel.domo.answers import Answer
from bulkcancel.domo.client import READ_BACK, DomoClient
from bulkcancel.domo.executions import Execution, Wanted
from bulkcancel.domo.listing import Listing
from bulkcancel.domo.reads import not_a_list, trouble_of_answer, trouble_of_fault
from bulkcancel.domo.verdict import (
    Next,
    Verdict,
    judge,
    outcome_of,
    seen_outcome_of,
)
from bulkcancel.http import AttemptError, Connection, NoDescriptorsError, Reply

__all__ = [
    "READ_BACK",
    "SANDBOX",
    "Answer",
    "AttemptError",
    "Connection",
    "DomoClient",
    "Execution",
    "Listing",
    "Next",
    "NoDescriptorsError",
    "Reply",
    "Verdict",
    "Wanted",
    "base_url_of",
    "host_of",
    "judge",
    "not_a_list",
    "outcome_of",
    "seen_outcome_of",
    "trouble_of_answer",
    "trouble_of_fault",
]
