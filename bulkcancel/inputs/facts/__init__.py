"""What the inputs say of the runs besides their IDs: workflow, status and start."""

from bulkcancel.inputs.facts.collected import Facts
from bulkcancel.inputs.facts.columns import NOWHERE, Places, find_beside, find_in_header

__all__ = ["NOWHERE", "Facts", "Places", "find_beside", "find_in_header"]
