"""Which columns or keys beside the ID tell of its workflow, its status and its start."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from bulkcancel.inputs.columns import normalise

if TYPE_CHECKING:
    from collections.abc import Sequence

# Normalised; of several that are there, the first counts.
_WORKFLOW = ("modelname", "workflowname", "workflowmodelname", "workflow", "workflowmodel", "model")
_STATUS = (
    "status", "executionstatus", "instancestatus", "workflowstatus", "runstatus",
    "state", "executionstate", "instancestate", "workflowstate", "runstate",
)  # fmt: skip
_START = ("startedat", "startedon", "started", "starttime", "startdate", "starttimestamp", "start")


class Places(NamedTuple):
    """Where a row has its facts; `None` for what is not there."""

    workflow: int | None = None
    status: int | None = None
    start: int | None = None
    status_name: str = ""
    """As the input spells it."""


NOWHERE = Places()
"""An input that tells nothing."""


def find_in_header(names: Sequence[str], id_index: int) -> Places:
    """Return where a table's rows have their facts, by the header."""
    plain = [normalise(name) if i != id_index else "" for i, name in enumerate(names)]
    return _places(plain, names)


@lru_cache(64)
def find_beside(paths: tuple[str, ...], id_path: str) -> Places:
    """Return where an object has them, its keys as paths: only what stands beside its ID counts.

    Outside of it, a `status` may be that of a message.
    """
    prefix = id_path[: id_path.rfind(".") + 1]
    beside = [path[len(prefix) :] if path.startswith(prefix) else "." for path in paths]
    plain = ["" if "." in key else normalise(key) for key in beside]
    return _places(plain, paths)


def _places(plain: Sequence[str], spelled: Sequence[str]) -> Places:
    status = _place(plain, _STATUS)
    return Places(
        _place(plain, _WORKFLOW),
        status,
        _place(plain, _START),
        "" if status is None else spelled[status],
    )


def _place(plain: Sequence[str], known: tuple[str, ...]) -> int | None:
    """Return where the first known name stands; one that stands twice says nothing."""
    for name in known:
        if plain.count(name) == 1:
            return plain.index(name)
    return None
